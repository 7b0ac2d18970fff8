"""The body's outline: what tells a hollow of the body, open at the scan's faces or not, from the room around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Integer

BODY_HU = -300.0  # fat and all that is denser; lung, foam and air lie below
PLACES = 1e6  # about as many, but at least 1.5 mm apart: a small block needs them nearer than a whole patient
THIN_MM = 12.0  # a table's shell
THICK = 0.05  # voxels
LEAST_PART = 0.1  # of the largest part; what is smaller is a rail or a cable
LEAST_LIMB = 0.3  # the same in a scan of WHOLE_MM across, where a board may weigh more
WHOLE_MM = 250.0
LEAST_SHARE = 0.05  # of the scan; where less of it is thick tissue it is a block of lung
INSIDE = 0.1  # of a lumen that an edge of the scan cuts, 0.14 and more lies inside; of air before skin, 0.05 at most
FRAMING_MM = 250.0  # along edges of the scan: no hollow of the body fills so much of them
FRAMING = 0.7  # room air of a whole scan may lie beside neck, waist or legs: inside the hull, not in the body


def places(volume: Volume) -> tuple[slice, ...]:
    """Where the coarse grid's voxels lie in the scan: every so many, about as far apart along each axis."""
    apart = max(1.5, float((np.prod(volume.spacing) * volume.hu.size / PLACES) ** (1 / 3)))
    steps = np.maximum(1, np.rint(apart / volume.spacing).astype(int))
    return tuple(slice(min(n - 1, int(s) // 2), None, int(s)) for s, n in zip(steps, volume.shape))


def outline(volume: Volume) -> Bool[np.ndarray, "A B C"]:
    """(A, B, C) bool, at `places`: the convex hull of the tissue, without what is as thin as a table's shell."""
    from scipy import ndimage

    at = places(volume)
    tissue = volume.hu[at] > BODY_HU
    size = [max(1, 2 * int(0.5 * THIN_MM / (s.step * mm)) + 1) for s, mm in zip(at, volume.spacing)]
    thick = _opened(tissue, size)
    if thick.mean() < LEAST_SHARE:
        return _hull(tissue)
    labels, _ = ndimage.label(thick)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    across = np.sort(volume.spacing * volume.shape)[1]
    return _hull((sizes >= (LEAST_LIMB if across > WHOLE_MM else LEAST_PART) * sizes.max())[labels])


def _opened(mask: np.ndarray, size: list[int]) -> np.ndarray:
    """Without what no box of a size (voxels, odd) fits into; at the edges of the array the mask is mirrored."""
    from scipy import ndimage

    margin = [(n - 1, n - 1) for n in size]
    wide = np.pad(mask, margin, mode="symmetric").view(np.uint8)
    wide = ndimage.maximum_filter(ndimage.minimum_filter(wide, size=size), size=size)
    return np.asarray(wide[tuple(slice(m, m + n) for (m, _), n in zip(margin, mask.shape))]).view(bool)


def _hull(mask: np.ndarray) -> np.ndarray:
    """Voxels whose centres lie in the convex hull of the centres of a mask's voxels."""
    from scipy.spatial import ConvexHull

    if not mask.any():
        return mask
    # Of each line of voxels along the last axis the ends are enough. A little thickness, for a mask may be flat.
    line = np.argwhere(mask.any(axis=2))
    part = mask[tuple(line.T)]
    ends = [part.argmax(axis=1) - THICK, mask.shape[2] - 1 - part[:, ::-1].argmax(axis=1) + THICK]
    corners = np.concatenate([np.column_stack([line, end]) for end in ends])
    corners = np.concatenate([corners + [a, b, 0] for a in (-THICK, THICK) for b in (-THICK, THICK)])
    low, high = np.full(mask.shape[:2], -np.inf), np.full(mask.shape[:2], np.inf)
    x, y = np.meshgrid(*(np.arange(n) for n in mask.shape[:2]), indexing="ij")
    for a, b, c, d in ConvexHull(corners).equations:  # a x + b y + c z + d <= 0 inside
        off = -(a * x + b * y + d)
        if abs(c) < 1e-9:
            high[off < 0] = -np.inf
        elif c > 0:
            high = np.minimum(high, off / c)
        else:
            low = np.maximum(low, off / c)
    z = np.arange(mask.shape[2])
    return np.asarray((z >= low[..., None]) & (z <= high[..., None]))


def inside(volume: Volume, labels: Integer[np.ndarray, "I J K"], count: int) -> Bool[np.ndarray, " {count}+1"]:
    """(count + 1,) bool: which pieces of air lie in the body and not around it. labels: (I, J, K), of the pieces."""
    framing = np.zeros(count + 1)
    for axis in range(3):
        length = volume.shape[axis] * float(volume.spacing[axis])
        first = np.moveaxis(labels, axis, 0)
        for one, two in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            edge = np.bincount(first[:, one, two], minlength=count + 1) / volume.shape[axis]
            framing += np.where(edge > 0.9, length, 0)
    return shares(volume, labels, count) >= np.where(framing > FRAMING_MM, FRAMING, INSIDE)


def shares(volume: Volume, labels: Integer[np.ndarray, "I J K"], count: int) -> Float[np.ndarray, " {count}+1"]:
    """(count + 1,) what part of each piece lies in the outline; 1 of one that is too thin to be seen there."""
    coarse = labels[places(volume)]
    sizes = np.bincount(coarse.ravel(), minlength=count + 1)
    within = np.bincount(coarse[outline(volume)], minlength=count + 1)
    return np.where(sizes > 0, within / np.maximum(1, sizes), 1.0)
