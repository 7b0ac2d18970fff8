"""Phase functions modelled on particles: Draine's, two special cases of it, and a fit to Mie scattering."""

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from endorender.scene.phase import PhaseFunction, henyey_greenstein, phase_functions

if TYPE_CHECKING:
    from jaxtyping import Float


@functools.cache
def draine() -> tuple[Any, Any]:
    """Taichi functions `cosine(u, g, alpha)` and `density(cos θ, g, alpha)`.

    The CDF is the root of a quartic (Jendersie & d'Eon 2023 give it in closed form). In single precision that closed
    form errs by 15 % of the CDF at g = 0.01, alpha = 250, and divides by zero at g = 0. The same quartic in
    e, with |x - x'| = 1 - g + 2 g e, has no 1 / g; its root is found by Newton's steps within a bracket, to 3e-6.
    """
    from endorender.engine import ti

    _, lobe = henyey_greenstein()

    @ti.func
    def cosine(u, g, alpha):
        share = alpha / (1.0 + alpha)
        back = 1.0 - g
        total = 1.0 - share + share * (1.0 + 2.0 * g * g) / 3.0
        # t: what Henyey-Greenstein's CDF would be, in which the density is but (1 + alpha cos²) / total.
        t, low, high = u, 0.0, 1.0
        e = 0.0
        for _ in range(24):
            e = t * back / ti.max(1.0 + g - 2.0 * g * t, 1e-9)
            quartic = e + share * back * e * e * (e * (4.0 / 3.0 * back + 2.0 / 3.0 * g * e) - 2.0)
            over = quartic * (1.0 + g) / (total * ti.max(back + 2.0 * g * e, 1e-9)) - u
            if over > 0.0:
                high = t
            else:
                low = t
            c = 1.0 - 2.0 * e * (back + g * e)
            step = over * total / ti.max(1.0 - share + share * c * c, 1e-6)
            before = t
            t -= step
            if t < low or t > high:
                t = 0.5 * (low + high)
            if ti.abs(t - before) < 2e-7:
                break
        e = t * back / ti.max(1.0 + g - 2.0 * g * t, 1e-9)
        return ti.math.clamp(1.0 - 2.0 * e * (back + g * e), -1.0, 1.0)

    @ti.func
    def density(cos_theta, g, alpha):
        return lobe(cos_theta, g) * (1.0 + alpha * cos_theta * cos_theta) / (1.0 + alpha * (1.0 + 2.0 * g * g) / 3.0)

    return cosine, density


def draine_mean(g: float, alpha: float) -> float:
    """Analytic mean cosine of Draine's phase function."""
    return g * (1 + alpha * (3 + 2 * g * g) / 5) / (1 + alpha * (1 + 2 * g * g) / 3)


@phase_functions.register(
    "draine",
    cases=[
        {"g": g, "alpha": a}
        for g, a in ((0.5, 1.0), (0.9, 0.5), (0.0, 1.0), (1e-4, 250.0), (-0.4, 30.0), (0.7, 0.0), (0.3, 1000.0))
    ],
)
class Draine(PhaseFunction):
    """Draine 2003, Scattering by interstellar dust grains I: Henyey-Greenstein times 1 + α cos² θ, normalised.

    α = 0: Henyey-Greenstein; g = 0, α = 1: Rayleigh; α = 1: Cornette-Shanks. g is the mean cosine for α = 0 alone.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("g", "alpha")
    FLOATS: ClassVar[int] = 2

    g: float = Field(0.5, gt=-1, lt=1, description="of the Henyey-Greenstein factor")
    alpha: float = Field(1.0, ge=0, le=1e4, description="weight of cos² θ")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        return draine_mean(self.g, self.alpha)

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        cosine, density = draine()

        @ti.func
        def sample(u, p, data: ti.template()):
            return cosine(u, p[0], p[1])

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return density(cos_theta, p[0], p[1])

        return sample, pdf


@phase_functions.register("cornette_shanks", cases=[{"g": g} for g in (-0.6, 0.0, 0.85, 0.98)])
class CornetteShanks(PhaseFunction):
    """Cornette & Shanks 1992, Physically reasonable analytic expression for the single-scattering phase function.

    3 (1 - g²) (1 + cos² θ) / (8π (2 + g²) (1 + g² - 2 g cos θ)^1.5), which is Draine's with α = 1. g is not the
    mean cosine.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("g",)

    g: float = Field(0.0, gt=-1, lt=1, description="shape; > 0 scatters forward")

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ: 3 g (4 + g²) / (5 (2 + g²))."""
        g = self.g
        return 3 * g * (4 + g * g) / (5 * (2 + g * g))

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        cosine, density = draine()

        @ti.func
        def sample(u, p, data: ti.template()):
            return cosine(u, p[0], 1.0)

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return density(cos_theta, p[0], 1.0)

        return sample, pdf


@phase_functions.register("hg_draine", cases=[{"d": d} for d in (0.02, 0.1, 0.5, 1.0, 1.5, 3.0, 5.0, 12.0, 50.0)])
class HGDraine(PhaseFunction):
    """Jendersie & d'Eon 2023, An approximate Mie scattering function for fog and cloud rendering.

    A Henyey-Greenstein and a Draine lobe whose parameters are functions of a water droplet's diameter, fitted to
    Mie theory in four ranges. The fit ends at 50 µm.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("d",)
    FLOATS: ClassVar[int] = 4

    d: float = Field(10.0, gt=0, le=50, description="droplet diameter, µm")

    @classmethod
    def derive(cls, *values: "Float[np.ndarray, ' N']") -> "tuple[Float[np.ndarray, ' N'], ...]":
        """Diameter, (N,) µm -> mean cosine of the HG lobe, g and α of the Draine lobe, weight of the Draine lobe."""
        (d,) = np.asarray(values, float)
        fits = (_tiny, _small, _middle, _large)
        # Each fit sees its own range only: outside it there are poles and logarithms of negative numbers.
        which = np.select([d <= 0.1, d < 1.5, d < 5], [0, 1, 2], 3)
        out = np.empty((4, *d.shape))
        for n, fit in enumerate(fits):
            at = which == n
            if at.any():
                for row, value in zip(out, fit(d[at])):
                    row[at] = value
        return tuple(out)

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        g_hg, g_d, alpha, w = self.parameters()
        return (1 - w) * g_hg + w * draine_mean(g_d, alpha)

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        cosine, density = draine()
        lobe_cosine, lobe_density = henyey_greenstein()

        @ti.func
        def sample(u, p, data: ti.template()):
            cos_theta = 0.0
            if u < p[3]:
                cos_theta = cosine(ti.min(u / p[3], 1.0), p[1], p[2])
            else:
                cos_theta = lobe_cosine(ti.min((u - p[3]) / ti.max(1.0 - p[3], 1e-12), 1.0), p[0])
            return cos_theta

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            return (1.0 - p[3]) * lobe_density(cos_theta, p[0]) + p[3] * density(cos_theta, p[1], p[2])

        return sample, pdf


# The fits of Jendersie & d'Eon 2023: eqs. 4-7 for 5 to 50 µm, their supplement below. d in µm.
Fit = tuple[Any, Any, Any, Any]


def _tiny(d: np.ndarray) -> Fit:
    """Up to 0.1 µm: nearly Rayleigh."""
    return 13.8 * d**2, 1.1456 * d * np.sin(9.29044 * d), 250.0, 0.252977 - 312.983 * d**4.3


def _small(d: np.ndarray) -> Fit:
    """0.1 to 1.5 µm."""
    x = np.log(d)
    bend = np.cos((x - 0.238604) * (x + 1.00667) / (0.507522 - 0.15677 * x))
    return (
        0.862 - 0.143 * x**2,
        0.379685 * np.cos(1.19692 * bend + 1.37932 * x + 0.0625835) + 0.344213,
        250.0,
        0.146209 * np.cos(3.38707 * x + 2.11193) + 0.316072 + 0.0778917 * x,
    )


def _middle(d: np.ndarray) -> Fit:
    """1.5 to 5 µm."""
    x = np.log(d)
    return (
        0.0604931 * np.log(x) + 0.940256,
        0.500411 - 0.081287 / (np.tan(x) - 2 * x + 1.27551),
        7.30354 * x + 6.31675,
        0.026914 * (x - np.cos(5.68947 * (np.log(x) - 0.0292149))) + 0.376475,
    )


def _large(d: np.ndarray) -> Fit:
    """5 to 50 µm: fog and cloud."""
    return (
        np.exp(-0.0990567 / (d - 1.67154)),
        np.exp(-2.20679 / (d + 3.91029) - 0.428934),
        np.exp(3.62489 - 8.29288 / (d + 5.52825)),
        np.exp(-0.599085 / (d - 0.641583) - 0.665888),
    )
