"""Where a camera is in its volume, as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.volume import Volume
from endorender.pictures import png

if TYPE_CHECKING:
    from jaxtyping import Real

LINE_MM = 20.0
COLOUR = (255, 140, 0)


def map_png(volume: Volume, world_from_camera: Real[np.ndarray, "4 4"]) -> bytes | None:
    """PNG of the volume's three planes through the camera, a dot where it is, and 20 mm along its view as each plane
    sees them. None of a camera outside the volume."""
    from PIL import Image, ImageDraw

    here, forward = world_from_camera[:3, 3], world_from_camera[:3, 2]
    ends = volume.to_voxel(np.stack([here, here + LINE_MM * forward]))
    nearest = np.round(ends[0]).astype(int)
    if (nearest < 0).any() or (nearest >= volume.shape).any():
        return None
    shown = []
    for plane, axes in volume.planes(nearest.tolist()):
        picture = Image.fromarray(plane).convert("RGB")
        pen = ImageDraw.Draw(picture)
        share = (ends[:, list(axes)] + 0.5) / np.take(volume.shape, axes)
        share[:, 1] = 1 - share[:, 1]  # the last axis runs upwards
        camera, ahead = (tuple(point) for point in (share * picture.size).tolist())
        pen.line([camera, ahead], COLOUR, 2)
        pen.ellipse([camera[0] - 3, camera[1] - 3, camera[0] + 3, camera[1] + 3], COLOUR)
        shown.append(np.asarray(picture))
    return png(shown)
