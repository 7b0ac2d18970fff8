"""Phase functions: how a collision turns light. cos θ is between propagation directions, forward = +1.

Each class gives `device()`, a pair of Taichi functions, and `parameter`, the number they take at each
voxel: `sample(u, p) -> cos θ` and, directly below, `pdf(cos θ, p)` per steradian. A tissue may override the
parameter along HU.
"""

from __future__ import annotations

import functools
from typing import Any

from pydantic import Field

from endorender.registry import Model, Registry

phase_functions = Registry("phase")


@phase_functions.register("isotropic")
class Isotropic(Model):
    """The same in every direction: 1 / 4π."""

    @property
    def parameter(self) -> float:
        """Unused."""
        return 0.0

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return 0.0

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p):
            return 1.0 - 2.0 * u

        @ti.func
        def pdf(cos_theta, p):
            return 0.07957747

        return sample, pdf


@phase_functions.register("hg", cases=[{"g": g} for g in (-0.6, 0.0, 1e-4, 0.9)])
class HenyeyGreenstein(Model):
    """Henyey & Greenstein 1941, Diffuse radiation in the galaxy. g: mean cosine, in (-1, 1)."""

    g: float = Field(0.0, gt=-1, lt=1, description="mean cosine")

    @property
    def parameter(self) -> float:
        """g."""
        return self.g

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return self.g

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, g):
            cos_theta = 1.0 - 2.0 * u
            # Below this, 1 + g² - q² cancels in single precision and g changes nothing that can be seen.
            if ti.abs(g) > 1e-3:
                q = (1.0 - g * g) / (1.0 + g - 2.0 * g * u)
                cos_theta = (1.0 + g * g - q * q) / (2.0 * g)
            return ti.math.clamp(cos_theta, -1.0, 1.0)

        @ti.func
        def pdf(cos_theta, g):
            q = 1.0 + g * g - 2.0 * g * cos_theta
            return 0.07957747 * (1.0 - g * g) / (q * ti.sqrt(q))

        return sample, pdf
