"""Cameras. OpenCV axes: x right, y down, z forward; integer pixel coordinates are pixel centres.

Each class gives the numpy pair `project`, `unproject`, and `device()`, a Taichi function `ray(u, v, p)` that does
what `unproject` does with `p = parameters()`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from endorender.registry import Model, Registry

cameras = Registry("camera")
PARAMETERS = 8  # floats that describe any camera to its device function


class _Camera(Model):
    """What every camera has: a size in pixels and a horizontal field of view."""

    width: int = Field(320, ge=1, le=16384, description="pixels")
    height: int = Field(240, ge=1, le=16384, description="pixels")

    def _focal(self) -> float:
        raise TypeError("a camera defines its focal length")  # pragma: no cover

    @property
    def K(self) -> np.ndarray:
        """(3, 3) intrinsics in pixels; the principal point is the image centre."""
        f = self._focal()
        return np.array([[f, 0, (self.width - 1) / 2], [0, f, (self.height - 1) / 2], [0, 0, 1.0]])

    @property
    def distortion(self) -> tuple[float, float, float, float]:
        """Coefficients beyond K."""
        return 0.0, 0.0, 0.0, 0.0

    def parameters(self) -> np.ndarray:
        """(8,) fx, fy, cx, cy, and the distortion, as the device function takes them."""
        k = self.K
        return np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2], *self.distortion], np.float32)

    def pixels(self) -> np.ndarray:
        """(H, W, 2) coordinates (u, v) of the pixel centres."""
        return np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), -1).astype(float)

    def resized(self, width: int, height: int) -> _Camera:
        """The same optics on another pixel grid."""
        return self.model_copy(update={"width": width, "height": height})


@cameras.register("pinhole", cases=[{}, {"fov": 60, "width": 64, "height": 48}])
class Pinhole(_Camera):
    """Perspective projection without distortion."""

    fov: float = Field(100.0, gt=0, lt=179, description="full horizontal angle, degrees")

    def _focal(self) -> float:
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)

    def unproject(self, uv: np.ndarray) -> np.ndarray:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame."""
        k = self.K
        d = np.concatenate([(uv - k[:2, 2]) / k[[0, 1], [0, 1]], np.ones((*uv.shape[:-1], 1))], -1)
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points, camera frame -> (..., 2) pixels; NaN at and behind the camera's plane."""
        z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        k = self.K
        return points[..., :2] / z * k[[0, 1], [0, 1]] + k[:2, 2]

    @staticmethod
    @functools.cache
    def device() -> Any:
        """Taichi function `ray(u, v, p) -> unit direction`."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            return ti.math.vec3((u - p[2]) / p[0], (v - p[3]) / p[1], 1.0).normalized()

        return ray


@cameras.register("fisheye", cases=[{}, {"fov": 170, "k1": -0.02, "k2": 0.003}])
class Fisheye(_Camera):
    """Kannala & Brandt 2006: r = f (θ + k1 θ³ + k2 θ⁵ + k3 θ⁷ + k4 θ⁹), OpenCV's fisheye model."""

    fov: float = Field(140.0, gt=0, lt=360, description="full horizontal angle, degrees")
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0

    @model_validator(mode="after")
    def _monotone(self) -> Fisheye:
        corner = np.hypot(self.width, self.height) / 2 / max(self._focal(), 1e-9)
        theta = np.linspace(0, math.pi, 512)
        r = self._radius(theta)
        reach = np.argmax(r >= corner) if (r >= corner).any() else len(r) - 1
        if (np.diff(r[: reach + 1]) <= 0).any():
            raise ValueError("distortion folds the image over: r(θ) must grow up to the image corner")
        return self

    def _radius(self, theta: np.ndarray) -> np.ndarray:
        t2 = theta * theta
        return theta * (1 + t2 * (self.k1 + t2 * (self.k2 + t2 * (self.k3 + t2 * self.k4))))

    def _focal(self) -> float:
        return float(self.width / 2 / self._radius(np.asarray(math.radians(self.fov) / 2)))

    @property
    def distortion(self) -> tuple[float, float, float, float]:
        """k1..k4."""
        return self.k1, self.k2, self.k3, self.k4

    def unproject(self, uv: np.ndarray) -> np.ndarray:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame. Newton's method on r(θ)."""
        k = self.K
        m = (uv - k[:2, 2]) / k[[0, 1], [0, 1]]
        r = np.linalg.norm(m, axis=-1)
        theta = r.copy()
        for _ in range(20):
            t2 = theta * theta
            slope = 1 + t2 * (3 * self.k1 + t2 * (5 * self.k2 + t2 * (7 * self.k3 + t2 * 9 * self.k4)))
            theta = theta - (self._radius(theta) - r) / slope
        scale = np.where(r > 1e-12, np.sin(theta) / np.maximum(r, 1e-12), 1.0)
        return np.concatenate([m * scale[..., None], np.cos(theta)[..., None]], -1)

    def project(self, points: np.ndarray) -> np.ndarray:
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
