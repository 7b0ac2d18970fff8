"""A medium as kernels see it: a field on a grid, coarse cells of majorants, and a table of optics.

Kernels work in the *grid frame*: millimetres along the grid's own axes, so that an index is position / spacing and no
matrix is needed at a look-up. Directions and normals turn with the grid's rotation (or reflection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_cdt, gaussian_filter

from endorender.ct.volume import Volume
from endorender.errors import UserError
from endorender.render import backend
from endorender.render.cache import per_object
from endorender.render.grid import Grid
from endorender.scene.scene import GridMedium, Labelling, Mask, Scene
from endorender.scene.tissue import TABLE_HU, Tissue

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


def _block_reduce(a: np.ndarray, op: Any, cell: int, reach: int) -> np.ndarray:
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
        low=_block_reduce(field, np.minimum, CELL, reach),
        high=_block_reduce(field, np.maximum, CELL, reach),
        origin=origin,
        shape=field.shape,
        spacing=spacing,
        rotation=rotation,
        translation=translation,
        host=field,
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


def interval_max(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """max(values[first..last]) for arrays of inclusive intervals, by a sparse table."""
    levels = [values]
    while 2 ** len(levels) <= len(values):
        half = 2 ** (len(levels) - 1)
        levels.append(np.maximum(levels[-1][:-half], levels[-1][half:]))
    level = np.floor(np.log2(last - first + 1)).astype(int)
    out = np.empty(first.shape, np.float32)
    for k, row in enumerate(levels):
        at = level == k
        out[at] = np.maximum(row[first[at]], row[last[at] - 2**k + 1])
    return out


@dataclass(eq=False)
class Blocks:
    """Which tissue each voxel has: 0 the scene's own, n the n-th of the labels that have one.

    host: (I, J, K) uint8. held: the same where kernels want it. present: (A, B, C) bool for each n, whether a cell
    holds voxels of it.
    """

    host: np.ndarray
    held: Any
    present: list[np.ndarray]


def blocks(medium: Volume | GridMedium, labelling: Labelling | None, surface: str, threshold: float) -> Blocks | None:
    """The tissues of a labelled medium; None where it has but one.

    In the `interface` mode tissue reaches beyond its voxels, to the wall: there voxels of air that are not labelled
    take over the label of the tissue next to them.
    """
    if labelling is None or isinstance(medium, GridMedium):
        return None
    listed = tuple(label for label, _ in labelling.tissues)
    return _blocks(medium, labelling.mask, listed, threshold if surface == "interface" else None)


@per_object
def _blocks(medium: Volume, mask: Mask, listed: tuple[int, ...], threshold: float | None) -> Blocks:
    rank = np.zeros(256, np.uint8)
    rank[list(listed)] = np.arange(1, len(listed) + 1)
    host = rank[mask.values]
    if threshold is not None:
        prepared = prepare(medium)
        _reach_the_wall(host, prepared.host < threshold, prepared.spacing)
    present = [_block_reduce(host == n, np.maximum, CELL, 1) for n in range(len(listed) + 1)]
    return Blocks(host, backend.resident(host), present)


def _reach_the_wall(host: np.ndarray, air: np.ndarray, spacing: np.ndarray) -> None:
    """Give unlabelled voxels of air beside tissue the block of the nearest of their 26 neighbours in tissue."""
    if not host.any():
        return
    filled = (np.flatnonzero(host.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
    box = tuple(slice(max(int(n[0]) - 2, 0), int(n[-1]) + 3) for n in filled)
    inside = np.pad(host[box], 1)
    tissue = np.pad(~air[box], 1)
    part, open_to = host[box], air[box] & (host[box] == 0)
    steps = [s for s in np.ndindex(3, 3, 3) if s != (1, 1, 1)]
    for step in sorted(steps, key=lambda s: float(np.linalg.norm((np.array(s) - 1) * spacing))):
        there = tuple(slice(a, a + n) for a, n in zip(step, part.shape))
        taken = open_to & tissue[there]
        part[taken] = inside[there][taken]
        open_to &= ~taken


def held_blocks(scene: Scene) -> Any:
    """`blocks` of a scene where kernels want them; a dummy where it has but one tissue."""
    found = blocks(scene.medium, scene.labelling, scene.surface, scene.threshold)
    return backend.resident(np.zeros((1, 1, 1), np.int16)) if found is None else found.held


def _range(prepared: Prepared, tissue: Tissue, surface: str) -> tuple[np.ndarray, np.ndarray]:
    """(A, B, C) most and least of sigma_t in each cell, were all of it this tissue, mm⁻¹."""
    low, high = prepared.low.astype(np.float32), prepared.high.astype(np.float32)
    if surface == "interface":
        low, high = np.maximum(low, tissue.wall_hu), np.maximum(high, tissue.wall_hu)
    sigma = tissue.table()[:, 0]
    step = TABLE_HU[1] - TABLE_HU[0]
    first = np.clip(np.floor((low - TABLE_HU[0]) / step), 0, len(sigma) - 1).astype(int)
    last = np.clip(np.ceil((high - TABLE_HU[0]) / step), 0, len(sigma) - 1).astype(int)
    return interval_max(sigma, first, last), -interval_max(-sigma, first, last)


def extinction_range(
    prepared: Prepared, tissue: Tissue, surface: str, labelling: Labelling | None = None, found: Blocks | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(A, B, C) most and least of sigma_t over the tissues that each cell holds, mm⁻¹.

    The least is 0 where extinction also varies with the gradient, the channel or the path: nothing is certain then
    without a look-up. Factors on sigma_t are at most 1.
    """
    if prepared.kind != "tissue":
        return prepared.high.astype(np.float32), prepared.low.astype(np.float32)
    every = (tissue, *(t for _, t in labelling.tissues)) if labelling and found else (tissue,)
    most, least = _range(prepared, tissue, surface)
    if found:
        most, least = np.zeros_like(most), np.full_like(least, np.inf)
        for t, here in zip(every, found.present):
            high, low = _range(prepared, t, surface)
            most, least = np.where(here, np.maximum(most, high), most), np.where(here, np.minimum(least, low), least)
    if any(x is not None for t in every for x in (t.tint, t.similarity_after, t.gradient)):
        least = np.zeros_like(least)
    return most, least


def bounds(
    prepared: Prepared,
    tissue: Tissue,
    surface: str,
    threshold: float,
    labelling: Labelling | None = None,
    found: Blocks | None = None,
) -> np.ndarray:
    """(A, B, C, 2) float32: the most and the least that sigma_t is in each cell, mm⁻¹.

    A cell that needs care carries a minus sign on the most: one that sticks out of the domain and, in the `interface`
    mode, one through which the wall may pass. There a cell of air holds 0, and only what is in tissue counts. A cell
    whose most is 0 holds as its least the number of cells on every side that are empty as well.
    labelling, found: tissues by label, and their `blocks`.
    """
    low, high = prepared.low.astype(np.float32), prepared.high.astype(np.float32)
    most, least = extinction_range(prepared, tissue, surface, labelling, found)
    care = np.zeros(most.shape, bool)
    for axis, n in enumerate(prepared.shape):
        ends = (np.arange(most.shape[axis]) + 1) * CELL
        sticks_out = ends > n - 1 - 2 * prepared.origin
        care |= sticks_out.reshape([-1 if a == axis else 1 for a in range(3)])
    if surface == "interface":
        most = np.maximum(most, 1e-6)
        most[high < threshold] = 0
        care |= (low < threshold) & (high >= threshold)
    # The border counts as filled: nothing is known of what lies beyond.
    around = distance_transform_cdt(np.pad(most == 0, 1), metric="chessboard")[1:-1, 1:-1, 1:-1] - 1
    return np.stack([np.where(care, -most, most), np.where(most == 0, around, least)], -1).astype(np.float32)


@per_object
def cells(
    medium: Volume | GridMedium, tissue: Tissue, surface: str, threshold: float, labelling: Labelling | None = None
) -> Any:
    """`bounds` of a medium where kernels want them, cached while the medium lives."""
    found = blocks(medium, labelling, surface, threshold)
    return backend.resident(bounds(prepare(medium), tissue, surface, threshold, labelling, found))
