"""What a camera does not see: points behind another wall, and the lumen that goes on behind one."""

import numpy as np

from endorender.engine import ti
from endorender.render.depth.exact import camera_in_grid, first_hits
from endorender.render.device import backend, launches
from endorender.render.device.cache import kernels
from endorender.render.medium.prepared import prepare
from endorender.scene.scene import Scene

RAYS = 1 << 14  # of a launch: a ray may take some thousand steps


def hidden(scene: Scene, points: np.ndarray, tolerance: float = 0.1) -> np.ndarray:
    """(..., 3) points on the wall, world, mm -> (...) bool: another wall stands between them and the scene's camera.

    tolerance: voxels by which that wall must be nearer. The picture's edge and the camera's mask do not count; what is
    not finite is hidden.
    """
    pose = np.asarray(scene.world_from_camera, float)
    local = (points.reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    distance = np.linalg.norm(local, axis=-1)
    finite = np.isfinite(distance) & (distance > 0)
    out = np.ones(len(local), bool)
    _, rotation = camera_in_grid(prepare(scene.medium), pose)
    met, _, _ = first_hits(scene, (local[finite] / distance[finite, None]) @ rotation.T)
    # At a thousandth of the distance rounding of the ray's direction may matter where it grazes the wall.
    slack = tolerance * float(prepare(scene.medium).spacing.min()) + 1e-3 * distance[finite]
    out[finite] = np.nan_to_num(met, nan=np.inf) < distance[finite] - slack
    return out.reshape(points.shape[:-1])


@kernels
def _stepper():
    @ti.kernel
    def step(
        inside: ti.types.ndarray(),
        origin: ti.math.vec3,
        along: ti.types.ndarray(),
        distance: ti.types.ndarray(),
        pace: float,
        reach: float,
        found: ti.types.ndarray(),
        first: ti.i32,
        last: ti.i32,
    ):
        for i in range(first, last):
            t, left, on = distance[i], False, distance[i] < reach
            d = ti.math.vec3(along[i, 0], along[i, 1], along[i, 2])
            while on:
                t += pace
                at = ti.cast(ti.floor(origin + t * d + 0.5), ti.i32)
                on = t <= reach and at.min() >= 0
                on = on and at.x < inside.shape[0] and at.y < inside.shape[1] and at.z < inside.shape[2]
                here = 0
                if on:
                    here = ti.cast(inside[at.x, at.y, at.z], ti.i32)
                left = left or here == 0
                # At its rim the voxels' mask and the wall part by half a voxel: what counts lies a voxel further in.
                if left and here == 2:
                    found[i] = ti.u8(1)
                    on = False

    return step


def enters_again(
    inside: np.ndarray, origin: np.ndarray, along: np.ndarray, distance: np.ndarray, pace: float, reach: float
) -> np.ndarray:
    """(N,) bool: whether rays leave a hollow behind the wall that they meet and enter it again.

    inside: (I, J, K) uint8, 0 outside, 1 at the rim, 2 further in. origin: (3,) voxels. along: (N, 3) voxels per mm.
    distance: (N,) mm to the wall, NaN where there is none. pace, reach: mm, of the steps and from the origin.
    """
    backend.ensure()
    found = backend.resident(np.zeros(len(along), np.uint8))
    given = (
        backend.resident(inside),
        ti.math.vec3(*origin),
        backend.resident(along.astype(np.float32)),
        backend.resident(np.where(np.isnan(distance), 2 * reach, distance).astype(np.float32)),  # no wall: beyond
        pace,
        reach,
        found,
    )
    for part in launches.parts(len(along), RAYS):
        _stepper()(*given, *part)
        backend.wait()
    return backend.fetch(found).astype(bool)
