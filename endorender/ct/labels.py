"""A mask of labels on a CT's grid, from NIfTI."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.resample import EDGE, mapped
from endorender.ct.volume import Volume

NEAR = 0.05  # voxels by which two grids may differ anywhere: headers keep single precision


def read_labels(path: str | Path, volume: Volume) -> tuple[np.ndarray, str]:
    """(I, J, K) uint8 on the grid of the volume as it was read, and the file's sha256.

    The mask may store the same grid with its axes swapped or turned round, as converters do. Another shape or place is
    refused, never resampled. Raises CTError NOT_FOUND, UNREADABLE, BAD_LABELS.
    """
    import nibabel as nib
    from nibabel import orientations

    from endorender.ct import nifti

    path = Path(path)
    if not path.is_file():
        raise CTError(f"{path}: no such file; a mask of labels is a NIfTI file on the CT's grid", "NOT_FOUND")
    try:
        image = nib.load(path)
        values = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
        affine = nifti._affine(image, [])
    except CTError:
        raise
    except Exception as error:  # nibabel raises a dozen kinds for a header it cannot parse
        raise CTError(f"{path.name} is no readable NIfTI mask: {type(error).__name__}", "UNREADABLE") from None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 3:
        turn = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.io_orientation(volume.affine)
        )
        affine = affine @ orientations.inv_ornt_aff(turn, values.shape)
        values = orientations.apply_orientation(values, turn)
    if values.shape != volume.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (values.shape, volume.shape)]
        raise CTError(
            f"the mask {path.name} is {sizes[0]} voxels, the CT {sizes[1]}: {_ways_out(volume)}", "BAD_LABELS"
        )
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1).T
    apart = volume.to_voxel(ends @ affine[:3, :3].T + affine[:3, 3]) - ends
    if np.abs(apart).max() > NEAR:
        raise CTError(
            f"the mask {path.name} lies up to {np.abs(apart).max():.2g} voxels off the CT's grid: {_ways_out(volume)}",
            "BAD_LABELS",
        )
    if values.dtype.kind not in "buif" or not (values.min() >= 0 and values.max() <= 255):  # NaN compares false
        raise CTError(f"the mask {path.name} must hold whole numbers from 0 to 255", "BAD_LABELS")
    labels = values.astype(np.uint8)
    if not np.array_equal(labels, values):
        raise CTError(f"the mask {path.name} must hold whole numbers from 0 to 255", "BAD_LABELS")
    return np.ascontiguousarray(labels), hashlib.sha256(path.read_bytes()).hexdigest()


def _ways_out(volume: Volume) -> str:
    if "straightened_deg" in volume.meta:
        return "reading has straightened the CT; straighten both beforehand"
    return "draw or resample the mask on the CT itself"


def onto(labels: np.ndarray, volume: Volume, grid: Volume) -> np.ndarray:
    """Labels on the grid of `volume`, looked up at the voxels of another grid: the nearest, 0 outside. uint8."""
    if labels.shape == grid.shape and np.allclose(volume.affine, grid.affine):
        return labels
    # A label fills its voxel, half a pitch beyond the centre.
    return mapped(labels, volume.voxel_from_world @ grid.affine, grid.shape, 0, 0, 0.5 + EDGE)
