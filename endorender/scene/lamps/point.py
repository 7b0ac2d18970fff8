"""Lights without extent: a point, and a spot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.light import RGB, Aimed, Emitters, Kind, Placed, lights

if TYPE_CHECKING:
    from jaxtyping import Float


@lights.register("point", cases=[{"position": (0.0, 0.0, 0.0)}, {"attached": "world", "temperature": 3000}])
class Point(Placed):
    """A point that shines evenly in every direction."""

    intensity: RGB = Field((1000.0, 1000.0, 1000.0), description="radiance × mm²")

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row without an axis."""
        position = self._at(world_from_camera)[1]
        return Emitters(Kind.POINT, position, np.zeros((1, 3)), (self.tint() * self.intensity)[None])


@lights.register("spot", cases=[{}, {"inner": 10, "outer": 10, "direction": (1, 2, 3), "attached": "world"}])
class Spot(Aimed):
    """A point that shines into a cone: fully up to the inner angle, nothing beyond the outer one.

    In between it fades as 3 t² − 2 t³, t from 0 to 1 between the cosines of the two angles (our choice).
    """

    inner: float = Field(20.0, ge=0, le=90, description="from the axis, degrees")
    outer: float = Field(30.0, gt=0, le=90, description="from the axis, degrees")

    @model_validator(mode="after")
    def _ordered(self) -> Spot:
        if self.inner > self.outer:
            raise ValueError("a spot's inner angle cannot exceed its outer one")
        return self

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row with a cone."""
        rot, position = self._at(world_from_camera)
        cone = (math.cos(math.radians(self.outer)), math.cos(math.radians(self.inner)))
        return Emitters(Kind.SPOT, position, (rot @ self._axis())[None], self._lit(), cone=cone)
