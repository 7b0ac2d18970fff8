"""Stored pixel values of DICOM slices, plain or compressed."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.dicom.decoder import Damaged, decode, kept
from endorender.ct.dicom.parsing import whole
from endorender.ct.errors import CTError
from endorender.ct.files import quiet
from endorender.ct.limits import inflation

if TYPE_CHECKING:
    from jaxtyping import Int16, Integer

    from endorender.ct.dicom.slices import Slice

FEW = 24  # slices; another decoder takes as long to start as these to decode
THREADS, AHEAD = 2, 6  # a disk, and the system that hands out fresh memory, are waited for meanwhile


def planes(
    stack: list[Slice], room: Callable[[int], Int16[np.ndarray, "_ _"] | None]
) -> Generator[Integer[np.ndarray, "rows cols"], None, None]:
    """(rows, cols) integers of each slice in turn, as they are stored; the memory is the caller's to change.

    room: gives (rows, cols) int16 memory for slice n, or None; plain values are read right into it.
    Raises CTError TRUNCATED, PIXELS_MISMATCH, TOO_LARGE, MISSING_DECODER.
    """
    reader = _Reader()
    jobs: deque[Callable[[], np.ndarray]] = deque()
    pool = ThreadPoolExecutor(THREADS if len(stack) > FEW else 1)
    with kept(), closing(reader):
        try:
            for n, s in enumerate(stack):
                for m in range(n + len(jobs), min(n + AHEAD, len(stack))):
                    jobs.append(_begun(reader, stack[m], room(m), pool))
                yield _checked(s, jobs.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _begun(reader: _Reader, s: Slice, room: np.ndarray | None, pool: ThreadPoolExecutor) -> Callable[[], np.ndarray]:
    """Begins to read a slice, in a thread where that gains time; what is given waits for it, or raises what it met."""
    try:
        if _is_plain(s) and s.entry.cheap:
            return pool.submit(_plain_of_file, s, room).result
        raw = reader.plain(s, room) if _is_plain(s) else reader.decoded(s)
        return (lambda: raw) if isinstance(raw, np.ndarray) else pool.submit(raw).result
    except Exception as error:  # told when its turn comes: slices before it may have more to say
        failure = error

    def fail() -> np.ndarray:
        raise failure

    return fail


def _checked(s: Slice, read: Callable[[], np.ndarray]) -> np.ndarray:
    """What `read` gives, if it is a plane of whole numbers of the right size. Raises CTError."""
    try:
        raw = read()
    except CTError:
        raise
    except Exception as error:  # a header that contradicts its pixels; a stream that breaks off
        kind = type(error).__name__
        raise CTError(f"PixelData of {s} cannot be decoded ({kind}): export it again", "PIXELS_MISMATCH") from None
    if raw.shape != (s.rows, s.cols):
        size = " x ".join(map(str, raw.shape))
        raise CTError(f"pixels of {s} are {size}, the header says {s.rows} x {s.cols}", "PIXELS_MISMATCH")
    if raw.dtype.kind not in "iu":
        raise CTError(f"pixels of {s} are no whole numbers: export the original CT", "PIXELS_MISMATCH")
    return raw


def _is_plain(s: Slice) -> bool:
    return s.encoding.span is not None and s.encoding.allocated == 16


def _plain_of_file(s: Slice, room: np.ndarray | None) -> np.ndarray:
    with s.entry.open() as file:
        return _plain(file, s, room)


def _plain(file: Any, s: Slice, room: np.ndarray | None) -> np.ndarray:
    """Straight from the file into the volume: pydicom would parse it a second time and copy twice."""
    offset, have = s.encoding.span or (0, 0)
    size = 2 * s.rows * s.cols
    _fits(s, have, size * s.encoding.frames)
    file.seek(offset + s.frame * size)
    if room is None:
        room = np.empty((s.rows, s.cols), np.int16)
    got = file.readinto(room.reshape(-1).view(np.uint8).data)
    if got != size:
        raise CTError(f"PixelData of {s} has {got} of {size} bytes: copy it again", "TRUNCATED")
    if s.encoding.big == (sys.byteorder == "little"):
        room.byteswap(inplace=True)
    return room if s.encoding.signed else room.view(np.uint16)


def all_planes(dataset: Any, count: int) -> Integer[np.ndarray, "frames rows cols"]:
    """Values of all frames of any dataset, compressed ones decoded apart. Raises CTError, or whatever pydicom chokes
    with."""
    syntax = dataset.file_meta.TransferSyntaxUID
    need = int(dataset.Rows) * int(dataset.Columns) * count * int(dataset.BitsAllocated) // 8
    inflation(need, len(dataset.PixelData), "compressed PixelData")
    if not syntax.is_encapsulated:
        return np.asarray(dataset.pixel_array)
    _need_decoder(syntax)
    shape = int(dataset.Rows), int(dataset.Columns)
    bits, signed = (int(dataset.BitsAllocated), int(dataset.BitsStored)), bool(dataset.PixelRepresentation)
    with kept():
        return np.stack([decode(frame, str(syntax), *shape, *bits, signed) for frame in _frames(dataset, count)])


class _Reader:
    """Each file opened, or parsed, once as long as its frames follow one another."""

    def __init__(self) -> None:
        self._entry: Any = None
        self._file: Any = None
        self._dataset: Any = None
        self._frames: list[bytes] | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._entry = self._file = self._dataset = self._frames = None

    def _at(self, s: Slice) -> None:
        if s.entry is not self._entry:
            self.close()
            self._entry = s.entry

    def plain(self, s: Slice, room: np.ndarray | None) -> np.ndarray:
        """Values that lie plain in the file, in `room`. Raises CTError."""
        self._at(s)
        if self._file is None:
            self._file = s.entry.open()
        return _plain(self._file, s, room)

    def decoded(self, s: Slice) -> np.ndarray | Callable[[], np.ndarray]:
        """Values that are deflated or not of 16 bits; of compressed ones what decodes them. Raises CTError."""
        from pydicom.pixels import pixel_array
        from pydicom.uid import AllTransferSyntaxes

        self._at(s)
        with quiet():
            if self._dataset is None:
                self._dataset, self._frames = whole(s.entry), None
            dataset = self._dataset
            if "PixelData" not in dataset:
                raise CTError(
                    f"{s} ends before its PixelData, or holds none of whole numbers: copy it again", "TRUNCATED"
                )
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax not in AllTransferSyntaxes:  # its name would be text out of the header
                raise CTError("an unknown transfer syntax: export the series uncompressed", "MISSING_DECODER")
            size = s.encoding.allocated // 8 * s.rows * s.cols * s.encoding.frames
            if not syntax.is_encapsulated:
                _fits(s, len(dataset.PixelData), size)
                return np.asarray(pixel_array(dataset, index=s.frame, raw=True))
            inflation(size, len(dataset.PixelData), "compressed PixelData")
            _need_decoder(syntax)
            if self._frames is None:
                try:
                    self._frames = _frames(dataset, s.encoding.frames)
                except Exception as error:
                    raise _damaged(s, type(error).__name__) from None
            if s.frame >= len(self._frames):
                raise _damaged(s, "a frame is missing")
            return partial(_decompressed, self._frames[s.frame], str(syntax), s)


def _need_decoder(syntax: Any) -> None:
    """Raises CTError MISSING_DECODER."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGExtended12Bit

    try:
        available = get_decoder(syntax).is_available
        if syntax == JPEGExtended12Bit:  # pydicom counts Pillow, which decodes no more than 8 bits
            available = find_spec("gdcm") is not None
    except NotImplementedError:  # video, JPIP
        raise CTError(f"{syntax.name} is no CT: export the series uncompressed", "MISSING_DECODER") from None
    if available:
        return
    if syntax in (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL):  # which gdcm does not know
        raise CTError(
            f"{syntax.name} is read by no decoder here: export the series uncompressed, or pip install pylibjpeg "
            "pylibjpeg-openjpeg",
            "MISSING_DECODER",
        )
    raise CTError(f"{syntax.name} needs a decoder: pip install 'endorender[dicom]'", "MISSING_DECODER")


def _decompressed(frame: bytes, syntax: str, s: Slice) -> np.ndarray:
    e = s.encoding
    try:
        return decode(frame, syntax, s.rows, s.cols, e.allocated, e.stored, e.signed)
    except Damaged as error:
        if str(error) == "MemoryError":
            raise CTError(f"{s} is too large to be decompressed: export it uncompressed", "TOO_LARGE") from None
        raise _damaged(s, str(error)) from None


def _damaged(s: Slice, how: str) -> CTError:
    return CTError(f"compressed PixelData of {s} is damaged ({how}): copy or export it again", "TRUNCATED")


def _frames(dataset: Any, count: int) -> list[bytes]:
    """The encoded frames. Raises ValueError if the items (PS3.5, section A.4) do not fill PixelData to its end, which
    pydicom passes over."""
    from pydicom.encaps import generate_frames

    data, at = dataset.PixelData, 0
    while at < len(data):
        if data[at : at + 4] == b"\xfe\xff\xdd\xe0":
            break
        if data[at : at + 4] != b"\xfe\xff\x00\xe0":
            raise ValueError
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    if at > len(data):
        raise ValueError
    tables = tuple(dataset[n].value for n in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths") if n in dataset)
    extended = tables if len(tables) == 2 else None
    return list(islice(generate_frames(data, number_of_frames=count, extended_offsets=extended), count))


def _fits(s: Slice, have: int, need: int) -> None:
    """As many bytes as the header promises; a row more would mean that the rows are not where it says."""
    if have < need:
        raise CTError(f"PixelData of {s} has {have} of {need} bytes: copy it again", "TRUNCATED")
    if have - need >= max(2, min(s.rows, s.cols) * s.encoding.allocated // 8):
        raise CTError(
            f"PixelData of {s} has {have} bytes where the header says {need}: export it again", "PIXELS_MISMATCH"
        )
