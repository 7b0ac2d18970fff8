"""Hollows of the body: pieces of air that an endoscope could enter, and why other air is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from endorender.ct import voxels
from endorender.ct.anatomy import outline
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped

AIR_HU = -925.0  # below it is air, whatever the noise; lung tissue lies above it
LEAST_ML = 1.0
SCOPE_MM = 2.5  # radius of the thinnest endoscope that is flown (our choice: a 5 mm bronchoscope)


class Piece(NamedTuple):
    """Connected air. box: where it lies; core: bool, what of the box is of it; ml: its volume."""

    box: tuple[slice, ...]
    core: Bool[np.ndarray, "_ _ _"]
    ml: float


class Hollows(NamedTuple):
    """pieces: by their number, largest first; None where a mask leaves nothing of one. left_out: other air, as ml and
    the reason why it is no hollow."""

    pieces: tuple[Piece | None, ...]
    left_out: tuple[tuple[float, str], ...]


_known: WeakKeyDictionary[Volume, Hollows] = WeakKeyDictionary()  # each region of a scan asks for them


def of(volume: Volume) -> Hollows:
    """All of a scan, sought once while the volume lives."""
    if volume not in _known:
        labels, sizes, boxes = _labelled(volume.hu < AIR_HU)
        ml = _ml(volume, sizes)
        large = [int(n) for n in np.argsort(-sizes, kind="stable") if ml[n] >= LEAST_ML]
        within = outline.inside(volume, labels, len(boxes))
        reasons = {n: _reason(volume, labels, n, boxes[n - 1]) if within[n] else "outside the body" for n in large}
        pieces = tuple(_piece(labels, n, boxes[n - 1], ml[n]) for n, why in reasons.items() if not why)
        _known[volume] = Hollows(pieces, tuple((round(float(ml[n]), 1), why) for n, why in reasons.items() if why))
    return _known[volume]


def under(volume: Volume, mask: Shaped[np.ndarray, "I J K"]) -> Hollows:
    """What lies under a mask, in the order of the hollows it is of.

    A hollow's largest piece stands for it. The others follow, and what a mask calls a lumen and the scan alone does
    not: the mask is believed, and nothing is left out. mask: (I, J, K), not 0 where it is drawn.
    """
    labels, sizes, boxes = _labelled((volume.hu < AIR_HU) & (mask > 0))
    ml = _ml(volume, sizes)
    large = [int(n) for n in np.argsort(-sizes, kind="stable") if ml[n] >= LEAST_ML]
    pieces = [_piece(labels, n, boxes[n - 1], ml[n]) for n in large]
    first: list[Piece | None] = []
    for hollow in of(volume).pieces:
        mine = next((piece for piece in pieces if hollow is not None and _is_of(piece, hollow)), None)
        pieces = [piece for piece in pieces if piece is not mine]
        first.append(mine)
    return Hollows((*first, *pieces), ())


def _is_of(piece: Piece, hollow: Piece) -> bool:
    """Whether a piece is air of a hollow: one of its voxels is."""
    at = [s.start + int(n[0]) for s, n in zip(piece.box, np.nonzero(piece.core))]
    if not all(s.start <= a < s.stop for a, s in zip(at, hollow.box)):
        return False
    return bool(hollow.core[tuple(a - s.start for a, s in zip(at, hollow.box))])


def _ml(volume: Volume, sizes: np.ndarray) -> np.ndarray:
    return np.asarray(sizes * float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000)


def _piece(labels: np.ndarray, n: int, box: tuple[slice, ...], ml: float) -> Piece:
    return Piece(box, labels[box] == n, round(float(ml), 1))


def _labelled(air: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[slice, ...]]]:
    """Connected pieces, (I, J, K) numbers from 1, how many voxels each has (of 0 none), and their boxes."""
    from scipy import ndimage

    labels, count = ndimage.label(air)
    sizes = voxels.counted(labels, count)
    sizes[0] = 0
    return labels, sizes, ndimage.find_objects(labels)


def _reason(volume: Volume, labels: np.ndarray, n: int, box: tuple[slice, ...]) -> str:
    """Why a piece of air in the body's outline is no hollow that admits a scope, as a gap in the table; "" if it is."""
    wide = voxels.wider(box, 5.0 / volume.spacing, volume.shape)
    piece = labels[wide] == n
    outer = max(4.0, 2 * float(volume.spacing.max()))  # two voxels of coarse ones, of which the first is blur
    shell = voxels.widened(piece, outer, volume.spacing)
    shell &= ~voxels.widened(piece, 1.5, volume.spacing)
    wall = volume.hu[wide][shell]
    if wall.size == 0 or (wall > outline.BODY_HU).mean() < 0.2:
        return "without a wall of tissue"
    return "" if _admits(piece, volume.spacing) else "narrower than an endoscope"


def _admits(piece: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether a scope fits in somewhere; in a large piece the first slabs tell."""
    beyond = 1 + int(SCOPE_MM / float(spacing.min()))
    slabs = voxels.slabs(piece.shape, beyond)
    return any(not voxels.widened(~piece[wide], SCOPE_MM, spacing)[inner].all() for _, wide, inner in slabs)
