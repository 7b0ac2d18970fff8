"""Flat Lambertian lights: a disk, a ring, a rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.light import THIN, Aimed, Direction, Emitters, Kind, Rectangular, Round, across, lights

if TYPE_CHECKING:
    from jaxtyping import Float


@lights.register("disk", cases=[{}, {"radius": 4, "direction": (0.3, -1, 2), "temperature": 3000}])
class Disk(Aimed):
    """A Lambertian disk, shining to one side: of radiance intensity / (π radius²)."""

    radius: float = Field(1.0, ge=THIN, description="mm")

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row."""
        rot, position = self._at(world_from_camera)
        half = self.radius * across(self._axis())[None] @ rot.T
        axis = (rot @ self._axis())[None]
        return Emitters(Kind.AREA, position, axis, self._lit(), half, lambert=True, shape=Round)


@lights.register("ring", cases=[{}, {"inner": 0.5, "radius": 3, "position": (1, 0, 0), "direction": (0, 1, 3)}])
class Ring(Aimed):
    """A Lambertian annulus, shining to one side: of radiance intensity / (π (radius² − inner²))."""

    radius: float = Field(6.0, ge=THIN, description="outer, mm")
    inner: float = Field(4.5, ge=0, description="radius of the hole, mm")

    @model_validator(mode="after")
    def _ordered(self) -> Ring:
        if self.inner > 0.999 * self.radius:
            raise ValueError("a ring's inner radius must be less than 0.999 of its outer one")
        return self

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row with a hole."""
        rot, position = self._at(world_from_camera)
        half = self.radius * across(self._axis())[None] @ rot.T
        hole = self.inner / self.radius
        axis = (rot @ self._axis())[None]
        return Emitters(Kind.AREA, position, axis, self._lit(), half, hole, lambert=True, shape=Round)


@lights.register("rectangle", cases=[{}, {"width": 3, "height": 5, "direction": (1, 0.5, 2), "up": (1, 1, 0)}])
class Rectangle(Aimed):
    """A Lambertian rectangle, shining to one side: of radiance intensity / (width · height)."""

    width: float = Field(4.0, ge=THIN, description="mm")
    height: float = Field(2.0, ge=THIN, description="mm, along `up`")
    up: Direction = Field((0.0, -1.0, 0.0), description="made perpendicular to the direction")

    @model_validator(mode="after")
    def _upright(self) -> Rectangle:
        if np.linalg.norm(np.cross(self._axis(), self.up)) < 1e-6 * np.linalg.norm(self.up):
            raise ValueError("a rectangle's up cannot be along its direction")
        return self

    def emitters(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Emitters:
        """One row."""
        rot, position = self._at(world_from_camera)
        half = (across(self._axis(), self.up) * [[self.width / 2], [self.height / 2]])[None] @ rot.T
        axis = (rot @ self._axis())[None]
        return Emitters(Kind.AREA, position, axis, self._lit(), half, lambert=True, shape=Rectangular)
