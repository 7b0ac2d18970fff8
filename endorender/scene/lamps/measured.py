"""A lamp whose fall-off was measured: a table over the angle from its axis, as goniophotometers give it."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.light import THIN, Aimed, Emitters, Kind, Profile, Round, across, lights

if TYPE_CHECKING:
    from jaxtyping import Float

NODES = 181  # of half a degree


class Goniogram(Profile):
    """Linear in the angle between measurements; the table is even in it, at `NODES`."""

    degrees: tuple[float, ...]
    values: tuple[float, ...]

    def table(self) -> "Float[np.ndarray, ' T']":
        """Values from 0 to 90 degrees; 0 beyond the last measurement."""
        return np.interp(np.linspace(0, 90, NODES), self.degrees, self.values, right=0.0)

    def shine(self, cos: "Float[np.ndarray, '*n']") -> "Float[np.ndarray, '*n']":
        """As on the device."""
        return np.asarray(np.interp(np.degrees(np.arccos(cos)), np.linspace(0, 90, NODES), self.table()))

    @staticmethod
    @functools.cache
    def device() -> Any:
        """See Profile."""
        from endorender.engine import ti

        @ti.func
        def shine(emitters: ti.template(), e, first, cos):
            at = ti.acos(ti.math.clamp(cos, 0.0, 1.0)) * ti.static((NODES - 1) / (0.5 * np.pi))
            k = ti.min(ti.cast(at, ti.i32), ti.static(NODES - 2))
            return ti.math.mix(emitters[e, first + k], emitters[e, first + k + 1], at - k)

        return shine


@lights.register("measured", cases=[{}, {"radius": 0.8, "degrees": (0, 5, 15, 40), "values": (0.5, 0.5, 1, 0.1)}])
class Measured(Aimed):
    """A lamp, a point or a disk, whose intensity is given over the angle from its axis; dark beyond the last angle."""

    degrees: tuple[float, ...] = Field((0.0, 30.0, 60.0, 90.0), description="from the axis, from 0 on, 90 at most")
    values: tuple[float, ...] = Field((1.0, 0.8, 0.3, 0.0), description="at these angles, over `intensity`")
    radius: float = Field(0.0, ge=0, description="mm; below 0.001 a point")

    @model_validator(mode="after")
    def _a_table(self) -> "Measured":
        angles = np.array(self.degrees)
        if len(angles) < 2 or len(angles) != len(self.values) or angles[0] != 0 or angles[-1] > 90:
            raise ValueError("degrees run from 0 to 90 at most, with one of the values for each, two at least")
        if (np.diff(angles) <= 0).any():
            raise ValueError("degrees have to rise")
        if min(self.values) < 0 or max(self.values) == 0:
            raise ValueError("values cannot be negative, nor all 0")
        return self

    def emitters(self, world_from_camera: "Float[np.ndarray, '4 4']") -> Emitters:
        """One row with a profile."""
        rot, position = self._at(world_from_camera)
        axis, extended = (rot @ self._axis())[None], self.radius >= THIN
        return Emitters(
            Kind.AREA if extended else Kind.SPOT,
            position,
            axis,
            self._lit(),
            half=self.radius * across(self._axis())[None] @ rot.T if extended else None,
            shape=Round if extended else None,
            profile=Goniogram(degrees=self.degrees, values=self.values),
        )
