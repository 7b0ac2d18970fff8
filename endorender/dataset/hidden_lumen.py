"""What the wall hides: pixels behind whose surface the lumen goes on, as behind a fold or in the next loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

REACH = 100.0  # mm from the camera, as C3VD's occlusion maps look (Bobrow et al. 2023)


def hollow(lumen: Any) -> UInt8[np.ndarray, "I J K"]:
    """(I, J, K) uint8 of a lumen: 0 outside, 1 within a voxel of its wall, 2 further in."""
    inside = (lumen.clearance > 0).view(np.uint8)
    inside += lumen.clearance > np.max(lumen.spacing)
    return np.asarray(inside)


def hidden_lumen(
    scene: Any, distance: Float[np.ndarray, "H W"], inside: UInt8[np.ndarray, "I J K"]
) -> Bool[np.ndarray, "H W"]:
    """(H, W) bool: whether the pixel's ray, behind the wall that it meets, enters the lumen again within REACH.

    distance: (H, W) mm along the rays to the wall, NaN where there is none; those are False. inside: (I, J, K) from
    `hollow`. Looked for in steps of a voxel: a hollow less than two voxels wide, or
    behind a wall thinner than one, may be missed.
    """
    from endorender.render.depth.visibility import enters_again

    volume = scene.medium
    voxel_from_camera = volume.voxel_from_world @ np.asarray(scene.world_from_camera, float)
    rays = scene.camera.unproject(scene.camera.pixels()).reshape(-1, 3)
    along = rays @ voxel_from_camera[:3, :3].T  # voxels per mm
    pace = float(np.min(volume.spacing))
    found = enters_again(inside, voxel_from_camera[:3, 3], along, distance.ravel(), pace, REACH)
    return found.reshape(distance.shape)
