"""Parallel light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from endorender.scene.light import Direction, Emitters, Kind, Light, lights

if TYPE_CHECKING:
    from jaxtyping import Float


@lights.register("directional", cases=[{}, {"direction": (1, 0, 0.2), "attached": "camera", "temperature": 6500}])
class Directional(Light):
    """Parallel light from infinitely far away."""

    direction: Direction = Field((0.0, 0.0, -1.0), description="of travel, in the frame it is attached to")
    irradiance: float = Field(1.0, ge=0, description="on a surface that faces it, radiance × sr")
    attached: Literal["camera", "world"] = Field("world", description="the frame it turns with")

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row without a place."""
        rot = world_from_camera[:3, :3] if self.attached == "camera" else np.eye(3)
        axis = rot @ np.asarray(self.direction) / np.linalg.norm(self.direction)
        return Emitters(Kind.DIRECTIONAL, np.zeros((1, 3)), axis[None], (self.tint() * self.irradiance)[None])
