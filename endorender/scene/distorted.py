"""Cameras whose lens distorts: Kannala-Brandt, Brown-Conrady and Scaramuzza, as calibrations describe them."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.camera import Calibrated, Focal, cameras, scaled

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Real

FOLDS = "distortion folds the image over: "


@cameras.register(
    "fisheye",
    cases=[{}, {"fov": 170, "k1": -0.02, "k2": 0.003}, {"fx": 120, "fy": 110, "cx": 150.5, "k1": 0.01}],
)
class Fisheye(Focal):
    """Kannala & Brandt 2006: r = f (θ + k1 θ³ + k2 θ⁵ + k3 θ⁷ + k4 θ⁹), OpenCV's fisheye model."""

    fov: float | None = Field(140.0, gt=0, lt=360, description="full horizontal angle, degrees")
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0

    @model_validator(mode="after")
    def _monotone(self) -> Fisheye:
        if self.fov is not None and self._focal() <= 0:
            raise ValueError(f"{FOLDS}r(θ) must grow up to the image corner")
        corner = np.linalg.norm(self._normalised(self.border()), axis=-1).max()
        theta = np.linspace(0, math.pi, 512)
        r = self._radius(theta)
        reach = np.argmax(r >= corner) if (r >= corner).any() else len(r) - 1
        # The field of view itself must lie before any fold, or another one would be seen.
        reach = max(int(reach), int(np.searchsorted(theta, math.radians(self.fov or 0) / 2)) - 1)
        if (np.diff(r[: reach + 1]) <= 0).any():
            raise ValueError(f"{FOLDS}r(θ) must grow up to the image corner")
        return self

    def _radius(self, theta: np.ndarray) -> np.ndarray:
        t2 = theta * theta
        return theta * (1 + t2 * (self.k1 + t2 * (self.k2 + t2 * (self.k3 + t2 * self.k4))))

    def _focal(self) -> float:
        assert self.fov is not None
        return float(self.width / 2 / self._radius(np.asarray(math.radians(self.fov) / 2)))

    @property
    def distortion(self) -> tuple[float, ...]:
        """k1..k4."""
        return self.k1, self.k2, self.k3, self.k4

    def unproject(self, uv: Real[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame. Newton's method on r(θ)."""
        m = self._normalised(uv)
        r = np.linalg.norm(m, axis=-1)
        theta = r.copy()
        for _ in range(20):
            t2 = theta * theta
            slope = 1 + t2 * (3 * self.k1 + t2 * (5 * self.k2 + t2 * (7 * self.k3 + t2 * 9 * self.k4)))
            theta = theta - (self._radius(theta) - r) / slope
        scale = np.where(r > 1e-12, np.sin(theta) / np.maximum(r, 1e-12), 1.0)
        return np.concatenate([m * scale[..., None], np.cos(theta)[..., None]], -1)

    def project(self, points: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """(..., 3) points, camera frame -> (..., 2) pixels."""
        rho = np.linalg.norm(points[..., :2], axis=-1)
        r = self._radius(np.arctan2(rho, points[..., 2]))
        scale = np.where(rho > 1e-12, r / np.maximum(rho, 1e-12), 1.0)
        k = self.K
        return points[..., :2] * scale[..., None] * k[[0, 1], [0, 1]] + k[:2, 2]

    @staticmethod
    @functools.cache
    def device() -> Any:
        """Taichi function `ray(u, v, p) -> unit direction`."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            m = ti.math.vec2((u - p[2]) / p[0], (v - p[3]) / p[1])
            r = m.norm()
            theta = r
            for _ in range(12):
                t2 = theta * theta
                f = theta * (1 + t2 * (p[4] + t2 * (p[5] + t2 * (p[6] + t2 * p[7]))))
                slope = 1 + t2 * (3 * p[4] + t2 * (5 * p[5] + t2 * (7 * p[6] + t2 * 9 * p[7])))
                theta -= (f - r) / slope
            scale = 1.0
            if r > 1e-9:
                scale = ti.sin(theta) / r
            return ti.math.vec3(m.x * scale, m.y * scale, ti.cos(theta)).normalized()

        return ray


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
