"""The lumen: air inside the body, how far its wall is, and a way through for an endoscope."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct import voxels
from endorender.ct.anatomy import hollows
from endorender.ct.anatomy.hollows import AIR_HU, LEAST_ML, SCOPE_MM
from endorender.ct.errors import CTError
from endorender.ct.resample import settled
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Real, Shaped

WALL_HU = -550.0  # half-way between air and tissue: where a blurred edge has its true place
LEAK_MM = 3.0  # a wall moves by less than this when the threshold rises; what appears farther off leaked
LEAK_SHARE = 0.05
MOST_PLACES = 500_000  # of a graph that a way is sought on


@dataclass(frozen=True, eq=False)
class Lumen:
    """One connected hollow.

    mask: (I, J, K) bool. threshold: HU; the wall is this iso-surface of the trilinear HU field. spacing: (3,) mm.
    volume_ml: of the mask. region: its number, 1 = largest. candidates: ml of all lumens that were found,
    of what surely is air (below -925 HU): less than up to the wall.
    left_out: other air of 1 ml or more, as ml and the reason why it is no lumen.
    """

    mask: Bool[np.ndarray, "I J K"]
    threshold: float
    spacing: Float[np.ndarray, " 3"]
    volume_ml: float
    region: int
    candidates: tuple[float, ...]
    left_out: tuple[tuple[float, str], ...] = ()

    @functools.cached_property
    def clearance(self) -> Float32[np.ndarray, "I J K"]:
        """(I, J, K) float32 mm to the wall inside the mask, 0 outside; the edge of the scan counts as wall."""
        box = voxels.around(self.mask, np.zeros(3))
        mask = self.mask[box]
        # From voxel centre to voxel centre; the wall lies half a voxel before the first centre outside.
        free = voxels.depth(mask, self.spacing) - 0.5 * self.spacing.min()
        clearance = np.zeros(self.mask.shape, np.float32)
        clearance[box][mask] = np.maximum(free, 0)
        return clearance


@dataclass(frozen=True, eq=False)
class Path:
    """A way through a lumen. points: (N, 3) RAS mm, evenly spaced. clearance: (N,) mm to the wall.

    starts: at which points a piece begins; more than one where the lumen is several that do not hang together.
    """

    points: Float[np.ndarray, "N 3"]
    clearance: Float[np.ndarray, " N"]
    starts: tuple[int, ...] = (0,)

    @property
    def steps(self) -> Float[np.ndarray, " steps"]:
        """(N - 1,) mm from point to point; 0 from piece to piece."""
        steps: np.ndarray = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        steps[np.array(self.starts[1:], int) - 1] = 0
        return steps

    @property
    def length(self) -> float:
        """mm."""
        return float(self.steps.sum())

    @property
    def along(self) -> Float[np.ndarray, " N"]:
        """(N,) mm from the beginning."""
        return np.concatenate([[0.0], np.cumsum(self.steps)])

    @property
    def pieces(self) -> list[slice]:
        """Of the points, one for each lumen."""
        return [slice(*ends) for ends in zip(self.starts, (*self.starts[1:], len(self.points)))]


def find(volume: Volume, region: int | None = None, label: Shaped[np.ndarray, "I J K"] | None = None) -> Lumen:
    """The air-filled hollow that an endoscope could enter.

    region: which of several, 1 = largest by volume. label: (I, J, K) mask; only what lies under it is lumen. Hollows
    keep the numbers that they have without a mask; air under it that is no hollow of its own, or cut off, is numbered
    after them. Without a region: the one with most air.

    The wall's threshold is the highest HU up to -550 at which the lumen does not leak: bronchi lie in lung, which is
    nearly air itself, and at -550 both are one (explosion-controlled region growing, as in airway segmentation).
    Raises CTError LUMEN when there is none, or no such region.
    """
    if label is not None and label.shape != volume.shape:
        raise CTError(f"the label mask is {label.shape}, the scan {volume.shape}: draw it on this scan", "LUMEN")
    among = hollows.of(volume) if label is None else hollows.under(volume, label)
    volumes = tuple(0.0 if piece is None else piece.ml for piece in among.pieces)
    if not any(volumes):
        where = "under the label mask" if label is not None else "inside the body"
        other = f"; left out: {named(among.left_out)}" if among.left_out else ""
        raise CTError(
            f"no air-filled lumen of {LEAST_ML:g} ml or more {where}: is this an insufflated scan?{other}", "LUMEN"
        )
    number = 1 + int(np.argmax(volumes)) if region is None else region
    piece = among.pieces[number - 1] if 1 <= number <= len(volumes) else None
    if piece is None:
        listing = ", ".join(f"{i}: {v:g} ml" for i, v in enumerate(volumes, 1) if v)
        raise CTError(f"no region {number}; the lumens are {listing} of air below {AIR_HU:g} HU", "LUMEN")
    for reach in (15.0 * 2.0**n for n in itertools.count()):
        box = voxels.wider(piece.box, reach / volume.spacing, volume.shape)
        core = np.zeros([s.stop - s.start for s in box], bool)
        core[tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(piece.box, box))] = piece.core
        lumen = _grown(volume, box, volume.hu[box], core, number, volumes, None if label is None else label[box] > 0)
        if not voxels.cut(lumen.mask, box):  # another hollow, joined behind a film, may go on for long
            break
    return dataclasses.replace(lumen, left_out=among.left_out)


def named(left_out: Sequence[tuple[float, str]]) -> str:
    """`11500 ml outside the body, 3.2 and 1.1 ml narrower than an endoscope`."""
    reasons: dict[str, list[str]] = {}
    for ml, why in left_out:
        reasons.setdefault(why, []).append(f"{ml:g}")
    return ", ".join(f"{' and '.join(ml)} ml {why}" for why, ml in reasons.items())


def _grown(
    volume: Volume,
    box: tuple[slice, ...],
    part: np.ndarray,
    core: np.ndarray,
    number: int,
    volumes: tuple[float, ...],
    under: np.ndarray | None = None,
) -> Lumen:
    """A core of air at the highest threshold that does not leak. part, core: HU and mask in the box. under: the mask
    outside which nothing counts; the wall's threshold is the scan's own, whatever is masked."""
    from scipy import ndimage

    part, core = np.pad(part, 1), np.pad(core, 1)  # in tissue of 0 HU, where flooding ends
    # Air that is surely air may join at a higher threshold (two hollows behind a film): it is no leak.
    air = voxels.beside(voxels.beside(voxels.inner(voxels.inner(part < AIR_HU)))) | core
    near = voxels.widened(air, LEAK_MM, volume.spacing)
    most = LEAK_SHARE * np.count_nonzero(core)
    low, high, piece = AIR_HU, WALL_HU, core
    grown = voxels.flooded(part < high, piece, near, most)
    if grown is not None:
        low, piece = high, grown
    while high - low > 5:
        middle = (low + high) / 2
        grown = voxels.flooded(part < middle, piece, near, most)
        if grown is None:
            high = middle
        else:
            low, piece = middle, grown
    mask = (piece & near)[1:-1, 1:-1, 1:-1]
    if under is not None:
        own, _ = ndimage.label(mask & under)
        mask = own == own[core[1:-1, 1:-1, 1:-1]][0]
    return measured(volume, box, mask, float(low), number, volumes)


def measured(
    volume: Volume,
    box: tuple[slice, ...],
    mask: Bool[np.ndarray, "A B C"],
    threshold: float,
    region: int,
    candidates: tuple[float, ...],
) -> Lumen:
    """A Lumen from its mask inside a box."""
    whole = np.zeros(volume.shape, bool)
    whole[box] = mask
    voxel_ml = float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    return Lumen(whole, threshold, volume.spacing, np.count_nonzero(mask) * voxel_ml, region, candidates)


def sample(
    volume: Volume, field: Real[np.ndarray, "I J K"], points: Real[np.ndarray, "*n 3"]
) -> Real[np.ndarray, "*n"]:
    """(..., 3) RAS mm -> (...) trilinear values of an (I, J, K) field of the volume's grid; 0 outside."""
    from scipy import ndimage

    points = np.asarray(points, float)
    at = settled(volume.to_voxel(points.reshape(-1, 3)).T, volume.shape)
    return np.asarray(ndimage.map_coordinates(field, at, order=1, cval=0.0)).reshape(points.shape[:-1])


def centreline(volume: Volume, lumen: Lumen, step_mm: float = 1.0) -> Path:
    """The way between the two ends of a lumen that lie farthest apart, as far as a scope can go.

    A path of least cost from voxel to voxel, where cost falls with the square of clearance, smoothed, resampled every
    step_mm. It begins at the wider end: in the trachea, in the caecum. Raises CTError NO_PATH.
    """
    from scipy.sparse.csgraph import connected_components, dijkstra

    room = lumen.clearance >= SCOPE_MM
    if not room.any():
        widest = float(lumen.clearance.max())
        raise CTError(f"the lumen is at most {2 * widest:.1f} mm wide, too narrow for an endoscope", "NO_PATH")
    box = voxels.around(room, np.zeros(3))
    places, clearance, steps, one, two = _graph(room[box].copy(), lumen.clearance[box], volume.spacing)
    del room
    _, part = connected_components(steps, directed=False)
    largest = np.flatnonzero(part == np.argmax(np.bincount(part)))

    def far(start: int) -> int:
        """The place that is farthest from a start, without leaving the room."""
        reached = dijkstra(steps, directed=False, indices=start)
        return int(largest[np.argmax(reached[largest])])

    one_end = far(int(largest[np.argmax(clearance[largest])]))
    other_end = far(one_end)
    cost = ((SCOPE_MM / clearance) ** 2 + 0.01).astype(float)
    steps.data *= 0.5 * (cost[one] + cost[two])
    _, came_from = dijkstra(steps, directed=False, indices=one_end, return_predecessors=True)
    way = [other_end]
    while way[-1] != one_end:
        way.append(int(came_from[way[-1]]))
    raw = places[way[::-1]].astype(float) + [s.start for s in box]
    points = _evenly(_trimmed(volume, lumen, volume.to_world(raw)), step_mm)
    path = _smoothed(volume, lumen, points, step_mm)
    third = max(1, len(path.points) // 3)
    if path.clearance[:third].mean() < path.clearance[-third:].mean():
        path = Path(path.points[::-1].copy(), path.clearance[::-1].copy())
    return path


def _graph(room: np.ndarray, clearance: np.ndarray, spacing: np.ndarray) -> tuple[Any, ...]:
    """What a way is sought on: (N, 3) voxels, their clearance, and the graph of steps between them (`voxels.graph`).

    room: bool, where a scope may be. clearance: mm. In a large lumen each block of voxels is one, and has the place of
    its most central voxel: a whole colon has millions of voxels, and its way is smoothed over several of them anyway.
    """
    from scipy import ndimage

    by = int(np.ceil((np.count_nonzero(room) / MOST_PLACES) ** (1 / 3)))
    if by == 1:
        return np.argwhere(room), clearance[room], *voxels.graph(room, spacing)
    # Blocks touch where voxels do not: only what hangs together may become one.
    labels, count = ndimage.label(room, np.ones((3, 3, 3)))
    if count > 1:
        sizes = voxels.counted(labels, count)
        sizes[0] = 0
        room = labels == np.argmax(sizes)
    del labels
    best, which = voxels.coarser(clearance, room, by)
    room = best > 0
    offsets = np.array(list(np.ndindex(by, by, by)))
    return np.argwhere(room) * by + offsets[which[room]], best[room], *voxels.graph(room, by * spacing)


def _trimmed(volume: Volume, lumen: Lumen, points: np.ndarray) -> np.ndarray:
    """Without the last stretch into the corner of a blind end: ends at half the usual clearance."""
    clearance = sample(volume, lumen.clearance, points)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return points[_corner(clearance, along) : len(points) - _corner(clearance[::-1], along[-1] - along[::-1])]


def _corner(clearance: np.ndarray, along: np.ndarray) -> int:
    """How many points from an end lie in its corner. What is longer than the lumen is wide is no corner but a narrow
    part of the way, as the duodenum behind a stomach, and has a corner of its own."""
    usual = float(np.median(clearance))
    count = int(np.argmax(clearance >= 0.5 * usual))
    return count if along[count] <= usual else _corner(clearance[:count], along[:count])


def _evenly(points: np.ndarray, step: float) -> np.ndarray:
    """(N, 3) -> (M, 3), about `step` apart along the polyline, ends kept."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if along[-1] < 2 * step:
        raise CTError(f"the way through the lumen is only {along[-1]:.1f} mm long", "NO_PATH")
    at = np.linspace(0, along[-1], round(along[-1] / step) + 1)
    return np.stack([np.interp(at, along, points[:, a]) for a in range(3)], axis=1)


def _smoothed(volume: Volume, lumen: Lumen, points: np.ndarray, step: float) -> Path:
    """As smooth as it can be without leaving the room a scope needs."""
    from scipy import ndimage

    for sigma in (6.0, 4.0, 2.5, 1.5, 0.8):
        # Odd reflection about the ends keeps them where they are.
        n = min(len(points) - 1, int(4 * sigma / step))
        before, after = 2 * points[0] - points[n:0:-1], 2 * points[-1] - points[-2 : -n - 2 : -1]
        longer = np.concatenate([before, points, after])
        smooth = ndimage.gaussian_filter1d(longer, sigma / step, axis=0)[n : n + len(points)]
        smooth = _evenly(smooth, step)
        clearance = sample(volume, lumen.clearance, smooth)
        if clearance.min() >= 0.8 * SCOPE_MM:
            break
    else:
        smooth, clearance = points, sample(volume, lumen.clearance, points)
    return Path(smooth, clearance)
