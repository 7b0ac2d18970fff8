"""An omnidirectional camera by Scaramuzza, as OCamCalib gives it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.camera import FOLDS, Calibrated, cameras, scaled

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Real

OWN = ("a0", "a2", "a3", "a4", "cx", "cy")


@cameras.register(
    "scaramuzza",
    cases=[
        {"width": 270, "height": 216, "mask": "corners"},
        {"width": 96, "height": 72, "transposed": True, "vignetting": 1.5},
        {"a0": 60, "a2": -4e-3, "a3": 0, "a4": 0, "cx": 47, "cy": 36.5, "width": 96, "height": 72},
    ],
)
class Scaramuzza(Calibrated):
    """Scaramuzza, Martinelli, Siegwart 2006: a direction's z is a polynomial of its distance ρ from the centre.

    (u, v) = A (x, y) + (cx, cy), ρ = |(x, y)|, direction ∝ (x, y, a0 + a2 ρ² + a3 ρ³ + a4 ρ⁴), z forward.
    A is [[c, d], [e, 1]], or its transpose: both readings are in circulation and part by up to 4 px at the edges of
    a large picture, so `transposed` names ours. Without parameters: the Olympus CF-HQ190L of C3VD (1350 x 1080).
    `K` is the pinhole that touches the model on the axis.
    """

    width: int = Field(1350, ge=1, le=16384, description="pixels")
    height: int = Field(1080, ge=1, le=16384, description="pixels")
    calibrated: tuple[int, int] | None = Field(
        (1350, 1080), description="[width, height] that the intrinsics were given for; none: this picture's"
    )
    a0: float = Field(769.243600037458, gt=0, description="pixels; with a2, a3, a4, cx and cy")
    a2: float = -8.12770624150226e-4
    a3: float = 6.25674244578925e-7
    a4: float = -1.1966218214428e-9
    c: float = Field(0.99998688224999, description="c, d, e: 1, 0, 0 if only the others are given")
    d: float = 0.00288273829525059
    e: float = -0.00296316513429569
    cx: float = Field(678.544839263292, description="pixels, the first pixel's centre at 0")
    cy: float = 542.975887548343
    transposed: bool = Field(False, description="A is [[c, e], [d, 1]]")

    @model_validator(mode="before")
    @classmethod
    def _all_or_none(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not any(name in values for name in OWN):
            return values
        if missing := [name for name in OWN if name not in values]:
            raise ValueError(f"{', '.join(OWN)} go together; {', '.join(missing)} missing")
        return {"c": 1.0, "d": 0.0, "e": 0.0, "calibrated": None, **values}

    @model_validator(mode="after")
    def _one_to_one(self) -> Scaramuzza:
        if self.calibrated and min(self.calibrated) < 1:
            raise ValueError("calibrated is a width and a height in pixels")
        if self.c - self.d * self.e <= 0:
            raise ValueError("the stretch matrix must not mirror or flatten the picture: c - d e > 0")
        rho = np.linspace(0, self._corner(), 512)
        if (np.diff(np.arctan2(rho, self._z(rho))) <= 0).any():
            raise ValueError(f"{FOLDS}the angle from the axis must grow up to the image corner")
        return self

    def _z(self, rho: np.ndarray) -> np.ndarray:
        return np.asarray(self.a0 + rho**2 * (self.a2 + rho * (self.a3 + rho * self.a4)))

    def _affine(self) -> np.ndarray:
        """(3, 3) this picture's pixels from (x, y, 1)."""
        d, e = (self.e, self.d) if self.transposed else (self.d, self.e)
        return scaled(np.array([[self.c, d, self.cx], [e, 1, self.cy], [0, 0, 1]]), self.stretch)

    def _sensor(self, uv: np.ndarray) -> np.ndarray:
        """(..., 2) pixels -> (..., 2) x, y."""
        m = self._affine()
        return np.asarray((uv - m[:2, 2]) @ np.linalg.inv(m[:2, :2]).T)

    def _corner(self) -> float:
        return float(np.linalg.norm(self._sensor(self.border()), axis=-1).max())

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """(3, 3) intrinsics of the pinhole that touches the model on the axis."""
        return np.asarray(self._affine() @ np.diag([self.a0, self.a0, 1.0]))

    @property
    def distortion(self) -> tuple[float, ...]:
        """a0, a2, a3, a4."""
        return self.a0, self.a2, self.a3, self.a4

    def parameters(self) -> Float32[np.ndarray, " 12"]:
        """(12,) the inverse of A (row by row), cx, cy, a0, a2, a3, a4, as the device function takes them."""
        m = self._affine()
        return self._packed(*np.linalg.inv(m[:2, :2]).ravel(), *m[:2, 2], *self.distortion)

    def unproject(self, uv: Real[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame."""
        xy = self._sensor(uv)
        d = np.concatenate([xy, self._z(np.linalg.norm(xy, axis=-1, keepdims=True))], -1)
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def project(self, points: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """(..., 3) points, camera frame -> (..., 2) pixels; NaN farther off the axis than the picture's corners."""
        r = np.linalg.norm(points[..., :2], axis=-1)
        theta = np.arctan2(r, points[..., 2])
        # A little past the corner, where the angle may still be relied on to grow; then Newton's method.
        table = np.linspace(0, 1.05 * self._corner(), 1024)
        angles = np.arctan2(table, self._z(table))
        rho = np.interp(theta, angles[: 1 + np.argmax(angles)], table[: 1 + np.argmax(angles)], right=np.nan)
        sin, cos = np.sin(theta), np.cos(theta)
        for _ in range(4):
            slope = rho * (2 * self.a2 + rho * (3 * self.a3 + rho * 4 * self.a4))
            rho = rho - (self._z(rho) * sin - rho * cos) / (slope * sin - cos)
        m = self._affine()
        xy = points[..., :2] * np.where(r > 1e-12, rho / np.maximum(r, 1e-12), 0.0)[..., None]
        return np.asarray(xy @ m[:2, :2].T + m[:2, 2])

    @staticmethod
    @functools.cache
    def device() -> Any:
        """Taichi function `ray(u, v, p) -> unit direction`."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            du, dv = u - p[4], v - p[5]
            x, y = p[0] * du + p[1] * dv, p[2] * du + p[3] * dv
            r2 = x * x + y * y
            r = ti.sqrt(r2)
            return ti.math.vec3(x, y, p[6] + r2 * (p[7] + r * (p[8] + r * p[9]))).normalized()

        return ray
