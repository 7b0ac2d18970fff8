"""What both pages have: a scene that is looked at from somewhere, and cameras that can be stepped into."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.viewer.shapes import OVERVIEW, opening, overview

if TYPE_CHECKING:
    import viser

INK = (120, 200, 255)  # cameras
CHOSEN = (255, 190, 60)
NEAR_MM, FAR_MM = 0.2, 5000.0
AHEAD_MM = 8.0  # what the mouse turns about, after a jump


def said(text: str) -> str:
    """A line for a panel, in which nothing is markup: names and messages may hold what others wrote."""
    return f"<div style='padding: 0 1em; font-size: 0.9em'>{html.escape(text)}</div>"


def furnish(server: viser.ViserServer, points: np.ndarray) -> None:
    """Light, and a first viewpoint from which (N, 3) points are seen well."""
    server.scene.set_up_direction("+z")  # RAS: superior is up
    server.scene.configure_default_lights(enabled=True, cast_shadow=False)
    camera = server.initial_camera
    camera.position, camera.look_at = overview(points)
    camera.up = (0.0, 0.0, 1.0)
    camera.fov = OVERVIEW
    camera.near, camera.far = NEAR_MM, FAR_MM


def orient(server: viser.ViserServer, points: np.ndarray) -> None:
    """The patient's directions as letters around (N, 3) points: right, left, anterior, posterior and so on."""
    low, high = points.min(0), points.max(0)
    middle, reach = (low + high) / 2, (high - low) / 2
    reach = np.maximum(reach, 0.6 * reach.max()) + 6.0
    for axis, pair in enumerate(("LR", "PA", "IS")):
        for sign, letter in zip((-1, 1), pair):
            at = middle + sign * reach[axis] * np.eye(3)[axis]
            server.scene.add_label(
                f"/directions/{letter}", letter, position=at, anchor="center-center", depth_test=True
            )


def stand_back(clients: Any, points: np.ndarray) -> None:
    """Every page's viewpoint back to where (N, 3) points are seen as a whole."""
    position, middle = overview(points)
    for client in clients:
        _stand(client, position, middle, np.array([0.0, 0.0, 1.0]), OVERVIEW)


def step_into(client: Any, camera: Any, pose: np.ndarray) -> None:
    """A page's viewpoint becomes a camera's: its place, its direction and its vertical angle."""
    pose = np.asarray(pose, float)
    ahead = pose[:3, 3] + AHEAD_MM * pose[:3, 2]
    _stand(client, pose[:3, 3], ahead, -pose[:3, 1], opening(camera)[0])


def _stand(client: Any, position: np.ndarray, look_at: np.ndarray, up: np.ndarray, fov: float) -> None:
    with client.atomic():
        client.camera.position = position
        client.camera.look_at = look_at
        client.camera.up_direction = up
        client.camera.fov = fov


def standpoint(client: Any) -> np.ndarray:
    """(4, 4) world_from_camera of a page's viewpoint; viser's cameras have OpenCV axes as ours do."""
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(client.camera.wxyz, scalar_first=True).as_matrix()
    pose[:3, 3] = client.camera.position
    return pose


def frustum(
    server: viser.ViserServer, name: str, camera: Any, pose: np.ndarray, size: float, image: np.ndarray | None = None
) -> Any:
    """A camera as a pyramid with its picture. size: mm, about its depth."""
    from scipy.spatial.transform import Rotation

    pose = np.asarray(pose, float)
    fov, aspect = opening(camera)
    return server.scene.add_camera_frustum(
        name,
        fov,
        aspect,
        scale=size,
        thickness=2.0,
        thickness_units="screen",
        color=INK,
        image=image,
        jpeg_quality=92,
        wxyz=Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True),
        position=pose[:3, 3],
        cast_shadow=False,
        receive_shadow=False,
    )
