"""From stored DICOM pixels to Hounsfield units, slice by slice."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import parse
from endorender.ct.values import compact
from endorender.ct.volume import AIR_HU

if TYPE_CHECKING:
    from endorender.ct.dicom import Slice


def hounsfield(stack: list[Slice], assume_hu: bool, notes: list[str]) -> list[np.ndarray]:
    """(rows, cols) HU for every slice, int16 where that loses nothing; padding is air.

    Raises CTError NO_RESCALE, TRUNCATED, MISSING_DECODER.
    """
    planes: list[np.ndarray] = []
    dataset: Any = None
    opened: Any = None
    padded = 0
    for s in stack:
        slope, intercept = _rescale(s, assume_hu)
        if s.open is not opened:  # the frames of an enhanced file share one parse
            dataset, opened = parse(s.open, pixels=True), s.open
        raw = _stored(dataset, s)
        padding = _padding(dataset, raw)
        raw = _without_high_bits(dataset, raw)
        hu = raw * slope + intercept if slope != 1 or intercept % 1 else raw.astype(np.int32) + int(intercept)
        if padding.any():
            padding &= _from_border(padding, hu)
            padded += int(padding.sum())
            hu[padding] = AIR_HU
        planes.append(compact(hu))
    if padded:
        notes.append(f"{padded} padding voxels were taken for air")
    return planes


def _rescale(s: Slice, assume_hu: bool) -> tuple[float, float]:
    if s.rescale is None:
        if assume_hu:
            return 1.0, 0.0
        raise CTError(
            "a slice lacks RescaleSlope or RescaleIntercept: export the original CT, or accept stored values "
            "as Hounsfield units with --assume-hu",
            "NO_RESCALE",
        )
    if s.rescale[0] == 0 or not all(map(math.isfinite, s.rescale)):
        raise CTError(f"RescaleSlope {s.rescale[0]:g}, RescaleIntercept {s.rescale[1]:g} make no HU", "NO_RESCALE")
    return s.rescale


def _stored(dataset: Any, s: Slice) -> np.ndarray:
    """(rows, cols) integers as they are stored."""
    from pydicom.pixels import pixel_array

    if dataset is None or "PixelData" not in dataset:
        raise CTError("a slice ends before its PixelData: copy it again", "TRUNCATED")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed or "Deflated" in dataset.file_meta.TransferSyntaxUID.name:
        need = frames * s.rows * s.cols * int(dataset.get("BitsAllocated") or 16) // 8
        if len(dataset.PixelData) < need:
            have = len(dataset.PixelData)
            raise CTError(f"PixelData of a slice has {have} of {need} bytes: copy it again", "TRUNCATED")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = pixel_array(dataset, index=s.frame or 0, raw=True)
    except (NotImplementedError, RuntimeError) as error:
        if "plugin" in str(error) or "missing" in str(error).lower():
            name = dataset.file_meta.TransferSyntaxUID.name
            raise CTError(f"{name} needs a decoder: pip install 'endorender[dicom]'", "MISSING_DECODER") from None
        raise CTError(f"PixelData of a slice cannot be decoded ({type(error).__name__})", "TRUNCATED") from None
    except Exception as error:  # a header that contradicts its pixels
        kind = type(error).__name__
        raise CTError(f"PixelData of a slice does not fit its header ({kind}): export it again", "TRUNCATED") from None
    if raw.shape != (s.rows, s.cols):
        raise CTError(f"pixels are {raw.shape}, the header says {s.rows} x {s.cols}", "TRUNCATED")
    return np.asarray(raw)


def _padding(dataset: Any, raw: np.ndarray) -> np.ndarray:
    """(rows, cols) bool: pixels that PixelPaddingValue (to PixelPaddingRangeLimit) names, whatever its sign."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return np.zeros(raw.shape, bool)
    bits = 8 * raw.dtype.itemsize
    ends = [_as_stored(v, raw.dtype, bits) for v in (value, limit if isinstance(limit, int) else value)]
    return (raw >= min(ends)) & (raw <= max(ends))


def _as_stored(value: int, dtype: np.dtype, bits: int) -> int:
    """63536 in signed 16-bit pixels is the -2000 that was meant, and the other way round."""
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >= 1 << (bits - 1) else value


def _without_high_bits(dataset: Any, raw: np.ndarray) -> np.ndarray:
    """Bits above BitsStored are overlays or rubbish, not the value."""
    bits, stored = 8 * raw.dtype.itemsize, int(dataset.get("BitsStored") or 0)
    if not 0 < stored < bits:
        return raw
    shift = bits - stored - (int(dataset.get("HighBit", stored - 1)) - (stored - 1))
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
