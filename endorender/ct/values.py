"""What DICOM and NIfTI share: are these Hounsfield units, and is this a grid a CT can have?"""

from __future__ import annotations

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.volume import AIR_HU

MAX_VOXELS = 2**30  # 4096 slices of 512 x 512: 2 GiB as int16
BRIGHT_HU = 2000  # the densest bone
DEEP_HU = -1100  # less than vacuum, by more than noise
PITCH_MM = (0.02, 20.0)  # micro-CT to the thickest slices in use; outside it the unit is wrong


def compact(hu: np.ndarray) -> np.ndarray:
    """HU as int16 if that loses nothing, else float32."""
    if hu.dtype == np.int16:
        return hu
    lo, hi = float(hu.min()), float(hu.max())
    whole = lo >= -32768 and hi <= 32767 and (hu.dtype.kind in "iu" or bool((hu == np.rint(hu)).all()))
    return hu.astype(np.int16 if whole else np.float32)


def checked_hu(
    hu: np.ndarray, assume_hu: bool, span: tuple[float, float] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Refuse values that are no Hounsfield units; turn what lies below air into air.

    hu: (I, J, K) any real type, padding already replaced where the header names it. span: their range, if it is known.
    Returns (I, J, K) int16 or float32, and warnings. Raises CTError NON_FINITE, NOT_HU.
    """
    if hu.dtype.kind == "f":
        count = sum(int((~np.isfinite(slab)).sum()) for slab in _slabs(hu))
        if count:
            raise CTError(f"{count} voxels are NaN or infinite: export the scan again", "NON_FINITE")
    hu = compact(hu)
    lo, hi = span if span is not None and hu.dtype.kind == "i" else (float(hu.min()), float(hu.max()))
    if not assume_hu:
        _plausible(hu, lo, hi)
    if lo >= AIR_HU:
        return hu, []
    if not hu.flags.writeable:
        hu = hu.copy(order="K")
    count = 0
    for slab in _slabs(hu):  # a mask of the whole would be half as large as the volume
        below = slab < AIR_HU
        count += int(below.sum())
        slab[below] = AIR_HU
    return hu, [f"{count} voxels below {AIR_HU} HU (lowest {lo:g}) were taken for air outside the scan"]


def _slabs(hu: np.ndarray) -> list[np.ndarray]:
    """Views of a volume, each one index along the axis that lies widest apart in memory."""
    return list(np.moveaxis(hu, int(np.argmax(np.abs(hu.strides))), 0))


def _plausible(hu: np.ndarray, lo: float, hi: float) -> None:
    """Raises CTError NOT_HU."""
    way_out = "rescale the scan to Hounsfield units, or accept it with --assume-hu"
    if lo >= 0:
        raise CTError(f"values reach from {lo:g} to {hi:g}, none below 0: {way_out}", "NOT_HU")
    if lo > -500:
        raise CTError(f"values reach from {lo:g} to {hi:g}, none near air at -1000: {way_out}", "NOT_HU")
    if hi < -200:
        raise CTError(f"values reach from {lo:g} to {hi:g}, no tissue near 0: {way_out}", "NOT_HU")
    if hi > 32767:
        raise CTError(f"values reach from {lo:g} to {hi:g}, more than metal: {way_out}", "NOT_HU")
    # Bone and metal are little of any body; a third of the voxels in each direction tells as much as all.
    bright = float((hu[::3, ::3, ::3] > BRIGHT_HU).mean()) if hi > BRIGHT_HU else 0.0
    if bright > 0.25:
        raise CTError(
            f"{100 * bright:.0f} % of the values are above {BRIGHT_HU}, denser than bone: {way_out}", "NOT_HU"
        )
    # Padding is one value or a few; a spread of values below vacuum is an offset applied twice.
    # (50 HU of noise below -1024 occur in scanners that do not clip.)
    if lo >= DEEP_HU:
        return
    found = [slab[slab < DEEP_HU] for slab in _slabs(hu)]
    count = sum(map(len, found))
    kinds: set[float] = set()
    for values in found:
        kinds.update(np.unique(values[:: max(1, count // 100_000)]).tolist())
    if count > 0.01 * hu.size and len(kinds) > 16:
        share = 100 * count / hu.size
        raise CTError(f"{share:.0f} % of the values lie below -1100, less than vacuum: {way_out}", "NOT_HU")


def check_grid(shape: tuple[int, ...], spacing: np.ndarray) -> None:
    """Refuse sizes and pitches that no CT has. Raises CTError TOO_FEW_SLICES, TOO_LARGE, BAD_SPACING."""
    if min(shape) < 2:
        raise CTError(f"{' x '.join(map(str, shape))} voxels are no volume: give at least two slices", "TOO_FEW_SLICES")
    if np.prod(np.array(shape, dtype=float)) > MAX_VOXELS:
        size = " x ".join(map(str, shape))
        raise CTError(f"{size} voxels are more than {MAX_VOXELS}: crop the scan first", "TOO_LARGE")
    if not np.isfinite(spacing).all() or spacing.min() < PITCH_MM[0] or spacing.max() > PITCH_MM[1]:
        pitch = " x ".join(f"{s:.4g}" for s in spacing)
        raise CTError(f"a voxel pitch of {pitch} mm is none that a CT has: mend the header's units", "BAD_SPACING")
