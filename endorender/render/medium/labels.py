"""Which tissue of a labelled medium each voxel has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.ct.volume import Volume
from endorender.render.device import backend
from endorender.render.device.cache import per_object
from endorender.render.medium.prepared import CELL, block_reduce, prepare
from endorender.scene.scene import GridMedium, Labelling, Mask, Scene


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
    present = [block_reduce(host == n, np.maximum, CELL, 1) for n in range(len(listed) + 1)]
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
