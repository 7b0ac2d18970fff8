"""Where a hollow organ is collapsed: lumens that end near one another with closed wall between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.volume import Volume
from endorender.ct.voxels import around

if TYPE_CHECKING:
    from jaxtyping import Bool

NEAR_MM = 40.0  # a collapsed segment of a distended colon is short; air farther off may be another organ
COARSE_MM = 2.0


def gaps(lumens: list[tuple[Volume, Bool[np.ndarray, "_ _ _"]]]) -> list[dict[str, Any]]:
    """Pairs of lumens nearest to one another: what is needed to make one tree of them, up to 40 mm each.

    lumens: grid and (I, J, K) bool mask of each. Of each pair the two places in the list (from 1), the millimetres
    between their walls, and the middle of the gap in RAS mm. Measured on a grid of about 2 mm, so to about 2 mm.
    """
    from scipy.spatial import cKDTree

    surfaces = [_surface(volume, mask) for volume, mask in lumens]
    pairs: list[tuple[float, int, int, np.ndarray]] = []
    for a in range(len(lumens)):
        tree = cKDTree(surfaces[a])
        for b in range(a + 1, len(lumens)):
            distance, index = tree.query(surfaces[b])
            n = int(distance.argmin())
            middle = (surfaces[a][index[n]] + surfaces[b][n]) / 2
            pairs.append((float(distance[n]), a, b, middle))
    # Kruskal's tree: a third lumen behind the second is no second gap of the first.
    group = list(range(len(lumens)))
    found = []
    for distance, a, b, middle in sorted(pairs, key=lambda p: p[:3]):
        if distance <= NEAR_MM and group[a] != group[b]:
            group = [group[a] if g == group[b] else g for g in group]
            at = [round(float(x), 1) for x in middle]
            found.append({"regions": [a + 1, b + 1], "gap_mm": round(distance, 1), "at_mm": at})
    return found


def _surface(volume: Volume, mask: np.ndarray) -> np.ndarray:
    """(N, 3) RAS mm of a mask's border voxels, thinned to about 2 mm."""
    from scipy import ndimage

    box = around(mask, 2.0 / volume.spacing)
    part = mask[box]
    border = np.argwhere(part & ~ndimage.binary_erosion(part)) + [s.start for s in box]
    points = volume.to_world(border.astype(float))
    _, first = np.unique(np.rint(points / COARSE_MM).astype(int), axis=0, return_index=True)
    return np.asarray(points[np.sort(first)])
