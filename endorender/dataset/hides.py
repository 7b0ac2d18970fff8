"""What the wall hides: pixels behind whose surface the lumen goes on, as behind a fold or in the next loop."""

from __future__ import annotations

from typing import Any

import numpy as np

REACH = 100.0  # mm from the camera, as C3VD's occlusion maps look (Bobrow et al. 2023)


def hides(scene: Any, distance: np.ndarray, clearance: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether the pixel's ray, behind the wall that it meets, enters the lumen again within REACH.

    distance: (H, W) mm along the rays to the wall, NaN where there is none; those are False. clearance: (I, J, K) mm to
    the wall inside the lumen, 0 outside. Looked for in steps of a voxel: a hollow less than two voxels wide, or
    behind a wall thinner than one, may be missed.
    """
    volume = scene.medium
    spacing = np.asarray(volume.spacing, float)
    to_voxel, pose = np.linalg.inv(volume.affine), np.asarray(scene.world_from_camera, float)
    rays = scene.camera.unproject(scene.camera.pixels()).reshape(-1, 3)
    origin = (to_voxel[:3, :3] @ pose[:3, 3] + to_voxel[:3, 3] + 0.5).astype(np.float32)
    step = spacing.min()
    found = np.zeros(distance.size, bool)
    alive = np.flatnonzero(distance.ravel() < REACH)
    along = (rays[alive] @ (to_voxel[:3, :3] @ pose[:3, :3]).T).astype(np.float32)  # voxels per mm
    t = distance.ravel()[alive].astype(np.float32)
    left = np.zeros(len(alive), bool)
    while len(alive):
        t += step
        index = (origin + t[:, None] * along).astype(np.int32)
        inside = (index >= 0).all(1) & (index < clearance.shape).all(1) & (t <= REACH)
        free = np.zeros(len(alive))
        free[inside] = clearance[tuple(index[inside].T)]
        left |= free == 0
        # At its rim the voxels' mask and the wall part by half a voxel: what counts lies a voxel further in.
        again = left & (free > spacing.max())
        found[alive[again]] = True
        on = inside & ~again
        alive, along, t, left = alive[on], along[on], t[on], left[on]
    return found.reshape(distance.shape)
