"""Models of optics as any package may bring them: fibrescope_lab registers them, and so does, one by one,
tests/render/test_from_outside.py."""

import functools
from types import SimpleNamespace

import numpy as np
from pydantic import Field

from endorender.render.integrators import Integrator
from endorender.scene import Pinhole
from endorender.scene.light import Aimed, Emitters, Kind, Placed, Profile, Round, across
from endorender.scene.phase import PhaseFunction
from endorender.scene.surface import Coat


class Linear(PhaseFunction):
    """(1 + b cos θ) / 4π."""

    PARAMETERS = ("b",)
    b: float = Field(0.3, ge=-1, le=1, description="slope")

    @staticmethod
    @functools.cache
    def device():
        """Sampling and density."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p, data: ti.template()):
            b = ti.select(ti.abs(p[0]) < 1e-3, 1e-3, p[0])
            return (ti.sqrt((1.0 - b) * (1.0 - b) + 4.0 * b * u) - 1.0) / b

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return 0.07957747 * (1.0 + p[0] * cos_theta)

        return sample, pdf


class Pair(Placed):
    """Two points of light side by side."""

    apart: float = Field(2.0, gt=0, description="distance, mm")

    def emitters(self, world_from_camera):
        """Both, white."""
        rotation, at = self._at(world_from_camera)
        places = at + np.array([[-0.5, 0, 0], [0.5, 0, 0]]) * self.apart @ rotation.T
        return Emitters(Kind.POINT, places, np.zeros((2, 3)), np.full((2, 3), 50.0))


class Power(Profile):
    """cosⁿ."""

    n: float

    def table(self):
        """The exponent."""
        return np.array([self.n])

    def shine(self, cos):
        """On the host."""
        return cos**self.n

    @staticmethod
    @functools.cache
    def device():
        """On the device."""
        from endorender.engine import ti

        @ti.func
        def shine(emitters: ti.template(), e, first, cos):
            return ti.pow(cos, emitters[e, first])

        return shine


class Beacon(Aimed):
    """A point or a disk of light that falls off by a power of the cosine."""

    power: float = Field(2.0, ge=0, description="of the cosine")
    radius: float = Field(0.0, ge=0, description="mm; 0 is a point")

    def emitters(self, world_from_camera):
        """One row."""
        rotation, at = self._at(world_from_camera)
        half = self.radius * across(self._axis())[None] @ rotation.T if self.radius else None
        return Emitters(
            Kind.AREA if self.radius else Kind.SPOT,
            at,
            (rotation @ self._axis())[None],
            self._lit(),
            half,
            shape=Round if self.radius else None,
            profile=Power(n=self.power),
        )


class Overhead(Pinhole):
    """A pinhole whose picture stands on its head."""

    def unproject(self, uv):
        """See Camera."""
        return super().unproject(uv) * (-1, -1, 1)

    def project(self, points):
        """See Camera."""
        return super().project(points * (-1, -1, 1))

    @staticmethod
    @functools.cache
    def device():
        """The ray of a pixel."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            return ti.math.vec3(-(u - p[2]) / p[0], -(v - p[3]) / p[1], 1.0).normalized()

        return ray


class Matte(Coat):
    """Of the tissue's `specular` share of the light it scatters all evenly, and nothing mirrors."""

    @staticmethod
    @functools.cache
    def device():
        """By Lambert's law."""
        from endorender.engine import ti
        from endorender.render.device import sampling

        @ti.func
        def albedo(table: ti.template(), cos, here):
            return here[1]

        @ti.func
        def sample(table: ti.template(), wi, n, here, u):
            return sampling.around(n, ti.sqrt(1.0 - u[0]), u[1])

        @ti.func
        def pdf(table: ti.template(), wi, wo, n, here):
            return ti.max(n.dot(wo), 0.0) / 3.14159265

        @ti.func
        def evaluate(table: ti.template(), wi, wo, n, here):
            return ti.math.vec2(here[1] * ti.max(n.dot(wo), 0.0) / 3.14159265, 0.0)

        return SimpleNamespace(albedo=albedo, sample=sample, pdf=pdf, eval=evaluate)


class Fog(Integrator):
    """The same light everywhere."""

    light: float = 0.5

    def trace(self, scenes, spp, seed, frame=0, progress=None):
        """See Integrator."""
        from endorender.render import Radiance

        shape = (scenes[0].camera.height, scenes[0].camera.width, 3)
        return [Radiance(np.full(shape, self.light, np.float32), np.zeros(shape, np.float32), spp)]
