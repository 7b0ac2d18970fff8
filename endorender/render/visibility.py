"""What a camera does not see: points behind another wall, by the walk of the exact geometry."""

import numpy as np

from endorender.render.exact import camera_in_grid, first_hits
from endorender.render.medium import prepare
from endorender.scene.scene import Scene


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
