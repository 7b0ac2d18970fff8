"""A DICOM file as a dataset: its header alone, or the whole, without harm by what a hostile one holds."""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from endorender.ct.dicom.header import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    PIXELS,
    UNDEFINED,
    Short,
    Walked,
    ends_well,
    walk,
)
from endorender.ct.errors import CTError
from endorender.ct.files import Entry
from endorender.ct.limits import INFLATED_BYTES, INFLATION, inflation

IMAGE = "1.2.840.10008.5.1.4.1.1."  # what the classes of all stored images begin with
MAX_READS = 700_000  # of a header; 4000 frames of an enhanced CT take half a million
LARGE = 2**22  # bytes; a smaller file cannot hold a header that takes long to parse
BLOCK = 2**15  # bytes; most headers are shorter


@dataclass(frozen=True)
class Parsed:
    """A dataset without its pixels. span: where they lie as plain 16-bit values or the like (offset, bytes), or None;
    pixels: whether there are any, plain or not; odd: whether bytes follow them that are no DICOM."""

    dataset: Any
    span: tuple[int, int] | None
    pixels: bool
    odd: bool = False


def parse(entry: Entry) -> Parsed | None:
    """The header, or None if the file is no DICOM, or a damaged one of something else than a CT.

    Raises CTError TRUNCATED, TOO_LARGE, UNREADABLE. Call it within `quiet()`.
    """
    from pydicom.filereader import read_partial

    file = _open(entry)
    with file:
        head = file.read(BLOCK)
        bare = is_bare(head)
        if head[128:132] != b"DICM" and not bare:
            if b"DICM\2\0" in head[:1024]:  # and the first tag
                raise _damaged(entry, "its mark is not in its place")
            return None
        size = file.seek(0, os.SEEK_END)
        walked = _walked(file, head, size)
        if walked is not None:
            header, start, length = walked
            syntax = header.file_meta["TransferSyntaxUID"]
            if length == UNDEFINED or syntax not in (IMPLICIT, EXPLICIT):
                return Parsed(header, None, True)
            span = start, max(0, min(length, size - start))
            return Parsed(header, span, True, _is_odd(file, start + length, size, syntax))
        head = head[:1024]
        if DEFLATED.encode() in head:
            _check_deflated(file)
        file.seek(0)
        source: Any = _Patient(file) if size > LARGE else file
        length = -1

        def stop(tag: int, vr: str | None, count: int) -> bool:
            nonlocal length
            found = int(tag) in PIXELS  # as a tag it would be compared a hundred times slower
            length = count if found else length
            return found

        try:
            dataset = read_partial(source, stop, force=bare)
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
            syntax = str(dataset.file_meta.TransferSyntaxUID)
        except CTError:
            if _is_other(head):
                return None
            raise
        except Exception as error:  # pydicom raises a dozen kinds for files cut or scrambled
            if bare or _is_other(head):
                return None
            raise _damaged(entry, type(error).__name__) from None
        plain = syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN) and length not in (-1, UNDEFINED)
        at = _span(file, length, size, syntax != BIG_ENDIAN) if plain else None
        odd = at is not None and _is_odd(file, at[0] + length, size, syntax)
        return Parsed(dataset, at, length >= 0, odd)


def _damaged(entry: Entry, how: str) -> CTError:
    return CTError(
        f"a DICOM file (number {entry.number} in the order of names) breaks off or is damaged ({how}): copy it again",
        "TRUNCATED",
    )


def _is_odd(file: BinaryIO, end: int, size: int, syntax: str) -> bool:
    """Whether bytes follow the pixels, up to a MiB of them, that are neither tags nor zeros."""
    if end >= size:
        return False
    file.seek(end)
    tail = file.read(2**20)
    if syntax == BIG_ENDIAN:
        return bool(tail.strip(b"\0"))
    return size - end <= len(tail) and not ends_well(tail, syntax == EXPLICIT)


def _walked(file: BinaryIO, head: bytes, size: int) -> Walked | None:
    """What `walk` finds, with as much of the file as it needs, up to a few MiB; head: what was read of it so far."""
    while True:
        try:
            return walk(head)
        except Short:
            if len(head) >= min(size, LARGE):
                return None
            file.seek(0)
            head = file.read(8 * len(head))


def _span(file: BinaryIO, length: int, size: int, little: bool) -> tuple[int, int] | None:
    """Offset and bytes of the pixels whose tag the file stands at; what lies beyond its end does not count."""
    tag = file.tell()
    mark, order = file.read(12), "little" if little else "big"
    for at in (8, 4):  # explicit VR of four letters and a long length, or implicit
        if int.from_bytes(mark[at : at + 4], order) == length:  # type: ignore[arg-type]
            start = tag + at + 4
            return start, max(0, min(length, size - start))
    return None


def whole(entry: Entry) -> Any:
    """The dataset with its pixels. Raises CTError TRUNCATED. Call it within `quiet()`."""
    import pydicom

    with _open(entry) as file:
        bare = is_bare(file.read(132))
        file.seek(0)
        try:
            dataset = pydicom.dcmread(file, force=bare)
        except Exception as error:
            raise CTError(
                f"a slice (file {entry.number} in the order of names) breaks off or is damaged "
                f"({type(error).__name__}): copy it again",
                "TRUNCATED",
            ) from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
    return dataset


def _syntax(dataset: Any) -> Any:
    """What a file without a preamble turned out to be encoded in."""
    from pydicom.uid import UID

    implicit, little = dataset.original_encoding
    return UID(IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN)


def _open(entry: Entry) -> BinaryIO:
    try:
        return entry.open()
    except OSError as error:
        raise CTError(
            f"file {entry.number} in the order of names cannot be opened ({type(error).__name__}): "
            "mend its permissions or take it out of the folder",
            "UNREADABLE",
        ) from None


def is_bare(head: bytes) -> bool:
    """Some archives drop the preamble: the file begins with a tag of group 8 (or 2), little-endian."""
    return head[128:132] != b"DICM" and head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"


def _is_other(head: bytes) -> bool:
    """Whether the file meta names a class that is no image of any kind: a report, a DICOMDIR, a plan."""
    at = head.find(b"\x02\x00\x02\x00UI")
    if at < 0:
        return False
    count = int.from_bytes(head[at + 6 : at + 8], "little")
    return not head[at + 8 : at + 8 + count].startswith(IMAGE.encode())


def _check_deflated(file: BinaryIO) -> None:
    """Counts what the file would inflate to, keeping none of it. Raises CTError TOO_LARGE."""
    file.seek(0)
    data = file.read()
    meta = data.find(b"\x02\x00\x00\x00UL\x04\x00")
    start = meta + 12 + int.from_bytes(data[meta + 8 : meta + 12], "little") if meta >= 0 else len(data)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    count, rest = 0, data[start:]
    limit = max(INFLATED_BYTES, INFLATION * len(data))
    try:
        while rest and not inflate.eof and count <= limit:
            count += len(inflate.decompress(rest, 2**20))
            rest = inflate.unconsumed_tail
    except zlib.error:
        return  # damaged: pydicom says so
    if count > limit:
        inflation(count, len(data), "a deflated file")


class _Patient(io.RawIOBase):
    """A file of which a header may not be made in more than MAX_READS reads: pydicom takes 5 µs each."""

    def __init__(self, file: BinaryIO):
        self._file, self._left = file, MAX_READS
        self.name = ""

    def read(self, count: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise CTError("a DICOM header has more than half a million elements: export the scan again", "TOO_LARGE")
        return self._file.read(-1 if count is None else count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
