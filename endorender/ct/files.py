"""The files of a DICOM series: folder, single file or zip, each opened and parsed without harm."""

from __future__ import annotations

import io
import logging
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from endorender.ct.errors import CTError
from endorender.ct.header import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, PIXELS, UNDEFINED, Short, Walked, walk
from endorender.ct.limits import INFLATED_BYTES, INFLATION, MAX_FILES, inflation, on_disk

IMAGE = "1.2.840.10008.5.1.4.1.1."  # what the classes of all stored images begin with
MAX_READS = 700_000  # of a header; 4000 frames of an enhanced CT take half a million
LARGE = 2**22  # bytes; a smaller file cannot hold a header that takes long to parse
BLOCK = 2**15  # bytes; most headers are shorter


@dataclass(frozen=True)
class Entry:
    """One file. number: its place in the order of names, from 1; its name would be patient data. cheap: whether it can
    be opened as often as one likes, from any thread."""

    number: int
    open: Callable[[], BinaryIO]
    cheap: bool = True


@dataclass(frozen=True)
class Parsed:
    """A dataset without its pixels. span: where they lie as plain 16-bit values or the like (offset, bytes), or None;
    pixels: whether there are any, plain or not."""

    dataset: Any
    span: tuple[int, int] | None
    pixels: bool


def files(path: Path, notes: list[str] | None = None) -> list[Entry]:
    """Every file of a folder (to the bottom), of a zip, or the one file; in the order of names.

    Pipes, devices and folders that are links are passed over with a note. Raises CTError UNREADABLE, TOO_LARGE.
    """
    if path.is_dir():
        return [Entry(n, partial(_read, f)) for n, f in enumerate(_below(path, [] if notes is None else notes), 1)]
    with _opened(path) as file:
        head = file.read(132)
    if head[128:] != b"DICM" and zipfile.is_zipfile(path):
        return _members(path)
    return [Entry(1, partial(_read, path))]


def _read(path: Path) -> BinaryIO:
    return open(path, "rb")


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CTError(
            f"the file cannot be opened ({type(error).__name__}): mend its permissions", "UNREADABLE"
        ) from None


def _below(path: Path, notes: list[str]) -> list[Path]:
    found, links, odd = [], 0, 0
    for folder, folders, names in os.walk(path):  # which does not follow links to folders, nor fail on locked ones
        folders.sort()
        links += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        for name in names:
            file = Path(folder, name)
            try:
                regular = stat.S_ISREG(file.stat().st_mode)
            except OSError:  # a link to nowhere, or to itself
                regular = False
            if regular:
                found.append(file)
            else:
                odd += 1
        if len(found) > MAX_FILES:
            raise CTError(f"more than {MAX_FILES} files: give the folder of one series", "TOO_LARGE")
    if links:
        notes.append(f"{links} folders that are links were not entered")
    if odd:
        notes.append(f"{odd} pipes, devices or dead links were passed over")
    return sorted(found)


def _members(path: Path) -> list[Entry]:
    try:
        archive = zipfile.ZipFile(path)
        infos = sorted((i for i in archive.infolist() if not i.is_dir()), key=lambda i: i.filename)
    except Exception as error:  # a directory that contradicts itself raises half a dozen kinds
        raise CTError(
            f"the zip cannot be opened ({type(error).__name__}): unpack it yourself and give the folder", "TRUNCATED"
        ) from None
    if len(infos) > MAX_FILES:
        raise CTError(f"the zip holds more than {MAX_FILES} files: unpack one series yourself", "TOO_LARGE")
    inflation(sum(i.file_size for i in infos), on_disk(path), "a zip")
    for info in infos:
        inflation(info.file_size, info.compress_size, "a member of the zip")
    return [Entry(n, partial(_unpacked, archive, info), False) for n, info in enumerate(infos, 1)]


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """In memory, never on disk: names like ../../x do no harm. zipfile reads no more than the size it was promised."""
    try:
        with archive.open(info) as member:
            return io.BytesIO(member.read())
    except Exception as error:  # zlib.error, BadZipFile, EOFError, a password, an unknown method, ...
        raise CTError(f"the zip cannot be unpacked ({type(error).__name__}): unpack it yourself", "TRUNCATED") from None


@contextmanager
def silent(library: str) -> Iterator[None]:
    """The loggers of a library that quotes header texts, which are patient data, say nothing meanwhile."""
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] == library]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before):
            logger.disabled = was


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns and logs with header texts, which are patient data."""
    import pydicom.config

    with warnings.catch_warnings(), pydicom.config.disable_value_validation(), silent("pydicom"):
        warnings.simplefilter("ignore")
        yield


def parse(entry: Entry) -> Parsed | None:
    """The header, or None if the file is no DICOM, or a damaged one of something else than a CT.

    Raises CTError TRUNCATED, TOO_LARGE, UNREADABLE. Call it within `quiet()`.
    """
    from pydicom.filereader import read_partial

    file = _open(entry)
    with file:
        head = file.read(BLOCK)
        bare = _is_bare(head)
        if head[128:132] != b"DICM" and not bare:
            return None
        size = file.seek(0, os.SEEK_END)
        walked = _walked(file, head, size)
        if walked is not None:
            header, start, length = walked
            plain = length != UNDEFINED and header.file_meta["TransferSyntaxUID"] in (IMPLICIT, EXPLICIT)
            return Parsed(header, (start, max(0, min(length, size - start))) if plain else None, True)
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
            kind = type(error).__name__
            raise CTError(
                f"a DICOM file (number {entry.number} in the order of names) breaks off or is damaged ({kind}): "
                "copy it again",
                "TRUNCATED",
            ) from None
        plain = syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN) and length not in (-1, UNDEFINED)
        return Parsed(dataset, _span(file, length, size, syntax != BIG_ENDIAN) if plain else None, length >= 0)


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
        bare = _is_bare(file.read(132))
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


def _is_bare(head: bytes) -> bool:
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
