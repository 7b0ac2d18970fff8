"""What lights are made of. Every light is one of two things to the renderer: rows of emitters, or an environment.

What a light needs it brings along: its `emitters`, of a new outline its `Shape`, of a new fall-off its `Profile`. The
lights themselves stand in `endorender.scene.lamps`, where a new file is found by itself, and in `environment`.

One convention for all that stand somewhere: `intensity` is radiant intensity along the axis, in radiance × mm², so
that a light of any size gives intensity / r² at a distance r that is large beside it. Area lights spread it evenly over
their area and shine to one side: disk, ring and rectangle are Lambertian, of the same radiance intensity / area from
wherever they are seen; the guides of an endoscope follow a measured fall-off, I(θ) = intensity · exp(−μ (1 − cos θ)).
The colour, RGB or temperature, multiplies the intensity.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from endorender.registry import Model, Registry
from endorender.scene.colour import COOLEST, HOTTEST, planckian

if TYPE_CHECKING:
    from jaxtyping import Float

lights = Registry("light")
shapes = Registry("shape")

Vec3 = tuple[float, float, float]


def _grey(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, (int, float)) else value


def _non_negative(rgb: Vec3) -> Vec3:
    if min(rgb) < 0:
        raise ValueError("a light cannot be negative")
    return rgb


def _not_null(v: Vec3) -> Vec3:
    if not any(v):
        raise ValueError("a direction cannot be 0")
    return v


RGB = Annotated[Vec3, BeforeValidator(_grey), AfterValidator(_non_negative)]  # one number is grey
Direction = Annotated[Vec3, AfterValidator(_not_null)]

THIN = 1e-3  # mm: smaller lights have radiances beyond single precision


class Kind(IntEnum):
    """What an emitter is. One of an area has a `Shape`, and paths can meet it."""

    POINT = 0
    SPOT = 1
    DIRECTIONAL = 2
    AREA = 3


class Shape(Model):
    """The outline of emitters that have an area, in shares of their half axes.

    hole: a number that a shape may take as it likes; for a ring the radius of the hole over its own.
    """

    @staticmethod
    def area(hole: float) -> float:
        """Of the outline whose half axes are 1."""
        raise NotImplementedError

    @staticmethod
    def device(draws: Any) -> tuple[Any, Any]:
        """Taichi functions. draws: the module of the renderer's draws, `render.device.sampling`.

        `spread(u, v, hole2) -> vec2`: a point, evenly over the area, from two uniform numbers. `holds(a, b, hole2)`:
        whether a point lies within. hole2: the square of the hole.
        """
        raise NotImplementedError


@shapes.register("round")
class Round(Shape):
    """An ellipse, or a ring."""

    @staticmethod
    def area(hole: float) -> float:
        """Without the hole."""
        return math.pi * (1 - hole**2)

    @staticmethod
    @functools.cache
    def device(draws: Any) -> tuple[Any, Any]:
        """(spread, holds) as Taichi functions."""
        from endorender.engine import ti

        turned = draws.turned

        @ti.func
        def spread(u, v, hole2):
            r, turn = ti.sqrt(ti.math.mix(hole2, 1.0, u)), turned(v)
            return r * turn

        @ti.func
        def holds(a, b, hole2):
            r2 = a * a + b * b
            return hole2 <= r2 and r2 < 1.0

        return spread, holds


@shapes.register("rectangle")
class Rectangular(Shape):
    """A rectangle along its half axes."""

    @staticmethod
    def area(hole: float) -> float:
        """All of it."""
        return 4.0

    @staticmethod
    @functools.cache
    def device(draws: Any) -> tuple[Any, Any]:
        """(spread, holds) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def spread(u, v, hole2):
            return ti.math.vec2(2.0 * u - 1.0, 2.0 * v - 1.0)

        @ti.func
        def holds(a, b, hole2):
            return ti.max(ti.abs(a), ti.abs(b)) < 1.0

        return spread, holds


class Profile(Model):
    """How intensity changes with the angle from the axis, where `Emitters` has no name for it: a light brings its own.

    It shines forwards only, and what `Emitters` says besides (mu, lambert, cone) is a factor as well.
    """

    def table(self) -> Float[np.ndarray, " T"]:
        """What `device` needs of this one; as many numbers for every one of its class."""
        raise NotImplementedError

    def shine(self, cos: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Intensity at these cosines of the angle from the axis, 0 to 1, over `Emitters.intensity`."""
        raise NotImplementedError

    @staticmethod
    def device() -> Any:
        """Taichi function `shine(emitters, e, first, cos)`: the same; `emitters[e, first + k]` is table()[k]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Emitters:
    """N emitters of one kind, world frame, mm.

    position: (N, 3). axis: (N, 3) unit, where they shine; 0 for a point. intensity: (N, 3) along the axis; for a
    directional one its irradiance. half: (N, 2, 3) from the centre to the rim along two axes. shape, hole: of an area.
    mu: fall-off exp(−μ (1 − cos θ)). lambert: times cos θ. cone: cosines between which a spot fades, outer and inner.
    profile: times that; of a spot or an area.
    """

    kind: Kind
    position: Float[np.ndarray, "N 3"]
    axis: Float[np.ndarray, "N 3"]
    intensity: Float[np.ndarray, "N 3"]
    half: Float[np.ndarray, "N 2 3"] | None = None
    hole: float = 0.0
    mu: float = 0.0
    lambert: bool = False
    cone: tuple[float, float] = (-2.0, -1.5)
    shape: type[Shape] | None = None
    profile: Profile | None = None

    @property
    def area(self) -> Float[np.ndarray, " N"]:
        """(N,) mm²; 0 without extent."""
        if self.half is None or self.shape is None:
            return np.zeros(len(self.position))
        sides: np.ndarray = np.linalg.norm(self.half, axis=-1).prod(-1)
        return sides * self.shape.area(self.hole)

    def beam(self, cos: float | Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Intensity at the cosine from the axis, relative to that on the axis."""
        if self.kind in (Kind.POINT, Kind.DIRECTIONAL):
            return np.ones_like(cos)
        t = np.clip((cos - self.cone[0]) / max(self.cone[1] - self.cone[0], 1e-6), 0, 1)
        shine = np.exp(-self.mu * (1 - cos)) * t * t * (3 - 2 * t)
        if self.profile is not None:
            shine = shine * self.profile.shine(np.asarray(np.clip(cos, 0, 1)))
        return np.where(cos > 1e-6, shine * cos if self.lambert else shine, 0)


class Light(Model):
    """What every light has: a colour, or the temperature of a black body."""

    colour: RGB = Field((1.0, 1.0, 1.0), description="linear RGB, multiplies the strength")
    temperature: float | None = Field(
        None, ge=COOLEST, le=HOTTEST, description="kelvin, instead of a colour; of luminance 1"
    )

    @model_validator(mode="after")
    def _one_colour(self) -> Light:
        if self.temperature is not None and self.colour != (1.0, 1.0, 1.0):
            raise ValueError("a light has a colour or a temperature, not both")
        return self

    def tint(self) -> Float[np.ndarray, " 3"]:
        """(3,) linear RGB."""
        return np.asarray(self.colour) if self.temperature is None else planckian(self.temperature)


class Placed(Light):
    """A light that stands somewhere, in the camera's frame (x right, y down, z forward) or in the world's."""

    position: Vec3 = Field((0.0, 0.0, 0.0), description="mm, in the frame it is attached to")
    attached: Literal["camera", "world"] = Field("camera", description="the frame it moves with")

    def _at(self, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3) world_from_frame and position (1, 3)."""
        m = np.asarray(world_from_camera, float) if self.attached == "camera" else np.eye(4)
        return m[:3, :3], (m[:3, :3] @ self.position + m[:3, 3])[None]


class Aimed(Placed):
    """A placed light with an axis."""

    direction: Direction = Field((0.0, 0.0, 1.0), description="where it shines, in the frame it is attached to")
    intensity: float = Field(1000.0, ge=0, description="along the axis, radiance × mm²")

    def _lit(self) -> np.ndarray:
        return (self.tint() * self.intensity)[None]

    def _axis(self) -> np.ndarray:
        return np.asarray(self.direction) / np.linalg.norm(self.direction)


def across(axis: Float[np.ndarray, " 3"], up: Any = None) -> Float[np.ndarray, "2 3"]:
    """(2, 3) unit vectors that make a right-handed frame with a unit axis; the second is nearest to `up`."""
    hint = np.eye(3)[np.abs(axis).argmin()] if up is None else np.asarray(up, float)
    right = np.cross(hint, axis)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(axis, right)])
