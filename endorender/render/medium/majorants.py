"""Local majorants: the most and the least that extinction can be in each coarse cell of a medium."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_cdt

from endorender.ct.volume import Volume
from endorender.render.device import backend
from endorender.render.device.cache import per_object
from endorender.render.medium.labels import Blocks, blocks
from endorender.render.medium.prepared import CELL, Prepared, prepare
from endorender.scene.scene import GridMedium, Labelling
from endorender.scene.tissue import TABLE_HU, Tissue


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
