"""Photographs and calibrations from outside, for who sees datasets only; and what lies behind a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.scene.photograph import SUFFIXES, calibration, fault, listed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

__all__ = ["SUFFIXES", "calibration", "fault", "listed", "points"]


def points(
    camera: Any, z_depth: Float[np.ndarray, "H W"]
) -> tuple[Float32[np.ndarray, "N 3"], Bool[np.ndarray, "H W"]]:
    """(N, 3) float32 points in mm, camera frame (x right, y down, z forward), of the pixels that have a depth, and the
    (H, W) bool of these.

    z_depth: (H, W) mm along the optical axis, NaN where there is none. Rays that do not go forward have no point.
    """
    rays = camera.unproject(camera.pixels())
    there = np.isfinite(z_depth) & (rays[..., 2] > 1e-6)
    rays = rays[there]
    return (rays * (z_depth[there] / rays[:, 2])[:, None]).astype(np.float32), there
