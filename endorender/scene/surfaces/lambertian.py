"""An opaque, matte wall (Lambert 1760), with bumps if wanted (Blinn 1978, Simulation of Wrinkled Surfaces).

The bumps are a sum of waves in space with random directions and phases (Longuet-Higgins 1957): any wall has them
without a parametrisation, and their slope is known in closed form. Only the normal follows them: depth does not.
"""

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from endorender.scene.surface import Coat, coats

if TYPE_CHECKING:
    from jaxtyping import Float32

WAVES = 24


@coats.register("lambertian", cases=[{}, {"bumps": 0.3}])
class Lambertian(Coat):
    """Opaque matte wall (Lambert) that reflects as much as deep tissue would. Bumps tilt the normal, not depth."""

    role: ClassVar[Literal["film", "cover", "border"]] = "cover"

    bumps: float = Field(0.0, ge=0, le=1, description="slope of the bumps, root mean square")
    pitch: float = Field(1.5, ge=0.05, le=100, description="from bump to bump, mm")
    seed: int = Field(0, ge=0, description="of where they are")

    def data(self) -> "Float32[np.ndarray, '24 5 1']":
        """(24, 5, 1): of each wave its wave vector, mm⁻¹, the size of its slope, and its phase."""
        rng = np.random.default_rng(self.seed)
        along = rng.normal(size=(WAVES, 3))
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        length = 2 * np.pi / self.pitch * rng.uniform(0.7, 1.4, (WAVES, 1))
        # On a plane 2/3 of a wave's squared slope is left, on average over directions, and half over its phase.
        size = np.full((WAVES, 1), self.bumps * np.sqrt(3 / WAVES))
        rows = np.concatenate([along * length, size, rng.uniform(0, 2 * np.pi, (WAVES, 1))], 1)
        return np.ascontiguousarray(rows[..., None], np.float32)

    @staticmethod
    @functools.cache
    def device() -> SimpleNamespace:
        """See Coat."""
        from endorender.engine import ti
        from endorender.scene.surface import device as microfacets

        vec2, vec3 = ti.math.vec2, ti.math.vec3
        to_world = microfacets().to_world

        @ti.func
        def albedo(table: ti.template(), cos, here):
            return 1.0

        @ti.func
        def sample(table: ti.template(), wi, n, here, u):
            r, phi = ti.sqrt(u[0]), 6.28318531 * u[1]
            return to_world(n, vec3(r * ti.cos(phi), r * ti.sin(phi), ti.sqrt(1.0 - u[0])))

        @ti.func
        def pdf(table: ti.template(), wi, wo, n, here):
            return ti.max(n.dot(wo), 0.0) / 3.14159265

        @ti.func
        def evaluate(table: ti.template(), wi, wo, n, here):
            return vec2(0.0, ti.max(n.dot(wo), 0.0) / 3.14159265)

        @ti.func
        def normal(table: ti.template(), x, n):
            slope = vec3(0.0)
            if table[0, 3, 0] > 0.0:
                for k in range(ti.static(WAVES)):
                    along = vec3(table[k, 0, 0], table[k, 1, 0], table[k, 2, 0])
                    slope += table[k, 3, 0] * ti.cos(along.dot(x) + table[k, 4, 0]) * along.normalized()
                slope -= n * n.dot(slope)
            return (n - slope).normalized()

        return SimpleNamespace(albedo=albedo, sample=sample, pdf=pdf, eval=evaluate, normal=normal)
