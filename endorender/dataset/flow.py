"""Optical flow between poses of a camera, exact from depth: no image is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

    from endorender.render import Geometry
    from endorender.scene import Scene


def points_of(distance: Float[np.ndarray, "H W"], camera: Any, world_from_camera: Any) -> Float[np.ndarray, "H W 3"]:
    """(H, W) mm along the rays -> (H, W, 3) points in the world, mm; NaN where there are none."""
    pose = np.asarray(world_from_camera, float)
    return pose[:3, 3] + (distance[..., None] * camera.unproject(camera.pixels())) @ pose[:3, :3].T


def project(points: Float[np.ndarray, "*n 3"], camera: Any, world_from_camera: Any) -> Float[np.ndarray, "*n 2"]:
    """(..., 3) points in the world, mm -> (..., 2) pixels (u, v), outside the picture too; NaN where there are none."""
    pose = np.asarray(world_from_camera, float)
    return np.asarray(camera.project((points - pose[:3, 3]) @ pose[:3, :3]))


def optical_flow(
    distance: Float[np.ndarray, "H W"], camera: Any, world_from_camera: Any, next_camera: Any, world_from_next: Any
) -> Float[np.ndarray, "H W 2"]:
    """(H, W, 2) px: where the point that a pixel sees lies in the next picture, minus the pixel itself.

    distance: (H, W) mm along the rays. Any camera models. Defined outside the next picture as well; NaN where nothing
    is seen and where the next camera has no pixel for the direction.
    """
    points = points_of(distance, camera, world_from_camera)
    return project(points, next_camera, world_from_next) - camera.pixels()


def in_picture(uv: Float[np.ndarray, "*n 2"], camera: Any) -> Bool[np.ndarray, "*n"]:
    """(..., 2) pixels -> (...) bool: on the picture and not behind the camera's mask."""
    size = np.array([camera.width, camera.height])
    inside = np.isfinite(uv).all(-1) & (uv >= -0.5).all(-1) & (uv < size - 0.5).all(-1)
    nearest = np.where(inside[..., None], np.floor(uv + 0.5), 0).astype(int)
    return np.asarray(inside & camera.visible()[nearest[..., 1], nearest[..., 0]])


def channels(here: Scene, after: Scene | None, seen: Geometry) -> dict[str, Float32[np.ndarray, "H W"]]:
    """flow.U, flow.V (px, float32) and occlusion.V (1: not seen in the next picture, 0: seen) of a view.

    after: the scene from the next pose, None at the end of a trajectory: then, and where nothing is seen, all are NaN.
    A point is occluded behind another wall, outside the next picture, or behind its mask.
    """
    from endorender.render.depth.visibility import hidden

    flow = np.full((*seen.mask.shape, 2), np.nan)
    occluded = np.full(seen.mask.shape, np.nan)
    if after is not None:
        distance = seen.distance.astype(float)
        flow = optical_flow(distance, here.camera, here.world_from_camera, after.camera, after.world_from_camera)
        points = points_of(distance, here.camera, here.world_from_camera)
        there = in_picture(flow + here.camera.pixels(), after.camera)
        occluded = np.where(hidden(after, points) | ~there, 1.0, 0.0)
        occluded[~seen.mask] = np.nan
    return {
        "flow.U": flow[..., 0].astype(np.float32),
        "flow.V": flow[..., 1].astype(np.float32),
        "occlusion.V": occluded.astype(np.float32),
    }
