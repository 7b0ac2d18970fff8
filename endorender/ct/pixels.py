"""From stored DICOM pixels to Hounsfield units, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.decoder import Damaged, decode, kept
from endorender.ct.errors import CTError
from endorender.ct.files import quiet, whole
from endorender.ct.limits import inflation
from endorender.ct.values import compact
from endorender.ct.volume import AIR_HU

if TYPE_CHECKING:
    from endorender.ct.slices import Slice

HU_TYPES = ("", "HU", "US", "HU_MOD")  # US: unspecified, which exporters write for HU as well


def hounsfield(stack: list[Slice], assume_hu: bool, notes: list[str]) -> Iterator[np.ndarray]:
    """(rows, cols) HU for every slice in turn, int16 where that loses nothing; padding is air.

    Memory is that of one slice, or of one file where an enhanced one is compressed. notes is added to at the end.
    Raises CTError NO_RESCALE, NOT_HU, TRUNCATED, PIXELS_MISMATCH, TOO_LARGE, MISSING_DECODER.
    """
    reader = _Reader()
    padded = 0
    rescales = set()
    with kept(), closing(reader):
        for s in stack:
            slope, intercept = _rescale(s, assume_hu)
            rescales.add((slope, intercept))
            raw = reader.stored(s)
            padding = _padding(s, raw)
            if 0 < s.encoding.stored < 8 * raw.dtype.itemsize:
                raw = _without_high_bits(s, raw)
                padding = None if padding is None else padding | _padding(s, raw)
            hu = _scaled(raw, slope, intercept)
            if padding is not None and padding.any():
                padding &= _from_border(padding, hu)
                padded += int(padding.sum())
                hu[padding] = AIR_HU
            yield hu if hu.dtype == np.int16 else compact(hu)
    if padded:
        notes.append(f"{padded} padding voxels were taken for air")
    if len(rescales) > 1:
        notes.append("RescaleSlope or RescaleIntercept changes from slice to slice")
    if any(s.lossy for s in stack):
        notes.append("the pixels were once compressed with loss: HU are approximate")


def _scaled(raw: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """raw * slope + intercept, as int16 wherever that is exact."""
    if slope == 1 and intercept % 1 == 0 and abs(intercept) < 2**20:
        shift = int(intercept)
        if raw.dtype.itemsize <= 2 and int(raw.min()) + shift >= -32768 and int(raw.max()) + shift <= 32767:
            bits = raw.view(np.uint16) if raw.dtype.itemsize == 2 else raw.astype(np.uint16)
            # Two's complement wraps: the sum fits, whatever the way to it.
            return np.add(bits, np.uint16(shift % 65536)).view(np.int16)
        return raw.astype(np.int64) + shift
    return raw * slope + intercept


def _rescale(s: Slice, assume_hu: bool) -> tuple[float, float]:
    if s.rescale is None:
        if assume_hu:
            return 1.0, 0.0
        raise CTError(
            f"{s} lacks RescaleSlope or RescaleIntercept: export the original CT, or accept stored values "
            "as Hounsfield units with --assume-hu",
            "NO_RESCALE",
        )
    slope, intercept = s.rescale
    if slope == 0 or not math.isfinite(slope) or not abs(intercept) < 1e9 or not abs(slope) < 1e9:
        raise CTError(
            f"RescaleSlope {slope:g}, RescaleIntercept {intercept:g} make no HU: export the original CT", "NO_RESCALE"
        )
    if s.unit not in HU_TYPES and not assume_hu:
        raise CTError(
            "RescaleType says that the values are no Hounsfield units (a map of another quantity): "
            "choose the CT itself, or accept them with --assume-hu",
            "NOT_HU",
        )
    return s.rescale


class _Reader:
    """Stored values of slices, each file opened once as long as its frames follow one another."""

    def __init__(self) -> None:
        self._entry: Any = None
        self._file: Any = None
        self._dataset: Any = None
        self._frames: list[bytes] | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._entry = self._file = self._dataset = self._frames = None

    def stored(self, s: Slice) -> np.ndarray:
        """(rows, cols) integers as they are stored. Raises CTError."""
        if s.entry is not self._entry:
            self.close()
            self._entry = s.entry
        try:
            plain = s.encoding.span is not None and s.encoding.allocated == 16
            raw = self._plain(s) if plain else self._decoded(s)
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

    def _plain(self, s: Slice) -> np.ndarray:
        """Straight from the file: pydicom would parse it a second time."""
        offset, have = s.encoding.span or (0, 0)
        size = 2 * s.rows * s.cols
        _fits(s, have, size * s.encoding.frames)
        if self._file is None:
            self._file = s.entry.open()
        self._file.seek(offset + s.frame * size)
        data = self._file.read(size)
        if len(data) != size:
            raise CTError(f"PixelData of {s} has {len(data)} of {size} bytes: copy it again", "TRUNCATED")
        stored = np.frombuffer(data, (">" if s.encoding.big else "<") + ("i2" if s.encoding.signed else "u2"))
        return stored.astype(stored.dtype.newbyteorder("=")).reshape(s.rows, s.cols)

    def _decoded(self, s: Slice) -> np.ndarray:
        """Values that are compressed, deflated, or not of 16 bits."""
        from pydicom.pixels import pixel_array
        from pydicom.uid import AllTransferSyntaxes

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
            return self._decompressed(s, syntax)

    def _decompressed(self, s: Slice, syntax: Any) -> np.ndarray:
        from pydicom.encaps import generate_frames
        from pydicom.pixels import get_decoder

        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:  # video, JPIP
            available = False
        if not available:
            raise CTError(f"{syntax.name} needs a decoder: pip install 'endorender[dicom]'", "MISSING_DECODER")
        e = s.encoding
        try:
            if self._frames is None:
                names = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
                tables = tuple(self._dataset[n].value for n in names if n in self._dataset)
                found = generate_frames(
                    self._dataset.PixelData,
                    number_of_frames=e.frames,
                    extended_offsets=tables if len(tables) == 2 else None,
                )
                self._frames = list(islice(found, e.frames))
            return decode(self._frames[s.frame], str(syntax), s.rows, s.cols, e.allocated, e.stored, e.signed)
        except Exception as error:
            if isinstance(error, Damaged) and str(error) == "MemoryError":
                raise CTError(f"{s} is too large to be decompressed: export it uncompressed", "TOO_LARGE") from None
            kind = str(error) if isinstance(error, Damaged) else type(error).__name__
            raise CTError(
                f"compressed PixelData of {s} is damaged ({kind}): copy or export it again", "TRUNCATED"
            ) from None


def _fits(s: Slice, have: int, need: int) -> None:
    """As many bytes as the header promises; a row more would mean that the rows are not where it says."""
    if have < need:
        raise CTError(f"PixelData of {s} has {have} of {need} bytes: copy it again", "TRUNCATED")
    if have - need >= max(2, min(s.rows, s.cols) * s.encoding.allocated // 8):
        raise CTError(
            f"PixelData of {s} has {have} bytes where the header says {need}: export it again", "PIXELS_MISMATCH"
        )


def _padding(s: Slice, raw: np.ndarray) -> np.ndarray | None:
    """(rows, cols) bool: pixels that PixelPaddingValue (to PixelPaddingRangeLimit) names, whatever its sign."""
    if s.encoding.padding is None:
        return None
    bits = 8 * raw.dtype.itemsize
    ends = [_as_stored(v, raw.dtype, bits) for v in s.encoding.padding]
    return (raw >= min(ends)) & (raw <= max(ends))


def _as_stored(value: int, dtype: np.dtype, bits: int) -> int:
    """63536 in signed 16-bit pixels is the -2000 that was meant, and the other way round."""
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >= 1 << (bits - 1) else value


def _without_high_bits(s: Slice, raw: np.ndarray) -> np.ndarray:
    """Bits above BitsStored are overlays or rubbish, not the value."""
    bits, stored = 8 * raw.dtype.itemsize, s.encoding.stored
    shift = bits - stored - (s.encoding.high - (stored - 1))
    spare = bits - stored
    return (raw << shift) >> spare if 0 <= shift <= spare else raw


def _from_border(padding: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Padding that looks like tissue counts only where it reaches in from the border: inside it is anatomy."""
    from scipy import ndimage

    if float(hu[padding].max()) < -900:
        return padding
    labels, _ = ndimage.label(padding)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, border[border > 0])
