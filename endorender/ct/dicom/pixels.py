"""From stored DICOM pixels to Hounsfield units, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.dicom.stored import planes
from endorender.ct.errors import CTError
from endorender.ct.values import DEEP_HU, SMEAR_VOXELS, compact, dilated
from endorender.ct.volume import AIR_HU

if TYPE_CHECKING:
    from jaxtyping import Int16, Real

    from endorender.ct.dicom.slices import Slice

COARSE_HU = 2.0  # steps of HU that are worth a warning; noise of a CT is 10 to 50
HU_TYPES = ("", "HU", "US", "HU_MOD")  # US: unspecified, which exporters write for HU as well


def hounsfield(
    stack: list[Slice], assume_hu: bool, notes: list[str], room: Callable[[int], Int16[np.ndarray, "_ _"] | None]
) -> Generator[tuple[Real[np.ndarray, "rows cols"], float, float], None, None]:
    """(rows, cols) HU for every slice in turn, int16 where that loses nothing, with their range; padding is air.

    room: as for `planes`; where it gives memory, an int16 result lies there. Memory beside it is that of a few slices,
    or of one file where an enhanced one is compressed. notes is added to at the end.
    Raises CTError NO_RESCALE, NOT_HU, and those of `planes`.
    """
    padded = smeared = cut = 0
    rescales = [_rescale(s, assume_hu) for s in stack]
    with closing(planes(stack, room)) as stored:
        for s, (slope, intercept), raw in zip(stack, rescales, stored):
            low, high = raw.min().item(), raw.max().item()
            padding = _padding(s, raw, low, high)
            kept_bits = _without_high_bits(s, raw, low, high)
            if kept_bits is not raw:
                cut += _cut(s, raw, kept_bits, padding)
                raw, low, high = kept_bits, kept_bits.min().item(), kept_bits.max().item()
                more = _padding(s, raw, low, high)
                padding = more if padding is None else padding if more is None else padding | more
            hu = _scaled(raw, slope, intercept, low, high)
            low, high = sorted((low * slope + intercept, high * slope + intercept))
            if padding is not None and padding.any():
                padding &= _from_border(padding, hu)
                padded += int(padding.sum())
                if low < DEEP_HU:
                    rim = (hu < DEEP_HU) & ~padding & dilated(padding, SMEAR_VOXELS)
                    smeared += int(rim.sum())
                    hu[rim] = AIR_HU
                hu[padding] = AIR_HU
                low, high = hu.min().item(), hu.max().item()
            yield (hu if hu.dtype == np.int16 else compact(hu)), low, high
    if padded:
        notes.append(f"{padded} padding voxels were taken for air")
    if smeared:
        notes.append(
            f"{smeared} voxels below {DEEP_HU} HU beside padding, with which they were mixed, were taken for air"
        )
    if cut:
        notes.append(
            f"{cut} pixels do not fit into BitsStored; what lies above it was cut off, so bright places may be dark"
        )
    coarse = max(abs(slope) for slope, _ in rescales)
    if coarse >= COARSE_HU:
        notes.append(f"HU come in steps of {coarse:g} (RescaleSlope): differences of tissue are lost")
    if len(set(rescales)) > 1:
        notes.append("RescaleSlope or RescaleIntercept changes from slice to slice")
    odd = len({s.entry.number for s in stack if s.encoding.odd})
    if odd:
        notes.append(
            f"in {odd} files bytes that are no DICOM follow the pixels, which may be displaced if a copy went wrong"
        )
    if any(s.lossy for s in stack):
        notes.append("the pixels were once compressed with loss: HU are approximate")


def _scaled(raw: np.ndarray, slope: float, intercept: float, low: int, high: int) -> np.ndarray:
    """raw * slope + intercept, as int16 and in the same memory wherever that is exact. low, high: range of raw."""
    if slope == 1 and intercept % 1 == 0 and abs(intercept) < 2**20:
        shift = int(intercept)
        if raw.dtype.itemsize <= 2 and low + shift >= -32768 and high + shift <= 32767:
            bits = raw.view(np.uint16) if raw.dtype.itemsize == 2 else raw.astype(np.uint16)
            # Two's complement wraps: the sum fits, whatever the way to it.
            return np.add(bits, np.uint16(shift % 65536), out=bits).view(np.int16)
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


def _padding(s: Slice, raw: np.ndarray, low: int, high: int) -> np.ndarray | None:
    """(rows, cols) bool: pixels that PixelPaddingValue (to PixelPaddingRangeLimit) names, whatever its sign; None if
    there are none. low, high: range of raw."""
    if s.encoding.padding is None:
        return None
    bits = 8 * raw.dtype.itemsize
    ends = [_as_stored(v, raw.dtype, bits) for v in s.encoding.padding]
    if max(ends) < low or min(ends) > high:
        return None
    return (raw >= min(ends)) & (raw <= max(ends))


def _as_stored(value: int, dtype: np.dtype, bits: int) -> int:
    """63536 in signed 16-bit pixels is the -2000 that was meant, and the other way round."""
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >= 1 << (bits - 1) else value


def _without_high_bits(s: Slice, raw: np.ndarray, low: int, high: int) -> np.ndarray:
    """Bits above BitsStored are overlays or rubbish, not the value; raw itself if there are none."""
    bits, stored = 8 * raw.dtype.itemsize, s.encoding.stored
    spare = bits - stored
    shift = spare - (s.encoding.high - (stored - 1))
    if not 0 < stored < bits or not 0 <= shift <= spare:
        return raw
    least, most = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if raw.dtype.kind == "i" else (0, (1 << stored) - 1)
    if shift == spare and least <= low and high <= most:
        return raw
    return (raw << shift) >> spare


def _cut(s: Slice, raw: np.ndarray, kept: np.ndarray, padding: np.ndarray | None) -> int:
    """Pixels that lost bits which were no sign: a negative value of 12 bits may be stored without its sign extended."""
    e = s.encoding
    if e.high != e.stored - 1:  # at the top of the word: below lies nothing, or an overlay
        return 0
    mask = (1 << e.stored) - 1
    lost = (raw != kept) & (raw.astype(np.int64) & ~mask != 0)
    return int((lost if padding is None else lost & ~padding).sum())


def _from_border(padding: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Padding that looks like tissue counts only where it reaches in from the border: inside it is anatomy."""
    from scipy import ndimage

    if float(hu[padding].max()) < -900:
        return padding
    labels, _ = ndimage.label(padding)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, border[border > 0])
