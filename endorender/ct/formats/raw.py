"""A block of voxels behind a header of text, as MetaImage and NRRD have it: read without harm."""

from __future__ import annotations

import bz2
import os
import sys
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import Entry, single
from endorender.ct.limits import inflation
from endorender.ct.resample import straighten
from endorender.ct.values import MAX_VOXELS, check_grid, checked_hu
from endorender.ct.volume import SHEAR_DEG, Skewed, Volume

if TYPE_CHECKING:
    from jaxtyping import Float, Real

HEADER_BYTES = 2**20  # a header of text takes some KiB; every line is read no farther
CHUNK = 2**20
ZLIB = zlib.MAX_WBITS + 32  # zlib or gzip, as the stream itself says


@dataclass(frozen=True)
class Header:
    """What a header of text says of its voxels.

    shape, dtype: of the voxels as they stand in the file, the first index fastest. affine: (4, 4) RAS mm.
    packing: raw, zlib (or gzip), bzip2. voxels: the file that holds them, None: they follow the header.
    skip: called with the stream and the bytes that raw voxels take, puts the stream where the voxels begin.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: Float[np.ndarray, "4 4"]
    packing: str
    voxels: str | None
    skip: Callable[[Any, int], None]


def scan(
    entry: Entry, name: str, read_header: Callable[[Any, list[str]], Header], resample: bool, assume_hu: bool
) -> Volume:
    """A CT behind a header of text. name: of the format.

    read_header: called with the stream and the notes, to which it may add; it leaves the stream behind the header.
    Raises CTError, what read_header raises among them.
    """
    notes: list[str] = []
    with ExitStack() as streams:
        stream, source = streams.enter_context(entry.open()), entry
        header = read_header(stream, notes)
        check_grid(header.shape, np.linalg.norm(header.affine[:3, :3], axis=0))
        if header.voxels is not None:
            if "%" in header.voxels or header.voxels.upper().startswith("LIST"):
                raise CTError(
                    f"the {name} file keeps its voxels in many files: save the scan as one, or as NIfTI (.nii.gz)",
                    "UNREADABLE",
                )
            source = beside(entry, header.voxels)
            stream = streams.enter_context(source.open())
        header.skip(stream, int(np.prod(header.shape)) * header.dtype.itemsize)
        values = block(stream, source, header.dtype, header.shape, header.packing, notes)
    hu, found = checked_hu(values, assume_hu)
    return straighten(Skewed(hu, header.affine, (*notes, *found), {"source": name}), resample, SHEAR_DEG)


def to_the_end(stream: Any, size: int) -> None:
    """Put the stream where as many bytes are left."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))


def three(sizes: list[int]) -> tuple[int, int, int]:
    """The sizes of one 3-D volume. Raises CTError NOT_3D, UNREADABLE, TOO_LARGE."""
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3:
        size = " x ".join(map(str, sizes))
        raise CTError(f"the image is {size}, not one 3-D volume: extract one time point or channel", "NOT_3D")
    if min(sizes) < 1:
        raise CTError("the header gives a size below 1: export the scan again", "UNREADABLE")
    if np.prod(np.array(sizes, float)) > MAX_VOXELS:
        raise CTError(
            f"{' x '.join(map(str, sizes))} voxels are more than {MAX_VOXELS}: crop the scan first", "TOO_LARGE"
        )
    return sizes[0], sizes[1], sizes[2]


def beside(entry: Entry, name: str) -> Entry:
    """The file of voxels that a header names. Raises CTError UNREADABLE, TRUNCATED.

    A header that came from elsewhere may not make this program open what lies elsewhere.
    """
    if entry.path is None:
        raise CTError("a header in a zip keeps its voxels in another file: unpack it and give the header", "UNREADABLE")
    where = PurePosixPath(name.replace("\\", "/"))
    if where.is_absolute() or ".." in where.parts or ":" in name or "\0" in name or not where.parts:
        raise CTError(
            "the header names a file of voxels outside of its folder: put it beside the header and name it alone",
            "UNREADABLE",
        )
    path = entry.path.parent / where
    try:
        inside = path.resolve(strict=True).is_relative_to(entry.path.parent.resolve())
    except (OSError, RuntimeError):
        inside = True
    if not inside:
        raise CTError(
            "the file of voxels is a link that leaves the folder of its header: copy the file itself", "UNREADABLE"
        )
    if not path.is_file():
        raise CTError("the file of voxels that the header names is not there: copy it beside the header", "TRUNCATED")
    return single(path, entry.number)


def block(
    stream: Any, entry: Entry, dtype: np.dtype, shape: tuple[int, ...], packing: str, notes: list[str]
) -> Real[np.ndarray, "I J K"]:
    """(I, J, K) values, the first index fastest in the file, from where the stream stands.

    packing: raw, zlib (or gzip), bzip2. entry: for the bytes that the file really takes. notes: what was noticed is
    added. Sizes are checked before anything is inflated or allocated. Raises CTError TRUNCATED, TOO_LARGE.
    """
    claimed = int(np.prod(np.array(shape, float))) * dtype.itemsize
    at = stream.tell()
    have = stream.seek(0, os.SEEK_END) - at
    stream.seek(at)
    if packing == "raw" and claimed > have:
        raise CTError(
            f"the file holds {max(0, have)} bytes of voxels, its header says {claimed}: copy or export it again",
            "TRUNCATED",
        )
    inflation(claimed, entry.stored, "a sparse file" if packing == "raw" else "a packed file")
    out = np.empty(shape[::-1], dtype)
    try:
        rest = _filled(stream, out.reshape(-1).view(np.uint8).data, packing)
    except (EOFError, OSError, ValueError, zlib.error):
        raise CTError(
            "the file ends before its voxels do, or is damaged: copy or export it again", "TRUNCATED"
        ) from None
    if rest:
        notes.append("bytes follow the voxels, which may be displaced if a copy went wrong")
    if dtype.byteorder == (">" if sys.byteorder == "little" else "<"):
        out = out.byteswap(inplace=True).view(dtype.newbyteorder())
    return out.T


def _filled(stream: Any, room: memoryview, packing: str) -> bool:
    """Whether more than zeros follow what fills the room. Raises EOFError, or what a damaged stream raises."""
    if packing == "raw":
        if stream.readinto(room) != len(room):
            raise EOFError
        return bool(stream.read(CHUNK).strip(b"\0"))
    decoder: Any = bz2.BZ2Decompressor() if packing == "bzip2" else zlib.decompressobj(ZLIB)
    at = 0
    while at < len(room):
        chunk = stream.read(CHUNK)
        if not chunk or decoder.eof:
            raise EOFError
        data = decoder.decompress(chunk, len(room) - at)
        room[at : at + len(data)] = data
        at += len(data)
    # The checksum comes last, and without it a damaged stream may pass.
    more, tail = b"", getattr(decoder, "unconsumed_tail", b"")
    while not decoder.eof and not more:
        chunk = tail or stream.read(CHUNK)
        if not chunk and getattr(decoder, "needs_input", True):
            raise EOFError
        more, tail = decoder.decompress(chunk, 16), getattr(decoder, "unconsumed_tail", b"")
    return bool(more or decoder.unused_data.strip(b"\0"))
