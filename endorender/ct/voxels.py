"""Masks of voxels: their bounding boxes, what lies near them, how deep inside they go, ways through them.

`depth`, `flooded` and `graph` give what scipy.ndimage's distance_transform_edt and label and scikit-image's
MCP_Geometric do, which take three to thirty times as long here, seconds of every start: they do not know that a lumen
fills little of its box, and cannot stop at a leak. `widened`, `beside` and `inner` are its filters of a mask, as
whole slices: several times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int16, Integer, Real, Shaped

SLAB = 2**22  # voxels
MANY = 0.1  # of a mask's voxels: more are faster gone through all together
FORWARD = [s for s in np.ndindex(3, 3, 3) if s > (1, 1, 1)]  # half of the 26 neighbours: each pair once


def around(mask: Bool[np.ndarray, "I J K"], margin: Real[np.ndarray, " 3"]) -> tuple[slice, ...]:
    """The mask's bounding box, wider by a margin of (3,) voxels, within the volume."""
    box, part = [], mask
    for axis in range(3):
        hit = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
        part = part.take(range(box[-1].start, box[-1].stop), axis)
    return wider(tuple(box), margin, mask.shape)


def wider(box: tuple[slice, ...], margin: Real[np.ndarray, " 3"], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A box wider by a margin of (3,) voxels, within the volume."""
    steps = np.ceil(margin).astype(int)
    return tuple(slice(max(0, s.start - int(m)), min(n, s.stop + int(m))) for s, m, n in zip(box, steps, shape))


def slabs(shape: tuple[int, ...], beyond: int) -> Iterator[tuple[tuple[slice, ...], ...]]:
    """An array in slabs along its longest axis, so that work on it needs little memory: of each, where it lies, where
    it lies with so many planes `beyond` on both sides, and where in the latter the former is. A small one is one."""
    axis = int(np.argmax(shape))
    plane = int(np.prod(shape)) // max(1, shape[axis])
    width = max(2 * beyond, SLAB // max(1, plane))
    width = shape[axis] if int(np.prod(shape)) <= 2 * SLAB else width

    def along(start: int, stop: int) -> tuple[slice, ...]:
        return tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))

    for start in range(0, shape[axis], width):
        stop = min(shape[axis], start + width)
        low, high = max(0, start - beyond), min(shape[axis], stop + beyond)
        yield along(start, stop), along(low, high), along(start - low, stop - low)


def coarser(
    field: Real[np.ndarray, "I J K"], mask: Bool[np.ndarray, "I J K"], by: int
) -> tuple[Real[np.ndarray, "A B C"], Int16[np.ndarray, "A B C"]]:
    """The largest value above 0 of each block of by³ voxels under a mask, else 0, and which voxel of the block has it,
    counted as np.ndindex does."""
    shape = tuple(-(-n // by) for n in field.shape)
    best, which = np.zeros(shape, field.dtype), np.zeros(shape, np.int16)
    for n, offset in enumerate(np.ndindex(by, by, by)):
        at = tuple(slice(o, None, by) for o in offset)
        part = field[at]
        here = tuple(slice(0, size) for size in part.shape)
        better = (part > best[here]) & mask[at]
        best[here][better], which[here][better] = part[better], n
    return best, which


def in_order(array: Shaped[np.ndarray, "I J K"]) -> Shaped[np.ndarray, "I J K"]:
    """(I, J, K) in C order, as all that follows runs through it. Block by block: a third of numpy's time for it."""
    if array.flags.c_contiguous:
        return array
    out = np.empty(array.shape, array.dtype)
    for i in range(0, array.shape[0], 128):
        for k in range(0, array.shape[2], 32):
            out[i : i + 128, :, k : k + 32] = array[i : i + 128, :, k : k + 32]
    return out


def counted(labels: Integer[np.ndarray, "I J K"], count: int) -> Integer[np.ndarray, " {count}+1"]:
    """(count + 1,) voxels of each label."""
    # Slab by slab: counting turns labels into 64 bits, of which a large scan has a gigabyte.
    slabs = np.array_split(labels, 1 + labels.size // 2**22)
    return np.asarray(np.sum([np.bincount(slab.ravel(), minlength=count + 1) for slab in slabs], axis=0))


def widened(
    mask: Bool[np.ndarray, "I J K"], by_mm: float, spacing: Float[np.ndarray, " 3"]
) -> Bool[np.ndarray, "I J K"]:
    """The mask and what lies within by_mm of it along each axis: a box, not a ball. spacing: (3,) mm."""
    out = mask
    for axis, n in enumerate(np.maximum(1, np.rint(by_mm / spacing).astype(int))):
        reach, most = 0, min(int(n), mask.shape[axis] - 1)
        while reach < most:
            by = min(reach + 1, most - reach)  # as far as leaves no gap, at the edges neither
            old, out = out, out.copy()
            to, of = np.moveaxis(out, axis, 0), np.moveaxis(old, axis, 0)
            to[by:] |= of[:-by]
            to[:-by] |= of[by:]
            reach += by
    return out.copy() if out is mask else out


def cut(mask: Bool[np.ndarray, "I J K"], box: tuple[slice, ...]) -> bool:
    """Whether a mask reaches a face of the box it was made in that is no face of the array: it may go on behind it."""
    inside = mask[box]
    for axis, (side, n) in enumerate(zip(box, mask.shape)):
        first, last = inside.take(0, axis), inside.take(-1, axis)
        if (side.start > 0 and first.any()) or (side.stop < n and last.any()):
            return True
    return False


def flooded(
    air: Bool[np.ndarray, "I J K"], seed: Bool[np.ndarray, "I J K"], near: Bool[np.ndarray, "I J K"], most: float
) -> Bool[np.ndarray, "I J K"] | None:
    """What of a mask hangs together, face to face, with a seed in it; None once more than `most` voxels of it are
    not near. (I, J, K) bool each; no voxel of the mask lies at an edge of the array, so that no step leaves it."""
    steps = np.array([air.shape[1] * air.shape[2], air.shape[2], 1])
    steps = np.concatenate([steps, -steps])
    away, left = ~near.ravel(), (air & ~seed).ravel()
    outside = np.count_nonzero(seed.ravel() & away)
    # Of the seed only what lies at its surface can go on.
    fresh = np.flatnonzero(left & beside(seed).ravel())
    while len(fresh) and outside <= most:
        left[fresh] = False
        outside += np.count_nonzero(away[fresh])
        there = (fresh[:, None] + steps).ravel()
        fresh = np.unique(there[left[there]])
    return None if outside > most else (air & ~left.reshape(air.shape)) | seed


def beside(mask: Bool[np.ndarray, "I J K"]) -> Bool[np.ndarray, "I J K"]:
    """The mask and its six neighbours' places: bool."""
    out = mask.copy()
    for axis in range(3):
        to, of = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        to[1:] |= of[:-1]
        to[:-1] |= of[1:]
    return out


def inner(mask: Bool[np.ndarray, "I J K"]) -> Bool[np.ndarray, "I J K"]:
    """What of a mask has all six neighbours in it: bool. Beyond the edge of the array is outside."""
    out = mask.copy()
    for axis in range(3):
        to, of = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        to[1:] &= of[:-1]
        to[:-1] &= of[1:]
        to[[0, -1]] = False
    return out


def graph(
    mask: Bool[np.ndarray, "I J K"], spacing: Float[np.ndarray, " 3"]
) -> tuple[Any, Integer[np.ndarray, " edges"], Integer[np.ndarray, " edges"]]:
    """Voxels of a mask as a graph: an edge to each of the 26 neighbours in it, stored once, as long as the step in mm.

    Returns the (N, N) sparse matrix and the two voxels of each edge, voxels numbered as np.nonzero lists them.
    """
    from scipy.sparse import csr_array

    shape = [n + 2 for n in mask.shape]
    at = np.flatnonzero(np.pad(mask, 1))
    number = np.zeros(int(np.prod(shape)), np.int32)
    number[at] = np.arange(1, len(at) + 1)  # 0 is none
    offsets = [((i - 1) * shape[1] + j - 1) * shape[2] + k - 1 for i, j, k in FORWARD]
    other = np.stack([number[at + step] for step in offsets], axis=1)
    there = other > 0
    length = np.linalg.norm((np.array(FORWARD) - 1) * spacing, axis=1)
    per_voxel = there.sum(axis=1)
    ends = np.concatenate([[0], np.cumsum(per_voxel)]).astype(np.int32)
    weights = np.broadcast_to(length, there.shape)[there]
    one, two = np.repeat(np.arange(len(at), dtype=np.int32), per_voxel), other[there] - 1
    return csr_array((weights, two, ends), shape=(len(at), len(at))), one, two


def depth(mask: Bool[np.ndarray, "I J K"], spacing: Float[np.ndarray, " 3"]) -> Float64[np.ndarray, " N"]:
    """(N,) float64 mm from each voxel of the mask, as np.nonzero lists them, to the nearest one outside it.

    From centre to centre; beyond the edge of the array is outside. spacing: (3,) mm.

    Exact, axis by axis (Felzenszwalb & Huttenlocher 2012): the squared distance is the least over places on the line
    along the axis of what is known at the place and the square of the step to it. On that line only the voxel's own
    run of mask matters, since the outside at its ends is nearer than all that lies beyond.
    """
    kind = np.int32 if np.prod([n + 1.0 for n in mask.shape]) < 2**31 else np.int64  # half the memory where it serves
    at = np.unravel_index(np.flatnonzero(mask), mask.shape)  # much faster than nonzero in three axes
    at = tuple(a.astype(kind) for a in at)
    squared = np.full(len(at[0]), np.inf)
    for axis in range(3):
        mm, size = float(spacing[axis]), mask.shape[axis] + 1
        one, two = (a for a in range(3) if a != axis)
        # Along the axis, line after line: voxels of a run follow one another, those of two runs leave a gap.
        place = (at[one] * mask.shape[two] + at[two]) * size + at[axis]
        order = np.argsort(place) if axis < 2 else slice(None)  # along the last axis they are in order
        place, known = place[order], squared[order]
        first = np.flatnonzero(np.diff(place, prepend=-2) != 1)
        length = np.diff(first, append=len(place))
        before = place - np.repeat(place[first] - 1, length)
        best = np.minimum(known, (np.minimum(before, np.repeat((length + 1).astype(kind), length) - before) * mm) ** 2)
        # A step that already costs more than the best cannot better it, so none leaves the run. As long as many can be
        # bettered all are tried: a slice is read much faster than places here and there. At first nothing is known.
        step = 1
        while axis > 0 and np.count_nonzero(best > (step * mm) ** 2) > MANY * len(best):
            there = np.minimum(known[: -2 * step], known[2 * step :])
            there += (step * mm) ** 2
            np.minimum(best[step:-step], there, out=best[step:-step])
            step += 1
        active = np.flatnonzero(best > (step * mm) ** 2) if axis > 0 else np.zeros(0, int)
        while len(active):
            there = np.minimum(known[active - step], known[active + step]) + (step * mm) ** 2
            best[active] = np.minimum(best[active], there)
            step += 1
            active = active[best[active] > (step * mm) ** 2]
        squared[order] = best
    return np.asarray(np.sqrt(squared))
