"""A fisheye by Kannala and Brandt, OpenCV's model."""

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
