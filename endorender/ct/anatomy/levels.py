"""Fluid levels: where tagged fluid ends under air, and what of a voxel there is fluid, air or wall."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from endorender.ct.anatomy.lumen import AIR_HU as SURELY_AIR
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped

AIR, TISSUE = -1000.0, 40.0  # HU
BLUR_MM = 2.5  # how far from a pool voxels are mixtures with it
LEVEL_MM = 6.0  # between fluid and air, where blur and breath spread a level
LEVEL_AIR = -800.0  # HU over a level; beside it noise and blur lift air
LEAST_TISSUE = -200.0  # HU; what stays above it between fluid and air is a wall
BESIDE_MM = 8.0  # how far a level's height and blur are those of the columns near by
TELLS_NOTHING = 300.0  # HU from tissue: of a level that is as near to it nothing can be told


class Levels(NamedTuple):
    """Columns in which fluid ends under air. place: three (N,), the index of the uppermost voxel of fluid in an array
    that `along` turned; the first is its height. gap: (N,) steps from there to air."""

    place: tuple[Int[np.ndarray, " N"], ...]
    gap: Int[np.ndarray, " N"]


def along(array: Shaped[np.ndarray, "I J K"], axis: int, sign: int) -> Shaped[np.ndarray, "A B C"]:
    """The same array with the vertical first, upwards."""
    return np.moveaxis(array, axis, 0)[::sign]


def ends(volume: Volume, bright: Bool[np.ndarray, "I J K"], axis: int, sign: int) -> Levels:
    """Where bright voxels end under air with nothing between.

    Blur and the patient's breath spread a level over some millimetres, in which a voxel passes through every value,
    tissue's as well, and even above it air may be no lower than -850 HU. But it does not stay at tissue's.
    """
    b = along(bright, axis, sign)
    last = b.copy()
    last[:-1] &= ~b[1:]
    place = np.nonzero(last)
    hu, top = along(volume.hu, axis, sign), len(b) - 1
    reach = max(1, round(LEVEL_MM / float(volume.spacing[axis])))
    gap, tissue = np.zeros(len(place[0]), int), np.zeros(len(place[0]), int)
    for step in range(1, reach + 1):
        here = hu[np.minimum(place[0] + step, top), place[1], place[2]]
        open_to = gap == 0
        gap[open_to & (here < LEVEL_AIR) & (place[0] + step <= top)] = step
        tissue += (gap == 0) & (here > LEAST_TISSUE)
    open_to = (gap > 0) & (tissue <= np.maximum(1, 0.7 * (gap - 1)))
    place, gap = tuple(p[open_to] for p in place), gap[open_to]
    # Farther up it is air indeed: lung is no lower than -900 HU, but for noise.
    height = (place[0] + gap)[:, None] + np.arange(reach + 1)
    over = hu[np.minimum(height, top), place[1][:, None], place[2][:, None]].astype(np.float32)
    over[height > top] = 0
    wide = min(reach, max(1, round(BLUR_MM / float(volume.spacing[axis]))))
    means = np.stack([over[:, n : n + wide].mean(axis=1) for n in range(reach + 2 - wide)])
    sure = means.min(axis=0) < SURELY_AIR
    return Levels(tuple(p[sure] for p in place), gap[sure])


def layer(levels: Levels, mask: Bool[np.ndarray, "I J K"], up: tuple[int, int]) -> Bool[np.ndarray, "I J K"]:
    """(I, J, K) bool: voxels between fluid below and air above, and where they meet: mixtures of both, no tissue.

    mask: the fluid.
    """
    out = np.zeros(mask.shape, bool)
    layer, pool = along(out, *up), along(mask, *up)
    height, x, y = levels.place
    for step in range(1, int(levels.gap.max(initial=1))):
        under = step < levels.gap
        layer[height[under] + step, x[under], y[under]] = True
    # A level is as wide below as above. The uppermost voxels of a pool hold air as well: unmixed as fluid and tissue
    # they would float as specks of tissue.
    for step in range(int(levels.gap.max(initial=0)) // 2 + 1):
        deep = (step <= levels.gap // 2) & (height >= step)
        at = height[deep] - step, x[deep], y[deep]
        layer[at] |= pool[at]
    return out


def beside(
    volume: Volume, levels: Levels, mask: Bool[np.ndarray, "I J K"], up: tuple[int, int], inside: float
) -> tuple[tuple[Int[np.ndarray, " N"], ...], Float[np.ndarray, " N"]]:
    """Where a level meets the wall: indices of voxels in `along`'s order, and what part of each is tissue.

    The level's height and blur are known from the columns near by, so what fluid and air alone would show there is
    known as well: L, between F and A. A voxel is tissue by t = (hu - L) / (T - L); where L is near T that tells
    nothing, and t is interpolated along the vertical. mask: the fluid; inside: its HU, F.
    """
    from scipy import ndimage, special

    axis = up[0]
    hu = along(volume.hu, *up)
    mm = float(volume.spacing[axis])
    others = np.array([volume.spacing[a] for a in range(3) if a != axis])
    numbers = along(ndimage.label(mask)[0], *up)
    owner, found, parts = numbers[levels.place], [], []
    for n in np.unique(owner):
        height, x, y = (p[owner == n] for p in levels.place)
        at, sigma = _profile(hu, (height, x, y), inside, mm)
        margin = np.ceil(BESIDE_MM / others).astype(int)
        low = np.maximum([x.min() - margin[0], y.min() - margin[1]], 0)
        high = np.minimum([x.max() + margin[0] + 1, y.max() + margin[1] + 1], hu.shape[1:])
        box = np.s_[:, low[0] : high[0], low[1] : high[1]]
        surface = np.full(high - low, np.nan)
        surface[x - low[0], y - low[1]] = at
        off, nearest = ndimage.distance_transform_edt(np.isnan(surface), others, return_indices=True)
        ground = surface[tuple(nearest)]
        # The pool's own top, where it ends under a ceiling that leaves too little room for air.
        own = numbers[box] == n
        top = len(own) - 1 - own[::-1].argmax(axis=0)
        under = own.any(axis=0) & (np.abs(top - ground) * mm < LEVEL_MM / 2) & (off < BESIDE_MM)
        i, j = np.nonzero((off > 0) & ((off <= BLUR_MM) | under))
        steps = np.arange(-int(3 * sigma / mm), int(3 * sigma / mm) + 1)
        k = np.rint(ground[i, j]).astype(int)[:, None] + steps
        values = hu[box][np.clip(k, 0, len(hu) - 1), i[:, None], j[:, None]].astype(float)
        level = AIR + (inside - AIR) * special.ndtr(-(k - ground[i, j][:, None]) * mm / sigma)
        sure = np.abs(level - TISSUE) > min(TELLS_NOTHING, 0.6 * (inside - TISSUE))
        part = np.clip((values - level) / np.where(sure, TISSUE - level, 1), 0, 1)
        part = _bridged(part, sure)
        there = (k >= 0) & (k < len(hu))
        i, j = np.broadcast_to(i[:, None], k.shape), np.broadcast_to(j[:, None], k.shape)
        found.append(np.stack([k[there], i[there] + low[0], j[there] + low[1]]))
        parts.append(part[there])
    if not found:
        return (np.zeros(0, int),) * 3, np.zeros(0)
    return tuple(np.concatenate(found, axis=1)), np.concatenate(parts)


def _profile(hu: np.ndarray, place: tuple[np.ndarray, ...], inside: float, mm: float) -> tuple[np.ndarray, float]:
    """(N,) height in voxels where a level is half air, and the standard deviation of its blur in mm."""
    height, x, y = place
    reach = int(LEVEL_MM / mm) + 1
    steps = np.arange(-reach, reach + 1)
    values = hu[np.clip(height[:, None] + steps, 0, len(hu) - 1), x[:, None], y[:, None]].astype(float)

    def crossing(share: float) -> np.ndarray:
        limit = AIR + share * (inside - AIR)
        # The first fall below the limit at or after the uppermost voxel of fluid, or the last before it.
        below = values < limit
        first = np.argmax(below & (steps >= (0 if share > 0.5 else 1)), axis=1)
        one, two = values[np.arange(len(first)), first - 1], values[np.arange(len(first)), first]
        return height + steps[first] - np.clip((limit - two) / np.where(one > two, one - two, 1), 0, 1)

    half = crossing(0.5)
    # From a half to a quarter of fluid is 0.674 standard deviations.
    sigma = float(np.median(crossing(0.25) - half)) * mm / 0.674
    return half, float(np.clip(sigma, 0.4 * mm, LEVEL_MM / 4))


def _bridged(part: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """(N, K): linear along K from what is sure on one side to what is on the other."""
    steps = np.arange(part.shape[1])
    before = np.maximum.accumulate(np.where(sure, steps, -1), axis=1)
    after = np.minimum.accumulate(np.where(sure, steps, part.shape[1])[:, ::-1], axis=1)[:, ::-1]
    before, after = np.where(before < 0, after, before), np.where(after == part.shape[1], before, after)
    before, after = (np.clip(b, 0, part.shape[1] - 1) for b in (before, after))
    one, two = np.take_along_axis(part, before, 1), np.take_along_axis(part, after, 1)
    return np.asarray(one + (two - one) * (steps - before) / np.maximum(1, after - before))
