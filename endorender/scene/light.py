"""Lights. Every light is one of two things to the renderer: rows of disk emitters, or an environment.

An emitter of radius 0 is a point. An emitter with an axis shines into the half space before it with intensity
I(θ) = intensity · exp(−μ (1 − cos θ)), θ from the axis; without an axis it shines the same everywhere. Seen from a
point at distance r it gives I / r², spread evenly over its disk. Intensities are radiant intensity per channel
in units of radiance × mm².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from endorender.errors import UserError
from endorender.registry import Model, Registry

lights = Registry("light")

Vec3 = tuple[float, float, float]


def _non_negative(rgb: Vec3) -> Vec3:
    if min(rgb) < 0:
        raise ValueError("a light cannot be negative")
    return rgb


RGB = Annotated[Vec3, AfterValidator(_non_negative)]

# Light guides of the Olympus CF-H190L around its lens, camera frame, mm.
CF_H190L = ((3.236, 0.554, 0.0), (-2.774, 2.657, 0.0), (-1.272, -3.140, 0.0))


@dataclass(frozen=True)
class Emitters:
    """position (N, 3) world mm; axis (N, 3) unit or 0; radius, mu (N,); intensity (N, 3)."""

    position: np.ndarray
    axis: np.ndarray
    radius: np.ndarray
    mu: np.ndarray
    intensity: np.ndarray


@lights.register("endoscope", cases=[{}, {"mu": 2.767, "radius": 0.8}])
class Endoscope(Model):
    """Light guides around the lens, moving with the camera.

    The fall-off exp(−μ (1 − cos θ)) is that of published calibrations (μ = 2.767 is an example; 0 is a bare
    guide). The intensity is that of all guides together.
    """

    guides: tuple[Vec3, ...] = Field(CF_H190L, min_length=1, description="positions, camera frame, mm")
    radius: float = Field(0.4, ge=0, description="of each guide, mm")
    intensity: float = Field(1000.0, ge=0, description="radiance × mm²")
    colour: RGB = (1.0, 1.0, 1.0)
    mu: float = Field(0.0, ge=0, description="angular fall-off")

    def emitters(self, world_from_camera: np.ndarray) -> Emitters:
        """The guides in the world; each faces along the camera's z axis."""
        n = len(self.guides)
        rot, origin = world_from_camera[:3, :3], world_from_camera[:3, 3]
        return Emitters(
            position=np.asarray(self.guides) @ rot.T + origin,
            axis=np.tile(rot[:, 2], (n, 1)),
            radius=np.full(n, self.radius),
            mu=np.full(n, self.mu),
            intensity=np.tile(np.asarray(self.colour) * self.intensity / n, (n, 1)),
        )


@lights.register("point", cases=[{"position": (0.0, 0.0, 0.0)}])
class Point(Model):
    """A point that shines evenly in every direction."""

    position: Vec3 = Field((0.0, 0.0, 0.0), description="mm, in the frame it is attached to")
    intensity: RGB = Field((1000.0, 1000.0, 1000.0), description="radiance × mm²")
    attached: Literal["camera", "world"] = "camera"

    def emitters(self, world_from_camera: np.ndarray) -> Emitters:
        """One row of radius 0 without an axis."""
        p = np.asarray(self.position)
        if self.attached == "camera":
            p = world_from_camera[:3, :3] @ p + world_from_camera[:3, 3]
        zero = np.zeros(1)
        return Emitters(p[None], np.zeros((1, 3)), zero, zero, np.asarray(self.intensity)[None])


@lights.register("constant")
class Constant(Model):
    """The same radiance from every direction outside the volume."""

    radiance: RGB = (1.0, 1.0, 1.0)

    def environment(self) -> np.ndarray:
        """(1, 1, 3) map."""
        return np.asarray(self.radiance, np.float32)[None, None]


@lights.register("envmap", cases=[{"pixels": [[[1.0, 1, 1], [0, 0, 0]], [[0.5, 0, 0], [0, 4, 0]]]}])
class EnvironmentMap(Model):
    """Radiance from outside as a latitude-longitude map (world frame, +z up), importance-sampled.

    Row r of H holds polar angles π r/H .. π (r + 1)/H from +z; column c of W azimuths 2π c/W .. 2π (c + 1)/W from +x
    towards +y. Piecewise constant.
    """

    pixels: tuple[tuple[RGB, ...], ...] = Field(min_length=1, description="H rows of W radiances")

    def environment(self) -> np.ndarray:
        """(H, W, 3) map."""
        widths = {len(row) for row in self.pixels}
        if len(widths) != 1 or 0 in widths:
            raise UserError("an environment map needs rows of one length", "INVALID_VALUE")
        return np.asarray(self.pixels, np.float32)
