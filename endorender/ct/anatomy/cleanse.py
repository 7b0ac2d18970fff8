"""Tagged fluid (CT colonography): recognise the bright pools that hide the wall, and take them out of the picture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.anatomy import levels, outline
from endorender.ct.anatomy.levels import AIR, BLUR_MM, LEVEL_MM, TISSUE, along
from endorender.ct.anatomy.lumen import WALL_HU
from endorender.ct.volume import Volume
from endorender.ct.voxels import around, counted, widened
from endorender.outputs import whole

if TYPE_CHECKING:
    from jaxtyping import Bool
    from matplotlib.figure import Figure

TAGGED_HU = 200.0  # tagged residue in CT colonography lies above it; soft tissue, even enhanced, below
LEAST_AREA = 25.0  # mm² of level; a smaller one may be a grain of contrast on a fold
LEAST_ML = 0.1
FLAT_MM = 1.5  # a level's roughness: noise and the blur of its edge
WITHIN = 0.8  # of a pool, being as dense as tissue, in the body's outline
AFLOAT = 100  # voxels; a smaller piece that is free in the air was left by cleansing


@dataclass(frozen=True, eq=False)
class Fluid:
    """Pools that stand under air with a level. mask: (I, J, K) bool, their voxels above 200 HU. up: (axis, sign) of the
    voxel direction against gravity. pools_ml: largest first. hu: their mean."""

    mask: Bool[np.ndarray, "I J K"]
    up: tuple[int, int]
    pools_ml: tuple[float, ...]
    hu: float


def tagged(volume: Volume) -> Fluid | None:
    """Bright fluid under air, or None. Bone, calcium and enhanced vessels have no level with air above them.

    The patient lies on the back or on the belly: of the two, gravity has the direction in which more fluid lies under
    air. A pool counts if at least 25 mm² and half of what it has under air lie in one flat level, within the body's
    outline: a table lies outside.
    """
    from scipy import ndimage

    axis = int(np.abs(volume.affine[1, :3] / volume.spacing).argmax())
    bright = volume.hu > TAGGED_HU
    if not bright.any():
        return None
    labels, count = ndimage.label(bright)
    within = outline.shares(volume, labels, count) > WITHIN
    bright = within[labels] & bright
    both = {sign: levels.ends(volume, bright, axis, sign) for sign in (1, -1)}
    sign = max(both, key=lambda s: len(both[s].gap))
    pitch = volume.spacing
    area = float(np.prod(np.delete(pitch, axis)))
    voxel_ml = float(np.prod(pitch)) / 1000
    sizes = counted(labels, count)
    level = both[sign]
    owner = along(labels, axis, sign)[level.place]
    pools = []
    for n in np.unique(owner):
        height = np.sort(level.place[0][owner == n] * pitch[axis])
        # One pool may have several levels behind several folds: the widest of them must be flat.
        flat = np.searchsorted(height, height + FLAT_MM, side="right") - np.arange(len(height))
        if flat.max() * area >= LEAST_AREA and flat.max() >= 0.5 * len(height) and sizes[n] * voxel_ml >= LEAST_ML:
            pools.append(int(n))
    if not pools:
        return None
    pool = np.zeros(count + 1, bool)
    pool[pools] = True
    mask = pool[labels]
    volumes = sorted((round(float(sizes[n] * voxel_ml), 1) for n in pools), reverse=True)
    return Fluid(mask, (axis, sign), tuple(volumes), float(volume.hu[mask].mean()))


def cleanse(volume: Volume, fluid: Fluid | None = None) -> tuple[Volume, Fluid | None]:
    """The volume with its tagged fluid turned into air, and what was found; the volume itself if there is none.

    fluid: what `tagged` found; None looks for it.

    Near a pool every voxel is a mixture of fluid F with tissue T, or with air: f = (F - hu) / (F - T) of it is tissue,
    and becomes f T + (1 - f) air; above the level, between fluid and air, it becomes air. The wall keeps its place and
    its blur (linear unmixing, as in electronic cleansing). F is the mean of the pool's inside.
    `meta["cleansed_ml"]` and a warning say what was done: the wall under a pool is a reconstruction.
    """
    from scipy import ndimage

    fluid = tagged(volume) if fluid is None else fluid
    if fluid is None:
        return volume, None
    hu = volume.hu.astype(np.float32)
    core = ndimage.binary_erosion(fluid.mask)
    inside = float(hu[core].mean()) if core.any() else fluid.hu
    near = widened(fluid.mask, BLUR_MM, volume.spacing)
    tissue = np.clip((inside - hu) / (inside - TISSUE), 0, 1)
    mixed = tissue * TISSUE + (1 - tissue) * AIR
    # Between fluid and air a voxel passes through every value, tissue's as well.
    ends = levels.ends(volume, fluid.mask, *fluid.up)
    layer = levels.layer(ends, fluid.mask, fluid.up)
    # Where a voxel is tissue or less than tissue, the unmixing would do nothing but clip its noise.
    # Bone beside the colon is bright as well, and stays.
    bone = widened((volume.hu > TAGGED_HU) & ~fluid.mask, 1.0, volume.spacing)
    part = near & (hu > TISSUE) & ~(bone & ~fluid.mask)
    hu[part] = np.minimum(hu[part], mixed[part])
    place, share = levels.beside(volume, ends, fluid.mask, fluid.up, inside)
    upright = along(hu, *fluid.up)
    upright[place] = np.minimum(upright[place], share * TISSUE + (1 - share) * AIR)
    hu[layer] = AIR
    changed = int((fluid.mask | layer).sum())
    ml = round(changed * float(np.prod(volume.spacing)) / 1000, 1)
    hu = np.rint(hu).astype(np.int16) if volume.hu.dtype == np.int16 else hu
    box = around(fluid.mask, 2 * LEVEL_MM / volume.spacing)
    hu[box][_freed(volume.hu[box], hu[box])] = AIR
    note = f"{sum(fluid.pools_ml):.1f} ml of tagged fluid were turned into air: the wall beneath is a reconstruction"
    meta = {**volume.meta, "cleansed_ml": ml}
    return dataclasses.replace(volume, hu=hu, warnings=(*volume.warnings, note), meta=meta), fluid


def _freed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Voxels of small pieces of tissue that float in air after and did not before. HU, of one box."""
    from scipy import ndimage

    def afloat(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the pieces, 0 for large ones."""
        labels, count = ndimage.label(hu >= WALL_HU)
        sizes = counted(labels, count)
        # What the box cuts is no piece of its own.
        for axis in range(3):
            sizes[np.unique(labels.take((0, -1), axis))] = AFLOAT
        small = np.where(sizes < AFLOAT, np.arange(count + 1, dtype=labels.dtype), 0)
        return small[labels], small

    was = afloat(before)[0] > 0
    labels, small = afloat(after)
    new = np.zeros(len(small), bool)
    new[labels[~was]] = True
    new[0] = False
    return np.asarray(new[labels])


def picture(before: Volume, after: Volume, fluid: Fluid, out_png: str | Path) -> None:
    """`figure` as PNG."""
    with whole(Path(out_png)) as (part,):
        figure(before, after, fluid).savefig(part, dpi=100, format=part.suffix[1:] or "png")


def figure(before: Volume, after: Volume, fluid: Fluid) -> Figure:
    """What was changed: the slice with most fluid before, after, and by how much. Up is up against gravity."""
    from matplotlib.figure import Figure

    axis = fluid.up[0]
    # A slice that contains the vertical: the level is a line in it.
    across = max((a for a in range(3) if a != axis), key=lambda a: int(fluid.mask.sum(axis=_but(a)).max()))
    at = int(fluid.mask.sum(axis=_but(across)).argmax())
    x, y = next(a for a in _but(across) if a != axis), axis
    upright = "lower" if fluid.up[1] > 0 else "upper"
    extent = (0, before.shape[x] * before.spacing[x], 0, before.shape[y] * before.spacing[y])
    drawn = Figure(figsize=(15, 5.4), layout="constrained")
    one, two, three = drawn.subplots(1, 3)
    images = [v.hu.take(at, across).astype(np.float32) for v in (before, after)]
    images = [i.T if y > x else i for i in images]
    for axes, image, name in zip((one, two), images, ("as scanned", "cleansed")):
        axes.imshow(image, cmap="gray", vmin=-1050, vmax=600, origin=upright, extent=extent)
        axes.set_title(name)
    shown = three.imshow(images[1] - images[0], cmap="magma", origin=upright, extent=extent)
    three.set_title("change")
    drawn.colorbar(shown, ax=three, label="HU")
    for axes in (one, two, three):
        axes.set_xlabel(f"{'ijk'[x]} [mm]")
        axes.set_ylabel(f"{'ijk'[y]} [mm]")
    pools = ", ".join(f"{v:g}" for v in fluid.pools_ml[:6])
    drawn.suptitle(f"tagged fluid of {fluid.hu:.0f} HU: {len(fluid.pools_ml)} pools of {pools} ml")
    return drawn


def _but(axis: int) -> tuple[int, int]:
    a, b = (n for n in range(3) if n != axis)
    return a, b
