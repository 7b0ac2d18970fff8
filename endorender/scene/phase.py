"""Phase functions: how a collision turns light. cos θ is between propagation directions, forward = +1.

Each class gives `device()`, a pair of Taichi functions: `sample(u, p, data) -> cos θ` and, directly below,
`pdf(cos θ, p, data)` per steradian. p holds the FLOATS numbers that describe a voxel; a tissue may let those in
PARAMETERS vary along HU. data is the array of `data()`, for models that are a table.

Everything on the device is single precision. A forward peak lives where 1 - cos θ is tiny, so samplers find 1 - cos θ
and densities take it as (1 - g)² + 2 g (1 - cos θ), never as 1 + g² - 2 g cos θ.
"""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64

phase_functions = Registry("phase")
MOST_FLOATS = 5  # that describe a voxel to the device functions of any model


class PhaseFunction(Model):
    """What every phase function has beside its device functions.

    PARAMETERS: names of the parameters that may vary from voxel to voxel. FLOATS: how many numbers the device
    functions take; derived on the host, at each HU of the renderer's table.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ()
    FLOATS: ClassVar[int] = 1

    @classmethod
    def derive(cls, *values: "Float[np.ndarray, ' N']") -> "tuple[Float[np.ndarray, ' N'], ...]":
        """PARAMETERS, (N,) each -> FLOATS numbers of the device functions, (N,) each."""
        return values

    def along(
        self, n: int, varying: "Mapping[str, Float[np.ndarray, ' {n}']]"
    ) -> "Float64[np.ndarray, '{n} {self.FLOATS}']":
        """(n, FLOATS) float64: the device's numbers where some PARAMETERS, (n,) each, vary and the others hold."""
        if not self.PARAMETERS:
            return np.zeros((n, self.FLOATS))
        return np.stack(
            self.derive(*(np.broadcast_to(varying.get(p, getattr(self, p)), (n,)) for p in self.PARAMETERS)), -1
        )

    def parameters(self) -> tuple[float, ...]:
        """The FLOATS numbers of a medium in which nothing varies."""
        return tuple(map(float, self.along(1, {})[0]))

    def data(self) -> "Float32[np.ndarray, 'N M']":
        """(N, M) float32 table for the device functions; (1, 1) where there is none."""
        return np.zeros((1, 1), np.float32)


@phase_functions.register("isotropic")
class Isotropic(PhaseFunction):
    """The same in every direction: 1 / 4π."""

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return 0.0

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p, data: ti.template()):
            return 1.0 - 2.0 * u

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return 0.07957747

        return sample, pdf


@phase_functions.register("rayleigh")
class Rayleigh(PhaseFunction):
    """Rayleigh 1871, particles far smaller than the wavelength, unpolarised: 3 (1 + cos² θ) / 16π.

    Sampled by the real root of the CDF's cubic (Frisvad 2011, Importance sampling the Rayleigh phase function).
    """

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return 0.0

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p, data: ti.template()):
            # cos³ θ + 3 cos θ = 2 z. The root for |z|, so that nothing cancels, then its sign.
            z = 2.0 - 4.0 * u
            a = ti.pow(ti.abs(z) + ti.sqrt(z * z + 1.0), 1.0 / 3.0)
            cos_theta = ti.min(a - 1.0 / a, 1.0)
            return ti.select(z < 0.0, -cos_theta, cos_theta)

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return 0.05968310 * (1.0 + cos_theta * cos_theta)

        return sample, pdf


@functools.cache
def henyey_greenstein() -> tuple[Any, Any]:
    """Taichi functions `cosine(u, g)` and `density(cos θ, g)` of one Henyey-Greenstein lobe."""
    from endorender.engine import ti

    @ti.func
    def cosine(u, g):
        # With |x - x'| = 1 - g + 2 g e the inverse CDF is rational in e and needs no case for g = 0.
        e = u * (1.0 - g) / ti.max(1.0 + g - 2.0 * g * u, 1e-9)
        return ti.math.clamp(1.0 - 2.0 * e * (1.0 - g + g * e), -1.0, 1.0)

    @ti.func
    def density(cos_theta, g):
        a = ti.abs(g)
        q = (1.0 - a) * (1.0 - a) + 2.0 * a * (1.0 - ti.select(g < 0.0, -cos_theta, cos_theta))
        q = ti.max(q, 1e-15)  # the cosine of two unit vectors may round to more than 1
        return 0.07957747 * (1.0 - a) * (1.0 + a) / (q * ti.sqrt(q))

    return cosine, density


@phase_functions.register("hg", cases=[{"g": g} for g in (-0.6, 0.0, 1e-4, 0.9, 0.99)])
class HenyeyGreenstein(PhaseFunction):
    """Henyey & Greenstein 1941, Diffuse radiation in the galaxy. g: mean cosine, in (-1, 1)."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("g",)

    g: float = Field(0.0, gt=-1, lt=1, description="mean cosine")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return self.g

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        cosine, density = henyey_greenstein()

        @ti.func
        def sample(u, p, data: ti.template()):
            return cosine(u, p[0])

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return density(cos_theta, p[0])

        return sample, pdf


@phase_functions.register(
    "double_hg", cases=[{}, {"g1": 0.95, "g2": -0.5, "w": 0.7}, {"g1": 0.4, "w": 0.0}, {"g1": 0.8, "w": 1.0}]
)
class DoubleHenyeyGreenstein(PhaseFunction):
    """Two Henyey-Greenstein lobes, w of the first and 1 - w of the second (Kattawar 1975). The defaults are ours."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("g1", "g2", "w")
    FLOATS: ClassVar[int] = 3

    g1: float = Field(0.9, gt=-1, lt=1, description="mean cosine of the first lobe")
    g2: float = Field(-0.2, gt=-1, lt=1, description="mean cosine of the second lobe")
    w: float = Field(0.9, ge=0, le=1, description="share of the first lobe")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return self.w * self.g1 + (1 - self.w) * self.g2

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        cosine, density = henyey_greenstein()

        @ti.func
        def sample(u, p, data: ti.template()):
            # One number chooses the lobe and, stretched, the angle.
            first = u < p[2]
            v = ti.select(first, u / ti.max(p[2], 1e-12), (u - p[2]) / ti.max(1.0 - p[2], 1e-12))
            return cosine(ti.math.clamp(v, 0.0, 1.0), ti.select(first, p[0], p[1]))

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return p[2] * density(cos_theta, p[0]) + (1.0 - p[2]) * density(cos_theta, p[1])

        return sample, pdf


@phase_functions.register("schlick", cases=[{"k": k} for k in (-0.7, 0.0, 1e-3, 0.5, 0.98)])
class Schlick(PhaseFunction):
    """Blasi, Le Saëc, Schlick 1993, A rendering algorithm for discrete volume density objects.

    (1 - k²) / (4π (1 - k cos θ)²), with k > 0 forward: near Henyey-Greenstein, without a square root. Its mean
    cosine is not k.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("k",)

    k: float = Field(0.0, gt=-1, lt=1, description="shape; > 0 scatters forward")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ: (1 - (1 - k²) artanh(k) / k) / k."""
        k = self.k
        if abs(k) < 1e-2:
            return k * (2 / 3 + k * k * 2 / 15)
        return (1 - (1 - k * k) * math.atanh(k) / k) / k

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p, data: ti.template()):
            away = 2.0 * u * (1.0 - p[0]) / ti.max(1.0 + p[0] - 2.0 * p[0] * u, 1e-9)
            return ti.math.clamp(1.0 - away, -1.0, 1.0)

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            a = ti.abs(p[0])
            q = (1.0 - a) + a * (1.0 - ti.select(p[0] < 0.0, -cos_theta, cos_theta))
            q = ti.max(q, 1e-9)  # the cosine of two unit vectors may round to more than 1
            return 0.07957747 * (1.0 - a) * (1.0 + a) / (q * q)

        return sample, pdf


@phase_functions.register("von_mises_fisher", cases=[{"kappa": k} for k in (0.0, 1e-4, 0.04, 1.0, 9.0, 100.0, 1e4)])
class VonMisesFisher(PhaseFunction):
    """Fisher 1953, Dispersion on a sphere: κ exp(κ (cos θ - 1)) / (2π (1 - exp(-2κ))).

    In the logarithmic form of Jakob 2012, Numerically stable sampling of the von Mises-Fisher distribution on S².
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("kappa",)

    kappa: float = Field(0.0, ge=0, le=1e4, description="concentration around forward; 0 is isotropic")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ: coth κ - 1 / κ."""
        k = self.kappa
        return k / 3 - k**3 / 45 if k < 1e-2 else 1 / math.tanh(k) - 1 / k

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def spread(k):
            """(1 - exp(-2κ)) / κ, by its series where the difference would cancel."""
            r = 2.0 - k * (2.0 - k * (4.0 / 3.0 - k * (2.0 / 3.0 - k * (4.0 / 15.0 - k * (4.0 / 45.0)))))
            if k > 0.1:
                r = (1.0 - ti.exp(-2.0 * k)) / k
            return r

        @ti.func
        def sample(u, p, data: ti.template()):
            k = p[0]
            t = u * spread(k)
            x = ti.min(t * k, 1.0 - 5.9604645e-08)
            # 1 - cos θ = -log(1 - x) / κ
            away = t * (1.0 + x * (1 / 2 + x * (1 / 3 + x * (1 / 4 + x * (1 / 5 + x * (1 / 6 + x / 7))))))
            if x > 0.1:
                away = -ti.log(1.0 - x) / k
            return ti.math.clamp(1.0 - away, -1.0, 1.0)

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return 0.15915494 * ti.exp(-p[0] * (1.0 - cos_theta)) / spread(p[0])

        return sample, pdf
