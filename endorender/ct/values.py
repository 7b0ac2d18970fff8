"""What DICOM and NIfTI share: are these Hounsfield units, and is this a grid a CT can have?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.volume import AIR_HU, PITCH_MM

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Real

MAX_VOXELS = 2**30  # 4096 slices of 512 x 512: 2 GiB as int16
BRIGHT_HU = 2000  # the densest bone
MOST_HU = 32767  # what 16 bits hold
DEEP_HU = -1100  # less than vacuum, by more than noise
PADDING_SPREAD = 0.04  # of its depth below air, by which lossy compression moves padding
PADDING_SHARE = 0.4  # of what lies below vacuum that is the padding itself; the rest is its smeared rim
SMEAR_VOXELS = 4  # as far as resampling (Lanczos, cubic) and wavelets carry a step
STRAY = 0.05  # of what lies below vacuum that may lie elsewhere: wedges where the circle meets the edge


def compact(hu: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """HU as int16 if that loses nothing, else float32."""
    if hu.dtype == np.int16:
        return hu
    lo, hi = float(hu.min()), float(hu.max())
    whole = lo >= -32768 and hi <= 32767 and (hu.dtype.kind in "iu" or bool((hu == np.rint(hu)).all()))
    return hu.astype(np.int16 if whole else np.float32)


def checked_hu(
    hu: Real[np.ndarray, "I J K"], assume_hu: bool, span: tuple[float, float] | None = None
) -> tuple[Real[np.ndarray, "I J K"], list[str]]:
    """Refuse values that are no Hounsfield units; turn what lies below air into air.

    hu: (I, J, K) any real type, padding already replaced where the header names it. span: their range, if it is known.
    assume_hu: what would be refused is a warning.
    Returns (I, J, K) int16 or float32, and warnings. Raises CTError NON_FINITE, NOT_HU.
    """
    if hu.dtype.kind == "f":
        count = sum(int((~np.isfinite(slab)).sum()) for slab in _slabs(hu))
        if count:
            raise CTError(f"{count} voxels are NaN or infinite: export the scan again", "NON_FINITE")
    hu = compact(hu)
    lo, hi = span if span is not None and hu.dtype.kind == "i" else (float(hu.min()), float(hu.max()))
    notes: list[str] = []
    problem = _problem(hu, lo, hi) or (_vacuum(hu, notes) if lo < DEEP_HU else None)
    if problem is not None and (not assume_hu or hi > MOST_HU):
        way_out = "rescale the scan to Hounsfield units"
        way_out += ", or accept it with --assume-hu" if hi <= MOST_HU else ""
        raise CTError(f"{problem}: {way_out}", "NOT_HU")
    if problem is not None:
        notes.append(f"{problem}: taken for Hounsfield units all the same (--assume-hu)")
    if lo >= AIR_HU:
        return hu, notes
    if not hu.flags.writeable:
        hu = hu.copy(order="K")
    count = 0
    for slab in _slabs(hu):  # a mask of the whole would be half as large as the volume
        below = slab < AIR_HU
        count += int(below.sum())
        slab[below] = AIR_HU
    return hu, [*notes, f"{count} voxels below {AIR_HU} HU (lowest {lo:g}) were taken for air outside the scan"]


def _slabs(hu: np.ndarray, like: np.ndarray | None = None) -> list[np.ndarray]:
    """Views of a volume, each one index along the axis that lies widest apart in memory (in that of `like`)."""
    return list(np.moveaxis(hu, int(np.argmax(np.abs((hu if like is None else like).strides))), 0))


def _problem(hu: np.ndarray, lo: float, hi: float) -> str | None:
    """Why values from lo to hi are no Hounsfield units, if their range or their upper end tells it."""
    reach = f"values reach from {lo:g} to {hi:g}"
    if lo >= 0:
        return f"{reach}, none below 0, as with an offset forgotten, or in MR and PET"
    if lo > -500:
        return f"{reach}, none near air at -1000, as in a windowed or normalised image"
    if hi < -200:
        return f"{reach}, no tissue near 0, as where an offset was applied twice"
    if hi > MOST_HU:
        return f"{reach}, more than metal"
    # Bone and metal are little of any body; a third of the voxels in each direction tells as much as all.
    bright = float((hu[::3, ::3, ::3] > BRIGHT_HU).mean()) if hi > BRIGHT_HU else 0.0
    return f"{100 * bright:.0f} % of the values are above {BRIGHT_HU}, denser than bone" if bright > 0.25 else None


def _vacuum(hu: np.ndarray, notes: list[str]) -> str | None:
    """Why values below vacuum are no padding. notes: what was recognised is added.

    Padding is one value or a few; a spread of values is an offset applied twice, unless all of it lies where a
    resampling or lossy compression mixes padding with its neighbours: beside padding.
    (50 HU of noise below -1024 occur in scanners that do not clip.)
    """
    found = [slab[slab < DEEP_HU] for slab in _slabs(hu)]
    count = sum(map(len, found))
    kinds: set[float] = set()
    for values in found:
        kinds.update(np.unique(values[:: max(1, count // 100_000)]).tolist())
    if count <= 0.01 * hu.size or len(kinds) <= 16:
        return None
    deep = np.concatenate(found)
    share = f"{100 * count / hu.size:.2g} % of the values lie below {DEEP_HU}, less than vacuum"
    value = _plateau(deep)
    if value is None:
        return f"{share}, as where an offset was applied twice"
    width = PADDING_SPREAD * (AIR_HU - value)
    near = np.abs(hu - value) <= width
    core = int(near.sum())
    del deep
    near = dilated(near, SMEAR_VOXELS)
    stray = sum(int(((slab < DEEP_HU) & ~close).sum()) for slab, close in zip(_slabs(hu), _slabs(near, hu)))
    del near
    if stray > STRAY * count or not _has_tissue(hu):
        return (
            f"{share}; {100 * core / hu.size:.2g} % look like padding of {value:g}, but {stray} others lie apart "
            "from it, as where an offset was applied twice, or padding was mixed into the scan"
        )
    notes.append(
        f"{count - core} voxels below {DEEP_HU} HU lie beside padding of {value:g}, with which an earlier resampling "
        "or lossy compression mixed them: taken for air; tissue at that rim may be darkened as well"
    )
    return None


def _plateau(deep: np.ndarray) -> float | None:
    """The value that the greater part of these values has, give or take what compression with loss does to it."""
    kinds, counts = np.unique(np.rint(deep), return_counts=True)
    ends = np.searchsorted(kinds, kinds + PADDING_SPREAD * (AIR_HU - kinds), "right")
    starts = np.searchsorted(kinds, kinds - PADDING_SPREAD * (AIR_HU - kinds))
    total = np.concatenate([[0], np.cumsum(counts)])
    densest = int(np.argmax(total[ends] - total[starts]))
    inside = slice(starts[densest], ends[densest])
    value = float(kinds[inside][np.argmax(counts[inside])])
    near = np.abs(deep - value) <= PADDING_SPREAD * (AIR_HU - value)
    return value if near.mean() > PADDING_SHARE and value < AIR_HU - 300 else None


def _has_tissue(hu: np.ndarray) -> bool:
    """Whether air is near -1000 and a good part of the rest near 0; with an offset applied twice only bone is."""
    some = hu[::3, ::3, ::3]
    air = float(((some > -1090) & (some < -850)).mean())
    solid = some[some > -850]
    return air > 1e-3 and solid.size > 0 and float((np.abs(solid) < 250).mean()) > 0.2


def dilated(mask: Bool[np.ndarray, "*shape"], voxels: int) -> Bool[np.ndarray, "*shape"]:
    """A mask grown by so many voxels along every axis."""
    from scipy import ndimage

    for axis in range(mask.ndim):
        mask = ndimage.maximum_filter1d(mask.view(np.uint8), 2 * voxels + 1, axis, mode="constant").view(bool)
    return mask


def check_grid(shape: tuple[int, ...], spacing: Float[np.ndarray, " 3"]) -> None:
    """Refuse sizes and pitches that no CT has. Raises CTError TOO_FEW_SLICES, TOO_LARGE, BAD_SPACING."""
    if min(shape) < 2:
        raise CTError(f"{' x '.join(map(str, shape))} voxels are no volume: give at least two slices", "TOO_FEW_SLICES")
    if np.prod(np.array(shape, dtype=float)) > MAX_VOXELS:
        size = " x ".join(map(str, shape))
        raise CTError(f"{size} voxels are more than {MAX_VOXELS}: crop the scan first", "TOO_LARGE")
    if not np.isfinite(spacing).all() or spacing.min() < PITCH_MM[0] or spacing.max() > PITCH_MM[1]:
        pitch = " x ".join(f"{s:.4g}" for s in spacing)
        raise CTError(f"a voxel pitch of {pitch} mm is none that a CT has: mend the header's units", "BAD_SPACING")
