"""How far the lumen's wall is in any direction: the walk of the exact geometry, for points instead of pixels."""

import numpy as np

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import backend
from endorender.render.exact import _first_hit, camera_in_grid
from endorender.render.medium import cells, prepare
from endorender.scene.scene import Scene


def wall_distance(scene: Scene, directions: np.ndarray) -> np.ndarray:
    """(N, 3) unit directions, camera frame -> (N,) float32 mm along them to the first wall; NaN where there is none."""
    backend.ensure()
    prepared = prepare(scene.medium)
    if prepared.kind != "tissue":
        raise UserError("geometry needs a CT volume: a GridMedium has no wall", "INVALID_VALUE")
    origin, rotation = camera_in_grid(prepared, scene.world_from_camera)
    n = len(directions)
    held = [backend.resident(np.full(shape, np.nan, np.float32)) for shape in (n, (n, 3), n)]
    if n:
        _first_hit(str(np.dtype(np.int16)))(
            prepared.field,
            prepared.smooth,
            cells(scene.medium, scene.tissue, "interface", scene.threshold),
            backend.resident(scene.tissue.table()),
            backend.resident(np.zeros((1, 1, 1), np.int16)),
            backend.resident((directions @ rotation.T).astype(np.float32)),
            ti.math.vec3(*origin),
            ti.math.vec3(*(1 / prepared.spacing)),
            scene.threshold,
            *held,
        )
    return np.asarray(backend.fetch(held[0]))


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
    met = wall_distance(scene, local[finite] / distance[finite, None])
    # At a thousandth of the distance rounding of the ray's direction may matter where it grazes the wall.
    slack = tolerance * float(prepare(scene.medium).spacing.min()) + 1e-3 * distance[finite]
    out[finite] = np.nan_to_num(met, nan=np.inf) < distance[finite] - slack
    return out.reshape(points.shape[:-1])
