"""The light guides of an endoscope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from endorender.scene.light import THIN, Emitters, Kind, Light, Round, Vec3, lights

if TYPE_CHECKING:
    from jaxtyping import Float

# Light guides of the Olympus CF-H190L around its lens, camera frame, mm.
CF_H190L = ((3.236, 0.554, 0.0), (-2.774, 2.657, 0.0), (-1.272, -3.140, 0.0))


@lights.register("endoscope", cases=[{}, {"mu": 2.767, "radius": 0.8}, {"guides": [(1, 0, 0)], "radius": 0, "mu": 1}])
class Endoscope(Light):
    """Light guides around the lens, moving with the camera.

    The fall-off exp(−μ (1 − cos θ)) is that of published calibrations (μ = 2.767 is an example; 0 is a bare
    guide). The intensity is that of all guides together.
    """

    guides: tuple[Vec3, ...] = Field(CF_H190L, min_length=1, description="positions, camera frame, mm")
    radius: float = Field(0.4, ge=0, description="of each guide, mm; below 0.001 a point")
    intensity: float = Field(1000.0, ge=0, description="radiance × mm²")
    mu: float = Field(0.0, ge=0, description="angular fall-off")

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """The guides in the world; each faces along the camera's z axis."""
        n = len(self.guides)
        rot, origin = world_from_camera[:3, :3], world_from_camera[:3, 3]
        return Emitters(
            Kind.AREA if self.radius >= THIN else Kind.SPOT,
            np.asarray(self.guides) @ rot.T + origin,
            np.tile(rot[:, 2], (n, 1)),
            np.tile(self.tint() * self.intensity / n, (n, 1)),
            half=np.tile(self.radius * rot[:, :2].T, (n, 1, 1)) if self.radius >= THIN else None,
            mu=self.mu,
            shape=Round if self.radius >= THIN else None,
        )
