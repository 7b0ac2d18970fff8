"""From a scan as it was read to what is rendered: cubic voxels, a closed lumen, a way through."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from endorender.ct import lumen as hollow
from endorender.ct import voxels
from endorender.ct.lumen import Lumen, Path
from endorender.ct.resample import isotropic
from endorender.ct.volume import Volume

MARGIN_MM = 25.0  # of tissue kept around the lumen; light that entered deeper does not come back
FILL_HU = 0  # what stands in for air behind the wall: soft tissue (our choice)
APART_MM = 4.0  # air farther than this from the lumen belongs to something else


class Prepared(NamedTuple):
    """volume: isotropic, sealed, cropped. lumen, path: on its grid."""

    volume: Volume
    lumen: Lumen
    path: Path


def prepare(volume: Volume, region: int | None = None, label: np.ndarray | None = None) -> Prepared:
    """`isotropic`, `lumen.find`, `seal`, `crop` and `lumen.centreline` in a row.

    region, label: as for `lumen.find`; label is on the grid of the volume that is given.
    Raises CTError LUMEN or NO_PATH.
    """
    from scipy import ndimage

    grid = isotropic(volume)
    if label is not None and grid is not volume and label.shape == volume.shape:
        at = np.indices(grid.shape, dtype=np.float32).reshape(3, -1)
        at *= (grid.spacing / volume.spacing).astype(np.float32)[:, None]
        label = ndimage.map_coordinates((label > 0).astype(np.uint8), at, order=0, mode="nearest").reshape(grid.shape)
    found = hollow.find(grid, region, label)
    grid, found = crop(*seal(grid, found))
    return Prepared(grid, found, hollow.centreline(grid, found))


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


def seal(volume: Volume, lumen: Lumen) -> tuple[Volume, Lumen]:
    """The same lumen with its wall at -550 HU, where a blurred edge has its true place, and closed.

    A bronchus lies in lung, which is nearly air. Only far below -550 HU is it a closed tube (`lumen.threshold`), and
    there noise roughens the wall. Sealing divides the air between the lumen and everything else along the ridge of
    HU that the wall forms (watershed), and fills everything else with soft tissue, so that the iso-surface at -550 is
    the wall and nothing but the wall. Volumes that did not leak are returned as they are.
    meta["sealed_ml"] says how much was filled.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    if lumen.threshold >= hollow.WALL_HU:
        return volume, lumen
    box = voxels.around(lumen.mask, (APART_MM + 2) / volume.spacing)
    part, mask = volume.hu[box], lumen.mask[box]
    air = part < hollow.WALL_HU
    close = voxels.widened(mask, APART_MM, volume.spacing)
    rim = voxels.widened(close, 1.0, volume.spacing) & ~close
    markers = mask.astype(np.int32)
    markers[rim & air & ~mask] = 2
    # Noise in the lung makes many small ridges; a little blur leaves those of the walls.
    ridges = ndimage.gaussian_filter(part.astype(np.float32), 0.5 / float(volume.spacing.min()))
    mine = watershed(ridges, markers, mask=air & (close | rim)) == 1
    other = volume.hu < hollow.WALL_HU
    other[box] &= ~mine
    hu = volume.hu.copy()
    hu[other] = FILL_HU
    # Half a voxel of blur on the filling, outside the lumen's own air, rounds the steps of its border.
    soft = ndimage.gaussian_filter(other[box].astype(np.float32), 0.6)
    soft[other[box] | (part < lumen.threshold)] = 0
    blended = part + soft * np.maximum(FILL_HU - part.astype(np.float32), 0)
    blended = np.rint(blended).astype(np.int16) if hu.dtype == np.int16 else blended
    hu[box] = np.where(soft > 0, blended, hu[box])
    voxel_ml = float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    meta = {**volume.meta, "sealed_ml": round(float(other.sum()) * voxel_ml, 1)}
    sealed = dataclasses.replace(volume, hu=hu, meta=meta)
    labels, _ = ndimage.label(hu[box] < hollow.WALL_HU)
    own = labels == 1 + int(np.argmax(np.bincount(labels[mask], minlength=2)[1:]))
    return sealed, hollow.measured(sealed, box, own, hollow.WALL_HU, lumen.region, lumen.candidates)
