"""The lens of Brown and Conrady, OpenCV's model."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.camera import FOLDS, Focal, cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Real


@cameras.register(
    "brown_conrady",
    cases=[
        {},
        {"fov": 75, "k1": -0.25, "k2": 0.06, "width": 96, "height": 72},
        {"fx": 70, "fy": 72, "cx": 50.5, "cy": 33, "k1": -0.3, "k2": 0.12, "k3": -0.02, "p1": 2e-3, "p2": -3e-3,
         "width": 96, "height": 72, "mask": "circle"},
        {"fx": 300, "calibrated": [400, 300], "width": 96, "height": 72, "k1": 0.9, "k2": -0.1, "k3": 0.01, "k4": 1.2,
         "k5": 0.1, "k6": 0.02},
    ],
)  # fmt: skip
class BrownConrady(Focal):
    """Brown 1966 and Conrady 1919 as OpenCV has them: rational radial and tangential distortion of a pinhole.

    With x, y on the plane z = 1 and r² = x² + y², R = (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶):
    x' = x R + 2 p1 x y + p2 (r² + 2 x²), y' = y R + p1 (r² + 2 y²) + 2 p2 x y.
    The field of view counts the radial part: give fx where p1 and p2 matter, as a calibration does.
    """

    fov: float | None = Field(90.0, gt=0, lt=179, description="full horizontal angle, degrees")
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0

    @model_validator(mode="after")
    @np.errstate(all="ignore")  # absurd coefficients overflow, and are then refused
    def _one_to_one(self) -> BrownConrady:
        complaint = f"{FOLDS}no single direction leads to each of its pixels"
        if self.fov is not None and self._focal() <= 0:
            raise ValueError(complaint)
        m = self._normalised(self.border())
        x = self._undistorted(m)
        edge = np.array([[math.tan(math.radians(self.fov or 0) / 2), 0.0]])
        # On the way out to every point of the edge the mapping must not turn round.
        way = np.concatenate([x, edge])[:, None] * np.linspace(0, 1, 65)[:, None]
        _, _, below, (a, b, c) = self._distorted(way[..., 0], way[..., 1])
        onto = np.stack(self._distorted(*x.T)[:2], -1)
        if not (np.isfinite(x).all() and (below > 0).all() and (a > 0).all() and (a * c > b * b).all()):
            raise ValueError(complaint)
        if not np.abs(onto - m).max() <= 1e-9:
            raise ValueError(complaint)
        return self

    def _focal(self) -> float:
        assert self.fov is not None
        x = np.array(math.tan(math.radians(self.fov) / 2))
        return float(self.width / 2 / (x * self._radial(x * x)[0]))

    def _radial(self, r2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """R, its derivative by r², and its denominator."""
        above = 1 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3))
        below = 1 + r2 * (self.k4 + r2 * (self.k5 + r2 * self.k6))
        radial = above / below
        slope = self.k1 + r2 * (2 * self.k2 + r2 * 3 * self.k3)
        return radial, (slope - radial * (self.k4 + r2 * (2 * self.k5 + r2 * 3 * self.k6))) / below, below

    def _distorted(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
        """Where (x, y) goes, the denominator of R, and the Jacobian's entries xx, xy = yx, yy."""
        r2 = x * x + y * y
        radial, slope, below = self._radial(r2)
        p1, p2 = self.p1, self.p2
        to_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        to_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        return to_x, to_y, below, (xx, xy, yy)

    def _undistorted(self, m: np.ndarray) -> np.ndarray:
        """(..., 2) on the distorted plane -> (..., 2) on the plane z = 1, by Newton's method."""
        x, y = m[..., 0].copy(), m[..., 1].copy()
        with np.errstate(all="ignore"):
            for _ in range(20):
                to_x, to_y, _, (a, b, c) = self._distorted(x, y)
                ex, ey, det = to_x - m[..., 0], to_y - m[..., 1], a * c - b * b
                x, y = x - (c * ex - b * ey) / det, y - (a * ey - b * ex) / det
        return np.stack([x, y], -1)

    @property
    def distortion(self) -> tuple[float, ...]:
        """k1..k6, p1, p2."""
        return self.k1, self.k2, self.k3, self.k4, self.k5, self.k6, self.p1, self.p2

    def unproject(self, uv: Real[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame."""
        d = np.concatenate([self._undistorted(self._normalised(uv)), np.ones((*uv.shape[:-1], 1))], -1)
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def project(self, points: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """(..., 3) points, camera frame -> (..., 2) pixels; NaN behind the camera and where distortion folds."""
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        x, y = points[..., 0] / z, points[..., 1] / z
        with np.errstate(all="ignore"):
            # Far outside the picture the polynomials turn back, and such points would land in it.
            r = np.tan(np.linspace(0, math.atan(np.nanmax(np.hypot(x, y), initial=0.0)), 1025))
            radial, slope, below = self._radial(r * r)
            turned = (below <= 0) | (radial + 2 * r * r * slope <= 0)
            to_x, to_y, _, (a, b, c) = self._distorted(x, y)
            good = (a > 0) & (a * c > b * b)
            if turned.any():
                good &= np.hypot(x, y) < r[np.argmax(turned)]
        k = self.K
        uv = np.stack([to_x, to_y], -1) * k[[0, 1], [0, 1]] + k[:2, 2]
        return np.where(good[..., None], uv, np.nan)

    @staticmethod
    @functools.cache
    def device() -> Any:
        """Taichi function `ray(u, v, p) -> unit direction`."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            mx, my = (u - p[2]) / p[0], (v - p[3]) / p[1]
            x, y = mx, my
            for _ in range(12):
                r2 = x * x + y * y
                below = 1.0 + r2 * (p[7] + r2 * (p[8] + r2 * p[9]))
                radial = (1.0 + r2 * (p[4] + r2 * (p[5] + r2 * p[6]))) / below
                slope = p[4] + r2 * (2.0 * p[5] + r2 * 3.0 * p[6])
                slope = (slope - radial * (p[7] + r2 * (2.0 * p[8] + r2 * 3.0 * p[9]))) / below
                ex = x * radial + 2.0 * p[10] * x * y + p[11] * (r2 + 2.0 * x * x) - mx
                ey = y * radial + p[10] * (r2 + 2.0 * y * y) + 2.0 * p[11] * x * y - my
                a = radial + 2.0 * x * x * slope + 2.0 * p[10] * y + 6.0 * p[11] * x
                b = 2.0 * x * y * slope + 2.0 * p[10] * x + 2.0 * p[11] * y
                c = radial + 2.0 * y * y * slope + 6.0 * p[10] * y + 2.0 * p[11] * x
                det = a * c - b * b
                x, y = x - (c * ex - b * ey) / det, y - (a * ey - b * ex) / det
            return ti.math.vec3(x, y, 1.0).normalized()

        return ray
