"""A CT volume: Hounsfield units on a grid that knows where it lies in the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from endorender.errors import UserError

AIR_HU = -1024  # what padding and the outside of a scan are taken to be


def refuse_affine(affine: np.ndarray) -> None:
    """Raise UserError for what is no world_from_voxel: finite, invertible, the last row 0 0 0 1."""
    if np.shape(affine) != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UserError("affine must be an invertible (4, 4) matrix of finite numbers", "INVALID_VALUE")
    if not np.allclose(affine[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise UserError("the last row of an affine is 0 0 0 1", "INVALID_VALUE")


@dataclass(frozen=True, eq=False)
class Volume:
    """CT values and their place in the patient.

    hu: (I, J, K) Hounsfield units, int16 or float32; finite, within what int16 holds.
    affine: (4, 4) world_from_voxel: index (i, j, k) -> RAS+ millimetres; voxel centres at integers. It may mirror: axes
    of a scan run in any direction.
    warnings: one line each about what was noticed or mended while reading.
    meta: an allow-list of acquisition facts (kernel, kVp, thickness, resampling); never patient data.

    Raises UserError for what no file may hold either.
    """

    hu: np.ndarray
    affine: np.ndarray
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or min(self.hu.shape) < 2:
            raise UserError(f"hu must be (I, J, K) with at least 2 voxels a side, got {self.hu.shape}", "INVALID_VALUE")
        if self.hu.dtype.kind not in "iuf":
            raise UserError(f"hu must be whole or real numbers, got {self.hu.dtype}", "INVALID_VALUE")
        # The smallest and the greatest are NaN where any voxel is. Of int16 none is looked at.
        if self.hu.dtype != np.int16 and not (self.hu.min() >= -32768 and self.hu.max() <= 32767):
            raise UserError(
                "hu must be finite and from -32768 to 32767: replace NaN and infinite voxels by air", "INVALID_VALUE"
            )
        refuse_affine(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(I, J, K)."""
        i, j, k = self.hu.shape
        return i, j, k

    @cached_property
    def spacing(self) -> np.ndarray:
        """(3,) voxel pitch along i, j, k in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @cached_property
    def voxel_from_world(self) -> np.ndarray:
        """(4, 4) inverse of the affine."""
        return np.linalg.inv(self.affine)

    def to_voxel(self, points_mm: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (..., 3) continuous voxel indices."""
        m = self.voxel_from_world
        return points_mm @ m[:3, :3].T + m[:3, 3]

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """(..., 3) continuous voxel indices -> (..., 3) RAS mm."""
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def __repr__(self) -> str:
        i, j, k = self.shape
        sp = " x ".join(f"{s:.3g}" for s in self.spacing)
        return f"Volume({i} x {j} x {k}, {sp} mm, HU {self.hu.min():.0f}..{self.hu.max():.0f})"
