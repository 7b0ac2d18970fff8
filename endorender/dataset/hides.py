"""What the wall hides: pixels behind whose surface the lumen goes on, as behind a fold or in the next loop."""

from __future__ import annotations

from typing import Any

import numpy as np

REACH = 100.0  # mm from the camera, as C3VD's occlusion maps look (Bobrow et al. 2023)


def hollow(lumen: Any) -> np.ndarray:
    """(I, J, K) uint8 of a lumen: 0 outside, 1 within a voxel of its wall, 2 further in."""
    deep = lumen.clearance > np.max(lumen.spacing)
    return np.asarray((lumen.clearance > 0).astype(np.uint8) + deep)


def hides(scene: Any, distance: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether the pixel's ray, behind the wall that it meets, enters the lumen again within REACH.

    distance: (H, W) mm along the rays to the wall, NaN where there is none; those are False. inside: (I, J, K) from
    `hollow`. Looked for in steps of a voxel: a hollow less than two voxels wide, or
    behind a wall thinner than one, may be missed.
    """
    volume = scene.medium
    voxel_from_camera = volume.voxel_from_world @ np.asarray(scene.world_from_camera, float)
    rays = scene.camera.unproject(scene.camera.pixels()).reshape(-1, 3)
    origin = (voxel_from_camera[:3, 3] + 0.5).astype(np.float32)
    step = np.min(volume.spacing)
    found = np.zeros(distance.size, bool)
    alive = np.flatnonzero(distance.ravel() < REACH)
    along = (rays[alive] @ voxel_from_camera[:3, :3].T).astype(np.float32)  # voxels per mm
    t = distance.ravel()[alive].astype(np.float32)
    left = np.zeros(len(alive), bool)
    while len(alive):
        t += step
        index = np.floor(origin + t[:, None] * along).astype(np.int32)
        near = (index >= 0).all(1) & (index < inside.shape).all(1) & (t <= REACH)
        here = np.zeros(len(alive), np.uint8)
        here[near] = inside[tuple(index[near].T)]
        left |= here == 0
        # At its rim the voxels' mask and the wall part by half a voxel: what counts lies a voxel further in.
        again = left & (here == 2)
        found[alive[again]] = True
        on = near & ~again
        alive, along, t, left = alive[on], along[on], t[on], left[on]
    return found.reshape(distance.shape)
