"""From a scan as it was read to what is rendered: cubic voxels, a closed lumen, a way through."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from endorender.ct import voxels
from endorender.ct.anatomy import lumen as hollow
from endorender.ct.anatomy.lumen import Lumen, Path
from endorender.ct.mask import onto
from endorender.ct.resample import isotropic
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Real, Shaped

MARGIN_MM = 25.0  # of tissue kept around the lumen; light that entered deeper does not come back
FILL_HU = 0  # what stands in for air behind the wall: soft tissue (our choice)
BEYOND_MM = 16.0  # that a slab sees of its neighbours
APART_MM = 4.0  # air farther than this from the lumen belongs to something else


class Prepared(NamedTuple):
    """volume: isotropic, sealed, cropped. lumen, path: on its grid; of several regions the lumen is all of them, and
    the path has a piece in each."""

    volume: Volume
    lumen: Lumen
    path: Path


def prepare(
    volume: Volume, region: int | Sequence[int] | None = None, label: Shaped[np.ndarray, "I J K"] | None = None
) -> Prepared:
    """`isotropic`, `lumen.find`, `seal`, `crop` and `lumen.centreline` in a row.

    region: as for `lumen.find`; or several, as the segments of an organ that is collapsed between them: one volume
    with the ways through all, in their order. label: (I, J, K), on the grid of the volume that is given; only what
    lies under it is lumen, and it follows onto the new grid. Raises CTError LUMEN or NO_PATH.
    """
    from scipy import ndimage

    grid = isotropic(volume)
    label = None if label is None else onto(label, volume, grid)
    found = [hollow.find(grid, n, label) for n in (region if isinstance(region, Sequence) else (region,))]
    if len(found) == 1:
        grid, lumen = crop(*seal(grid, found.pop()))
        return Prepared(grid, lumen, hollow.centreline(grid, lumen))
    # A place deep inside each tells later which piece is whose: two may turn out to be one, behind a film.
    deep = [np.unravel_index(int(one.clearance.argmax()), grid.shape) for one in found]
    places = grid.to_world(np.array(deep, float))
    grid, lumen = crop(*seal(grid, _together(found), np.array(deep)))
    pieces, _ = ndimage.label(lumen.mask)
    own = pieces[tuple(np.rint(grid.to_voxel(places)).astype(int).T)]
    ways = [hollow.centreline(grid, dataclasses.replace(lumen, mask=pieces == n)) for n in dict.fromkeys(own.tolist())]
    starts = [0, *np.cumsum([len(way.points) for way in ways[:-1]]).tolist()]
    points, clearance = (np.concatenate([getattr(way, name) for way in ways]) for name in ("points", "clearance"))
    return Prepared(grid, lumen, Path(points, clearance, tuple(starts)))


def _together(found: Sequence[Lumen]) -> Lumen:
    """Several lumens as one: all their air, at the lowest threshold, under the number of the first."""
    mask = np.logical_or.reduce([one.mask for one in found])
    voxel_ml = found[0].volume_ml / found[0].mask.sum()
    lowest = min(one.threshold for one in found)
    return dataclasses.replace(found[0], mask=mask, threshold=lowest, volume_ml=float(mask.sum() * voxel_ml))


def crop(volume: Volume, lumen: Lumen) -> tuple[Volume, Lumen]:
    """The box of the lumen with 25 mm around it, where that is less than half of the scan; else all of it."""
    box = voxels.around(lumen.mask, MARGIN_MM / volume.spacing)
    if np.prod([float(s.stop - s.start) for s in box]) > 0.5 * volume.hu.size:
        return volume, lumen
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_world(np.array([float(s.start) for s in box]))
    meta = {**volume.meta, "cropped_from": list(volume.shape)}
    cut = dataclasses.replace(volume, hu=np.ascontiguousarray(volume.hu[box]), affine=affine, meta=meta)
    return cut, dataclasses.replace(lumen, mask=np.ascontiguousarray(lumen.mask[box]))


def seal(volume: Volume, lumen: Lumen, places: Real[np.ndarray, "N 3"] | None = None) -> tuple[Volume, Lumen]:
    """The same lumen with its wall at -550 HU, where a blurred edge has its true place, and closed.

    A bronchus lies in lung, which is nearly air. Only far below -550 HU is it a closed tube (`lumen.threshold`), and
    there noise roughens the wall. Sealing divides the air between the lumen and everything else along the ridge of
    HU that the wall forms (watershed), and fills everything else with soft tissue, so that the iso-surface at -550 is
    the wall and nothing but the wall. Volumes that did not leak are returned as they are.
    meta["sealed_ml"] says how much was filled. places: (N, 3) voxel indices, one in each piece of a lumen of several.
    """
    from scipy import ndimage

    if lumen.threshold >= hollow.WALL_HU:
        return volume, lumen
    box = voxels.around(lumen.mask, (APART_MM + 2) / volume.spacing)
    part, mask = volume.hu[box], lumen.mask[box]
    other = volume.hu < hollow.WALL_HU
    other[box] &= ~_mine(part, mask, volume.spacing)
    hu = volume.hu.copy()
    hu[other] = FILL_HU
    # Half a voxel of blur on the filling, outside the lumen's own air, rounds the steps of its border.
    filled = other[box]
    for core, wide, inner in voxels.slabs(part.shape, 3):
        if not filled[wide].any():
            continue
        soft = ndimage.gaussian_filter(filled[wide].astype(np.float32), 0.6)[inner]
        soft[filled[core] | (part[core] < lumen.threshold)] = 0
        blended = part[core] + soft * np.maximum(FILL_HU - part[core].astype(np.float32), 0)
        blended = np.rint(blended).astype(np.int16) if hu.dtype == np.int16 else blended
        hu[box][core] = np.where(soft > 0, blended, hu[box][core])
    voxel_ml = float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    meta = {**volume.meta, "sealed_ml": round(np.count_nonzero(other) * voxel_ml, 1)}
    sealed = dataclasses.replace(volume, hu=hu, meta=meta)
    labels, _ = ndimage.label(hu[box] < hollow.WALL_HU)
    if places is None:
        own = labels == 1 + int(np.argmax(np.bincount(labels[mask], minlength=2)[1:]))
    else:
        own = np.isin(labels, labels[tuple((places - [s.start for s in box]).T)])
    closed = hollow.measured(sealed, box, own, hollow.WALL_HU, lumen.region, lumen.candidates)
    return sealed, dataclasses.replace(closed, left_out=lumen.left_out)


def _mine(part: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The lumen's share of the air about it. part, mask: HU and the lumen, in its box.

    A large box is divided slab by slab, which takes a fraction of the memory. Each sees far beyond its ends, so two
    neighbours agree where they meet; if they do not, the box is divided as a whole.
    """
    mine = np.zeros(mask.shape, bool)
    beyond = int(np.ceil(BEYOND_MM / float(spacing.min())))
    before = None
    for core, wide, inner in voxels.slabs(mask.shape, beyond):
        here = _divided(part[wide], mask[wide], spacing)
        mine[core] = here[inner]
        axis = next((a for a, s in enumerate(core) if s != slice(None)), 0)
        first = core[axis].start or 0
        # The two planes beside the seam, as this slab and as the one before see them.
        seam = np.moveaxis(here, axis, 0)[: first - (wide[axis].start or 0) + 1][-2:]
        if before is not None and not np.array_equal(before, seam):
            return _divided(part, mask, spacing)
        end = (core[axis].stop or mask.shape[axis]) - (wide[axis].start or 0)
        before = np.moveaxis(here, axis, 0)[end - 1 : end + 1].copy()
    return mine


def _divided(part: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """`_mine`, at once."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    air = part < hollow.WALL_HU
    close = voxels.widened(mask, APART_MM, spacing)
    rim = voxels.widened(close, 1.0, spacing) & ~close
    markers = mask.astype(np.int32)
    markers[rim & air & ~mask] = 2
    # Noise in the lung makes many small ridges; a little blur leaves those of the walls.
    ridges = ndimage.gaussian_filter(part.astype(np.float32), 0.5 / float(spacing.min()))
    # Deep in the lumen nothing is left to divide.
    open_to = air & (close | rim) & ~voxels.inner(mask)
    return np.asarray((watershed(ridges, markers, mask=open_to) == 1) | (mask & air))
