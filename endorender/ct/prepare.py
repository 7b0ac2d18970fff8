"""From a scan as it was read to what is rendered: cubic voxels, a closed lumen, a way through."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from endorender.ct import lumen as hollow
from endorender.ct.lumen import Lumen, Path
from endorender.ct.resample import isotropic
from endorender.ct.volume import Volume

FILL_HU = 0  # what stands in for air behind the wall: soft tissue (our choice)
APART_MM = 4.0  # air farther than this from the lumen belongs to something else


class Prepared(NamedTuple):
    """volume: isotropic and sealed. lumen, path: on its grid."""

    volume: Volume
    lumen: Lumen
    path: Path


def prepare(volume: Volume, region: int | None = None, label: np.ndarray | None = None) -> Prepared:
    """`isotropic`, `lumen.find`, `seal` and `lumen.centreline` in a row.

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
    sealed, found = seal(grid, found)
    return Prepared(sealed, found, hollow.centreline(sealed, found))


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
    box = hollow.around(volume, lumen.mask, APART_MM + 2)
    part, mask = volume.hu[box], lumen.mask[box]
    air = part < hollow.WALL_HU
    close = hollow.widened(mask, APART_MM, volume.spacing)
    rim = hollow.widened(close, 1.0, volume.spacing) & ~close
    markers = np.where(mask, 1, np.where(rim & air, 2, 0)).astype(np.int32)
    # Noise in the lung makes many small ridges; a little blur leaves those of the walls.
    ridges = ndimage.gaussian_filter(part.astype(np.float32), 0.5 / float(volume.spacing.min()))
    mine = watershed(ridges, markers, mask=air & (close | rim)) == 1
    keep = np.zeros(volume.shape, bool)
    keep[box] = mine
    other = (volume.hu < hollow.WALL_HU) & ~keep
    # Half a voxel of blur on the filling, outside the lumen's own air, rounds the steps of its border.
    soft = ndimage.gaussian_filter(other.astype(np.float32), 0.6)
    weight = np.where(other, 1.0, np.where(volume.hu < lumen.threshold, 0.0, soft)).astype(np.float32)
    hu = volume.hu + weight * np.maximum(FILL_HU - volume.hu.astype(np.float32), 0)
    hu = np.rint(hu).astype(np.int16) if volume.hu.dtype == np.int16 else hu
    voxel_ml = float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    meta = {**volume.meta, "sealed_ml": round(float(other.sum()) * voxel_ml, 1)}
    sealed = dataclasses.replace(volume, hu=hu, meta=meta)
    labels, _ = ndimage.label(hu[box] < hollow.WALL_HU)
    widest = int(np.argmax(lumen.clearance[box]))
    own = labels == labels.ravel()[widest]
    return sealed, hollow.measured(sealed, box, own, hollow.WALL_HU, lumen.region, lumen.candidates)
