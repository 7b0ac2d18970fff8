"""From the grid a scan has to the grid that rendering needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.volume import AIR_HU, Volume, shear_of

if TYPE_CHECKING:
    from jaxtyping import Float, Real, Shaped

ANISOTROPY = 1.5  # voxels longer than this times their width show as stairs on the wall
EDGE = 1e-4  # voxels by which rounding may push a point over the edge of a grid
SLAB_BYTES = 8 * 2**20  # of float64 at once: little enough to stay near the processor


def isotropic(volume: Volume, spacing_mm: float | None = None) -> Volume:
    """Interpolating cubic B-spline onto cubic voxels, along the same axes (Unser 1999, IEEE SPM 16(6)).

    spacing_mm: pitch of the new grid; default the smallest pitch of the old one. A volume whose voxels are
    within 1.5 : 1 is returned as it is, unless spacing_mm asks for another grid.

    The spline passes through every given value. Beside a sharp edge it overshoots by up to an eighth of the step;
    the result is therefore kept within the smallest and largest value of the volume, so no HU appears that the
    scanner did not measure somewhere. `meta["resampled"]` records method, old and new pitch.
    """
    old = volume.spacing
    if spacing_mm is None and old.max() <= ANISOTROPY * old.min():
        return volume
    pitch = float(spacing_mm if spacing_mm is not None else old.min())
    if not pitch > 0:
        raise CTError(f"spacing must be > 0 mm, got {pitch:g}", "BAD_SPACING")
    changed = [axis for axis in range(3) if abs(old[axis] / pitch - 1) > 1e-3]
    if not changed:
        return volume
    hu = volume.hu
    lo, hi = hu.min(), hu.max()
    affine = volume.affine.copy()
    # The first axis to go is the one that grows most: it runs over the fewest voxels.
    for axis in sorted(changed, key=lambda a: -old[a]):
        hu = _spline_along(hu, axis, pitch / float(old[axis]))
        affine[:3, axis] *= pitch / old[axis]
    hu = np.clip(hu, lo, hi)
    hu = np.rint(hu).astype(np.int16) if volume.hu.dtype == np.int16 else hu.astype(np.float32)
    record = {"method": "cubic B-spline", "from_mm": [round(float(s), 6) for s in old], "to_mm": round(pitch, 6)}
    return dataclasses.replace(volume, hu=hu, affine=affine, meta={**volume.meta, "resampled": record})


def _spline_along(hu: np.ndarray, axis: int, step: float) -> np.ndarray:
    """Values at 0, step, 2 step ... along one axis; float32. Not-a-knot ends."""
    from scipy.interpolate import make_interp_spline

    n = hu.shape[axis]
    at = np.arange(int(np.floor((n - 1) / step + 1e-6)) + 1) * step
    at = np.minimum(at, n - 1)
    # Interpolation is linear in the data: splining the unit vectors gives its matrix (new, n), once for all lines.
    matrix = make_interp_spline(np.arange(n), np.eye(n), k=min(3, n - 1))(at)
    lines = np.moveaxis(hu, axis, 0).reshape(n, -1)
    out = np.empty((len(at), lines.shape[1]), np.float32)
    width = max(1, SLAB_BYTES // (8 * max(n, len(at))))
    for start in range(0, lines.shape[1], width):
        part = slice(start, start + width)
        out[:, part] = matrix @ lines[:, part].astype(np.float64)
    rest = [s for a, s in enumerate(hu.shape) if a != axis]
    return np.ascontiguousarray(np.moveaxis(out.reshape(len(at), *rest), 0, axis))


def straighten(volume: Volume, resample: bool, limit_deg: float) -> Volume:
    """The volume with its axes perpendicular within limit_deg, by trilinear resampling if they are not (`Skewed`).

    Raises CTError SHEARED unless `resample`. The new grid keeps the first two axes' plane and pitches, has its third
    axis along their normal, and holds the whole old one; what no slice covers is air.
    """
    shear = shear_of(volume.affine)
    if shear <= limit_deg:
        return Volume(volume.hu, volume.affine, volume.warnings, volume.meta)
    if not resample:
        raise CTError(f"the axes are {shear:.2f} degrees from perpendicular: --resample straightens them", "SHEARED")
    unit = volume.affine[:3, :3] / volume.spacing
    normal = np.cross(unit[:, 0], unit[:, 1])
    normal *= np.sign(normal @ unit[:, 2]) / np.linalg.norm(normal)
    axes = np.stack([unit[:, 0], np.cross(normal, unit[:, 0]), normal], axis=1)
    axes[:, 1] *= np.sign(axes[:, 1] @ unit[:, 1])
    height = abs(volume.affine[:3, 2] @ normal)
    pitch = np.array([volume.spacing[0], volume.spacing[1], height])
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1).T
    corners = volume.to_world(ends) @ axes  # coordinates along the new axes
    origin = corners.min(axis=0)
    shape = np.ceil((corners.max(axis=0) - origin) / pitch - 1e-6).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * pitch
    affine[:3, 3] = axes @ origin
    hu = mapped(volume.hu.astype(np.float32), volume.voxel_from_world @ affine, tuple(shape.tolist()), 1, AIR_HU)
    hu = np.rint(hu).astype(np.int16) if volume.hu.dtype == np.int16 else hu
    note = f"axes {shear:.2f} degrees from perpendicular were straightened by trilinear resampling"
    meta = {**volume.meta, "straightened_deg": round(shear, 3)}
    return Volume(hu, affine, (*volume.warnings, note), meta)


def mapped(
    field: Shaped[np.ndarray, "I J K"],
    old_from_new: Float[np.ndarray, "4 4"],
    shape: tuple[int, ...],
    order: int,
    outside: float,
    reach: float = EDGE,
) -> Shaped[np.ndarray, "A B C"]:
    """A field (I, J, K) looked up at the voxels of another grid of that shape; old_from_new: (4, 4) voxel indices.

    reach: voxels beyond the outermost centres that still count as inside and take their value; `outside` beyond.
    scipy's own constant mode has no reach: an index of -1e-15 loses a whole plane.
    """
    from scipy import ndimage

    linear, shift = old_from_new[:3, :3], old_from_new[:3, 3]
    # Axes stay parallel as a rule: then each is looked up by itself.
    parallel = np.allclose(linear, np.diag(np.diag(linear)), atol=1e-9)
    turn = np.diag(linear) if parallel else linear
    out = np.asarray(ndimage.affine_transform(field, turn, shift, output_shape=shape, order=order, mode="nearest"))
    index = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij", sparse=True)
    for axis, last in enumerate(np.array(field.shape) - 1):
        # Only along axes that count: what stays along one is a plane or a line, not a volume.
        at = sum((w * i for w, i in zip(linear[axis], index) if abs(w) > 1e-9), np.full((1, 1, 1), shift[axis]))
        beyond = (at < -reach) | (at > last + reach)
        if beyond.any():
            out[np.broadcast_to(beyond, shape)] = outside
    return out


def settled(at: Real[np.ndarray, "3 N"], shape: tuple[int, ...]) -> Float[np.ndarray, "3 N"]:
    """(3, N) voxel indices, those that rounding pushed over the edge of a grid put back onto it."""
    last = np.array(shape, float)[:, None] - 1
    inside = np.clip(at, 0, last)
    return np.where(np.abs(at - inside) <= EDGE, inside, at)
