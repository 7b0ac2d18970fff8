"""What a page draws: the lumen's wall as triangles, frames as points, cameras as pyramids. No Taichi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from endorender.dataset.flow import points_of

if TYPE_CHECKING:
    from endorender.ct import Volume
    from endorender.ct.anatomy.lumen import Lumen
    from endorender.dataset import Frame

TRIANGLES = 250_000  # of a wall; a browser turns more of them, but they take seconds to send and to draw in software
OVERVIEW = np.radians(45)  # vertical angle of the page's first viewpoint
FILLED = 0.72 * np.tan(OVERVIEW / 2)  # of it points fill so much; the panels at the sides take the rest of the width
WIDEST = np.tan(np.radians(65))  # half-angles beyond it are drawn as this one: no pyramid opens to 180 degrees


class Mesh(NamedTuple):
    """vertices: (V, 3) RAS mm, float32. faces: (F, 3) indices, counter-clockwise as seen from outside the lumen."""

    vertices: np.ndarray
    faces: np.ndarray


def wall(volume: Volume, lumen: Lumen, most: int = TRIANGLES) -> Mesh:
    """The lumen's wall: the iso-surface of the trilinear HU field at the lumen's threshold, open where the scan ends.

    most: triangles; a large lumen is walked in coarser steps, and the corners are then pulled onto the wall.
    """
    from skimage.measure import marching_cubes

    from endorender.ct import voxels

    box = voxels.around(lumen.mask, np.full(3, 3.0))
    field, mask = volume.hu[box].astype(np.float32), lumen.mask[box]
    # Air that is not this lumen's is closed. Where it touches the wall from behind, the wall stays where it was.
    field[~mask & (field < lumen.threshold)] = lumen.threshold + 1
    step = 1
    while True:
        corners, faces, _, _ = marching_cubes(field, lumen.threshold, step_size=step, allow_degenerate=False)
        if len(faces) <= most:
            break
        step += 1
    if step > 1:
        corners = _pulled(field, corners, lumen.threshold, step)
    vertices = volume.to_world(corners + np.array([s.start for s in box]))
    a, b, c = (vertices[faces[:, k]] - vertices.mean(0) for k in range(3))
    inside_out = np.einsum("ij,ij->", a, np.cross(b, c)) < 0
    return Mesh(vertices.astype(np.float32), faces[:, ::-1] if inside_out else faces)


def _pulled(field: np.ndarray, corners: np.ndarray, threshold: float, step: int) -> np.ndarray:
    """(V, 3) voxel indices near the iso-surface of a trilinear field, moved onto it along its gradient (Newton)."""
    from scipy.ndimage import map_coordinates

    def value(at: np.ndarray) -> np.ndarray:
        return np.asarray(map_coordinates(field, at.T, order=1, mode="nearest"))

    at = corners.astype(float)
    for _ in range(4):
        off = value(at) - threshold
        slope = np.stack([value(at + e) - value(at - e) for e in 0.5 * np.eye(3)], -1)
        move = -off[:, None] * slope / np.maximum((slope**2).sum(-1, keepdims=True), 1.0)
        # No farther than the coarse cell: flat noise must not throw a corner across the lumen.
        length = np.linalg.norm(move, axis=-1, keepdims=True)
        at += move * np.minimum(1, 0.5 * step / np.maximum(length, 1e-9))
    return at


def cloud(frame: Frame, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Points that every stride-th pixel of a frame sees: (N, 3) RAS mm, and (H, W) bool, the pixels they belong to."""
    from endorender.scene import cameras

    geometry = frame.geometry()
    chosen = np.zeros_like(geometry["mask"])
    chosen[stride // 2 :: stride, stride // 2 :: stride] = True
    chosen &= geometry["mask"]
    points = points_of(geometry["distance"].astype(float), cameras.build(frame.camera), frame.world_from_camera)
    return points[chosen], chosen


def opening(camera: Any) -> tuple[float, float]:
    """Vertical angle (radians) and width over height of a pyramid that stands for a camera of any model."""
    w, h = camera.width, camera.height
    middles = np.array([[(w - 1) / 2, -0.5], [(w - 1) / 2, h - 0.5], [-0.5, (h - 1) / 2], [w - 0.5, (h - 1) / 2]])
    rays = camera.unproject(middles)
    angles = np.arctan2(np.abs(rays[:, :2]).max(-1), rays[:, 2])
    up, across = (np.tan(np.minimum(angles[k : k + 2].mean(), np.arctan(WIDEST))) for k in (0, 2))
    return float(2 * np.arctan(up)), float(across / up)


def overview(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where to stand and what to look at to see (N, 3) points as a whole: (3,), (3,) mm.

    From the front (RAS y) as radiologists do, or as far towards either side as shows most of what they spread over.
    """
    middle = (points.min(0) + points.max(0)) / 2
    around = points[:: max(1, len(points) // 20_000)] - middle
    sides = np.radians([-50, -25, 0, 25, 50])
    best = max(sides, key=lambda a: np.ptp(around[:, :2] @ (np.cos(a), np.sin(a))))
    towards = np.array([-np.sin(best), np.cos(best), 0.25])
    towards /= np.linalg.norm(towards)
    right = np.cross(-towards, (0, 0, 1))
    right /= np.linalg.norm(right)
    beside = np.abs(around @ np.stack([right, np.cross(right, towards)]).T).max(-1)
    return middle + towards * float((beside / FILLED + around @ towards).max()), middle
