"""Mucosa from physics: haemoglobin, bile and melanin absorb, tissue scatters after Jacques 2013.

A band of the spectrum is not one wavelength. Haemoglobin's absorption changes a thousandfold between violet and red,
and averaging it over a band gives wrong colours: dark wavelengths would count as if they were seen. Here the diffuse
reflectance of a deep layer is computed at every wavelength, averaged as the eye would, and turned back into the
albedo that reflects as much.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.phase import HenyeyGreenstein, phase_functions
from endorender.scene.tissue import RGB, Tissue, tissues

BLOOD_HAEMOGLOBIN = 150 / 64_500  # mol per litre of whole blood: 150 g/l, 64,500 g/mol (Prahl)
DERIVED = (
    *("hu", "sigma_t", "albedo", "tint", "phase", "phase_parameters", "surface_parameters"),
    *("blood_albedo", "vessel_albedo"),
)
RICH = 2.5  # blood of the blood-rich patches over the mean (our choice)
VESSEL_BLOOD = 0.3  # of a drawn vessel: its walls and what lies between the finest ones take the rest (our choice)
XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


class Optics(NamedTuple):
    """sigma_t (3,) mm⁻¹ and albedo (3,) for red, green and blue; g: mean cosine of scattering."""

    sigma_t: np.ndarray
    albedo: np.ndarray
    g: float


@functools.cache
def spectra() -> dict[str, np.ndarray]:
    """Columns of spectra.csv, every 2 nm from 400 to 700 by interpolation of logarithms; `nm` among them.

    hbo2, hb, bilirubin: molar extinction in cm⁻¹ / (mol / l), base 10. Sources stand in the file.
    """
    text = resources.files("endorender.scene").joinpath("spectra.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = np.array([[float(x) for x in line.split(",")] for line in lines[1:]])
    nm = np.arange(400.0, 701.0, 2.0)
    fine = [np.exp(np.interp(nm, table[:, 0], np.log(np.maximum(column, 1e-3)))) for column in table[:, 1:].T]
    return dict(zip(lines[0].split(","), [nm, *fine]))


@functools.cache
def band_weights() -> np.ndarray:
    """(3, N) weights over `spectra()["nm"]` that turn a reflectance spectrum into linear sRGB; each sums to 1.

    CIE 1931 colour matching functions in the fit of Wyman, Sloan, Shirley 2013 (JCGT 2, 2), equal-energy light
    balanced to white. Weights are negative where a primary has to be subtracted.
    """
    nm = spectra()["nm"]

    def lobe(height: float, centre: float, left: float, right: float) -> np.ndarray:
        return np.asarray(height * np.exp(-0.5 * ((nm - centre) / np.where(nm < centre, left, right)) ** 2))

    x = lobe(1.056, 599.8, 37.9, 31.0) + lobe(0.362, 442.0, 16.0, 26.7) + lobe(-0.065, 501.1, 20.4, 26.2)
    y = lobe(0.821, 568.8, 46.9, 40.5) + lobe(0.286, 530.9, 16.3, 31.1)
    z = lobe(1.217, 437.0, 11.8, 36.0) + lobe(0.681, 459.0, 26.0, 13.8)
    rgb = XYZ_TO_SRGB @ np.stack([x, y, z])
    return np.asarray(rgb / rgb.sum(1, keepdims=True))


@functools.cache
def _half_space() -> tuple[np.ndarray, np.ndarray]:
    """(albedo, reflectance), both rising, of a matched half space with isotropic scattering, light straight down.

    R_d = 1 - sqrt(1 - a) H(1) with Chandrasekhar's H-function (Radiative Transfer, 1960), by iteration.
    """
    mu, weight = np.polynomial.legendre.leggauss(32)
    mu, weight = 0.5 * (mu + 1), 0.5 * weight
    root = np.linspace(1, 0.002, 500)[:, None]  # sqrt(1 - albedo)
    albedo = 1 - root**2
    h = np.ones((len(root), len(mu)))
    kernel = weight * mu / (mu[:, None] + mu)
    for _ in range(400):
        h = 0.5 * h + 0.5 / (root + 0.5 * albedo * (h @ kernel.T))
    top = 1 / (root[:, 0] + 0.5 * albedo[:, 0] * (h @ (weight * mu / (1 + mu))))
    return albedo[:, 0], 1 - root[:, 0] * top


def reflectance(albedo: np.ndarray) -> np.ndarray:
    """Diffuse reflectance of a deep layer of (reduced) albedo; see `_half_space`."""
    a, r = _half_space()
    return np.asarray(np.interp(albedo, a, r))


def albedo_of(reflected: np.ndarray) -> np.ndarray:
    """Inverse of `reflectance`."""
    a, r = _half_space()
    return np.asarray(np.interp(reflected, r, a))


@tissues.register(
    "mucosa_physical",
    cases=[{}, {"blood": 0.1, "saturation": 0.4, "similarity": False, "bile": 1e-4}, {"chromatic": True}],
)
class MucosaPhysical(Tissue):
    """Mucosa by its blood: haemoglobin (Prahl), reduced scattering a (λ / 500 nm)^-b (Jacques 2013).

    a and b default to his means over soft tissues other than skin, brain, breast, bone and fat. Colours and
    extinction follow from the parameters and cannot be given. Fat is left out: no table of it was at hand.
    similarity: scattering is replaced by isotropic scattering with sigma_s (1 - g), the similarity relation; false
    keeps the true g and costs 1 / (1 - g) times as many scatterings.
    """

    blood: float = Field(0.03, ge=0, le=1, description="volume fraction of whole blood")
    saturation: float = Field(0.75, ge=0, le=1, description="of its haemoglobin with oxygen")
    scattering: float = Field(1.89, gt=0, le=20, description="a: reduced scattering at 500 nm, mm⁻¹")
    power: float = Field(1.286, ge=0, le=4, description="b: its fall with wavelength")
    g: float = Field(0.85, ge=0, lt=0.99, description="mean cosine of scattering")
    similarity: bool = Field(True, description="isotropic, with scattering reduced by 1 - g")
    chromatic: bool = Field(False, description="extinction of each band its own; else the mean of the three")
    bile: float = Field(0.0, ge=0, le=0.01, description="bilirubin, mol/l")
    melanin: float = Field(0.0, ge=0, le=0.5, description="volume fraction of melanosomes")

    hu: tuple[float, ...] = Field((0.0,), exclude=True)
    sigma_t: tuple[float, ...] = Field((0.0,), exclude=True)
    albedo: tuple[RGB, ...] = Field(((0.0, 0.0, 0.0),), exclude=True)
    phase: phase_functions.field() = Field(HenyeyGreenstein(), exclude=True)  # type: ignore[valid-type]
    phase_parameters: dict[str, tuple[float, ...]] = Field({}, exclude=True)
    surface_parameters: dict[str, tuple[float, ...]] = Field({}, exclude=True)
    tint: tuple[RGB, ...] | None = Field(None, exclude=True)
    blood_albedo: RGB = Field((0.0, 0.0, 0.0), exclude=True)
    vessel_albedo: RGB = Field((0.0, 0.0, 0.0), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_derived(cls, values: Any) -> Any:
        given = [name for name in DERIVED if isinstance(values, Mapping) and name in values]
        if given:
            raise ValueError(f"{given[0]} follows from blood, scattering and g, or does not vary: it cannot be given")
        return values

    @model_validator(mode="after")
    def _derive(self) -> MucosaPhysical:
        optics = self.optics()
        rich = self.model_copy(update={"blood": min(1.0, RICH * self.blood)}).optics()
        mus, mua = self.reduced_scattering(), self.absorption(max(VESSEL_BLOOD, self.blood), 0.0, 0.0)
        positive = np.maximum(band_weights(), 0)
        inside = (positive * (mus / (mus + mua))).sum(1) / positive.sum(1)
        for name, value in {
            "sigma_t": (round(float(optics.sigma_t.max() if self.chromatic else optics.sigma_t.mean()), 6),),
            "tint": (_rgb(optics.sigma_t / optics.sigma_t.max()),) if self.chromatic else None,
            "albedo": (_rgb(optics.albedo),),
            "phase": HenyeyGreenstein(g=optics.g),
            "blood_albedo": _rgb(rich.albedo),
            "vessel_albedo": _rgb(self._full(inside)),
        }.items():
            object.__setattr__(self, name, value)
        return self

    def absorption(self, blood: float, bile: float, melanin: float) -> np.ndarray:
        """mm⁻¹ over `spectra()["nm"]`. melanin: interior of melanosomes, 6.6e11 λ^-3.33 cm⁻¹ (Jacques 1998)."""
        s = spectra()
        haemoglobin = self.saturation * s["hbo2"] + (1 - self.saturation) * s["hb"]
        dissolved = blood * BLOOD_HAEMOGLOBIN * haemoglobin + bile * s["bilirubin"]
        return np.asarray(0.1 * (np.log(10) * dissolved + melanin * 6.6e11 * s["nm"] ** -3.33))

    def reduced_scattering(self) -> np.ndarray:
        """mm⁻¹ over `spectra()["nm"]` (Jacques 2013, eq. 1)."""
        return np.asarray(self.scattering * (spectra()["nm"] / 500) ** -self.power)

    def optics(self) -> Optics:
        """Of the three bands, with their own extinction; unless `chromatic`, `table` replaces it by its mean."""
        mus = self.reduced_scattering()
        mua = self.absorption(self.blood, self.bile, self.melanin)
        weights = band_weights()
        # A saturated colour may leave the triangle of sRGB: then its weakest channel would be below 0.
        reflected = np.clip((weights * reflectance(mus / (mus + mua))).sum(1), 1e-3, 0.998)
        reduced = albedo_of(reflected)
        positive = np.maximum(weights, 0)
        band = (positive * mus).sum(1) / positive.sum(1)
        sigma_t = band / reduced
        if self.similarity:
            return Optics(sigma_t, reduced, 0.0)
        return Optics(band / (1 - self.g) + sigma_t - band, self._full(reduced), self.g)

    def _full(self, reduced: np.ndarray) -> np.ndarray:
        """The albedo that the similarity relation reduces to the given one."""
        return reduced if self.similarity else np.asarray(reduced / (1 - self.g + self.g * reduced))

    def shares_paths(self, other: Tissue) -> bool:
        """Whether both scatter light along the same paths: they differ in colour at most."""
        colours = ("albedo", "blood_albedo", "vessel_albedo", "hu", "sigma_t", "phase_parameters")
        return np.array_equal(self.table()[:, :-3], other.table()[:, :-3]) and all(
            getattr(self, name) == getattr(other, name) for name in Tissue.model_fields if name not in colours
        )


def _rgb(values: np.ndarray) -> RGB:
    r, g, b = (round(float(v), 6) for v in values)
    return r, g, b
