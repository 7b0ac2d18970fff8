"""A medium as kernels see it: a field on a grid, and where that grid lies.

Kernels work in the *grid frame*: millimetres along the grid's own axes, so that an index is position / spacing and no
matrix is needed at a look-up. Directions and normals turn with the grid's rotation (or reflection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from endorender.ct.volume import Volume
from endorender.errors import UserError
from endorender.render.device import backend
from endorender.render.device.cache import per_object
from endorender.render.medium.grid import Grid
from endorender.scene.scene import GridMedium, Scene

CELL = 4  # voxels along a cell's edge; measured on the reference scenes
HALVED_MM = 1.2  # the blurred field may be kept at this pitch at most
NORMAL_BLUR_MM = 0.9  # normals from a blurred field: else a glint breaks into beads at voxel pitch


@dataclass(eq=False)
class Prepared:
    """A medium ready for kernels.

    kind: `tissue` (HU through a table), `grid` (sigma_t and albedo directly) or `uniform` (a grid of one sigma_t).
    field: (I, J, K) HU or sigma_t. smooth: blurred HU on a grid of its own, which may be coarser.
    albedo: (I, J, K, 3), grid only; one node where all of a uniform grid are alike.
    low, high: (A, B, C) range of the field over each cell. origin: index where the domain begins.
    spacing: (3,) mm. rotation: (3, 3) world_from_grid. translation: (3,) world mm of index 0.
    host: the field as numpy, on a CPU the same memory.
    """

    kind: str
    field: Any
    smooth: Grid
    albedo: Any
    low: np.ndarray
    high: np.ndarray
    origin: float
    shape: tuple[int, int, int]
    spacing: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    host: np.ndarray

    def to_grid(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world mm -> (..., 3) grid mm."""
        return (points - self.translation) @ self.rotation

    def value_at(self, point_mm: np.ndarray) -> float | None:
        """The field, trilinear, at one world point; None outside."""
        p = self.to_grid(point_mm) / self.spacing
        n = np.asarray(self.shape)
        if (p < 0).any() or (p > n - 1).any():
            return None
        i = np.minimum(p.astype(int), n - 2)
        f = p - i
        block = self.host[tuple(slice(a, a + 2) for a in i)].astype(float)
        for axis_weight in f:
            block = block[0] * (1 - axis_weight) + block[1] * axis_weight
        return float(block)


def block_reduce(a: np.ndarray, op: Any, cell: int, reach: int) -> np.ndarray:
    """Reduce over cells of `cell` voxels that reach `reach` nodes into the next one, axis by axis."""
    for axis in range(3):
        a = np.moveaxis(a, axis, 0)
        n = max(1, -(-(len(a) - reach) // cell))
        a = np.concatenate([a, np.repeat(a[-1:], max(0, n * cell + reach - len(a)), 0)])
        out = op.reduce(a[: n * cell].reshape(n, cell, *a.shape[1:]), axis=1)
        for k in range(reach):
            out = op(out, a[cell + k :: cell][:n])
        a = np.moveaxis(out, 0, axis)
    return a


def _frame(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spacing and rotation of an affine whose axes are at right angles."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rotation = affine[:3, :3] / spacing
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3):
        raise UserError("the volume's axes are not at right angles; load it with --resample", "SHEARED")
    return spacing, rotation


@per_object
def prepare(medium: Volume | GridMedium) -> Prepared:
    """Upload a medium and find the range of its field over every cell. Cached while the medium lives."""
    spacing, rotation = _frame(np.asarray(medium.affine, float))
    translation = np.asarray(medium.affine, float)[:3, 3]
    dummy = np.zeros((2, 2, 2, 3), np.float32)
    if isinstance(medium, GridMedium):
        field = np.pad(medium.sigma_t.astype(np.float32), 1, mode="edge")
        albedo = np.pad(medium.albedo.astype(np.float32), ((1, 1),) * 3 + ((0, 0),), mode="edge")
        kind = "uniform" if field.min() == field.max() else "grid"
        if kind == "uniform" and (albedo == albedo[0, 0, 0]).all():
            albedo = albedo[:1, :1, :1].copy()
        origin, smooth = 0.5, Grid(dummy[..., 0], spacing)
        translation = translation - rotation @ spacing  # the padding moved index 0
        reach = 2
    else:
        field = np.round(medium.hu).astype(np.int16)
        smooth = _blurred(field, spacing)
        kind, origin, albedo, reach = "tissue", 0.0, dummy, 1
    return Prepared(
        kind=kind,
        field=backend.resident(field),
        smooth=smooth._replace(values=backend.resident(smooth.values)),
        albedo=backend.resident(albedo),
        low=block_reduce(field, np.minimum, CELL, reach),
        high=block_reduce(field, np.maximum, CELL, reach),
        origin=origin,
        shape=field.shape,
        spacing=spacing,
        rotation=rotation,
        translation=translation,
        host=field,
    )


def refuse_inside(scene: Scene, prepared: Prepared) -> None:
    """A lens inside tissue sees nothing: say so before rendering."""
    hu = prepared.value_at(np.asarray(scene.world_from_camera, float)[:3, 3])
    if hu is not None and hu >= scene.threshold:
        raise UserError(
            f"the camera is inside tissue ({hu:.0f} HU; wall {scene.threshold:.0f}): move it into the lumen",
            "CAMERA_IN_TISSUE",
        )


def coat_field(scene: Scene) -> Grid:
    """The field whose gradient is the coat's normal.

    The wall's own, or more blurred: mucus fills what is smaller than the layer's `levelling`, and its surface is what
    mirrors and, where light refracts, what bends it.
    """
    over = 0.0 if scene.mucosa is None else scene.mucosa.levelling
    return _levelled(scene.medium, over) if over else prepare(scene.medium).smooth


@per_object
def _levelled(medium: Volume, over: float) -> Grid:
    prepared = prepare(medium)
    smooth = _blurred(prepared.host, prepared.spacing, float(np.hypot(NORMAL_BLUR_MM, over)))
    return smooth._replace(values=backend.resident(smooth.values))


def _blurred(field: np.ndarray, spacing: np.ndarray, blur: float = NORMAL_BLUR_MM) -> Grid:
    """The field for normals, int16: at every second voxel where those lie close enough to carry the blur (mm).

    A fine volume is large, and this copy of it would double the memory.
    """
    smooth = gaussian_filter(field, blur / spacing, mode="nearest", truncate=3, output=np.int16)
    if 2 * spacing.max() * NORMAL_BLUR_MM > HALVED_MM * blur or min(field.shape) < 8:
        return Grid(smooth, spacing)
    # An even number of nodes would end before the domain does.
    odd = np.pad(smooth, [(0, 1 - n % 2) for n in field.shape], mode="edge")
    return Grid(np.ascontiguousarray(odd[::2, ::2, ::2]), 2 * spacing)
