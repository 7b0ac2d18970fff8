"""A field and the grid it lies on: one thing, so that no look-up takes the field of one with the spacing of another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import map_coordinates


class Grid(NamedTuple):
    """Values at the nodes of a grid whose first node lies at 0 of the grid frame.

    values: (I, J, K), where kernels want them or numpy. spacing: (3,) mm between nodes. Look-ups need numpy.
    """

    values: Any
    spacing: np.ndarray

    def at(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) points, mm -> (N,) trilinear values; beyond the border those of the border."""
        index = (points / self.spacing).T
        return np.asarray(map_coordinates(self.values, index, output=np.float64, order=1, mode="nearest"))

    def normals(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) points, mm -> (N, 3) unit vectors towards lower values, by differences over one node either side."""
        g = np.empty_like(points)
        for axis, pitch in enumerate(self.spacing):
            step = np.zeros(3)
            step[axis] = pitch
            g[:, axis] = (self.at(points - step) - self.at(points + step)) / pitch
        return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)
