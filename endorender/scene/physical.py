"""Mucosa from physics: haemoglobin, bile, melanin, water and fat absorb, tissue scatters as its organ's does.

A band of the spectrum is not one wavelength. Haemoglobin's absorption changes a thousandfold between violet and red,
and averaging it over a band gives wrong colours: dark wavelengths would count as if they were seen. Here the diffuse
reflectance of a deep layer behind a refracting wall is computed at every wavelength, averaged as the eye would, and
turned back into the albedo that reflects as much under the renderer's own wall.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.halfspace import Wall, albedo_of, reflectance
from endorender.scene.phase import HenyeyGreenstein, phase_functions
from endorender.scene.tissue import RGB, Tissue, tissues

if TYPE_CHECKING:
    from jaxtyping import Float

BLOOD_HAEMOGLOBIN = 150 / 64_500  # mol per litre of whole blood: 150 g/l, 64,500 g/mol (Prahl)
DERIVED = (
    *("wall", "hu", "sigma_t", "albedo", "tint", "phase", "phase_parameters", "surface_parameters"),
    *("blood_albedo", "vessel_albedo"),
)
RICH = 2.5  # blood of the blood-rich patches over the mean (our choice)
VESSEL_BLOOD = 0.3  # of a drawn vessel: its walls and what lies between the finest ones take the rest (our choice)
XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


class Optics(NamedTuple):
    """sigma_t (3,) mm⁻¹ and albedo (3,) for red, green and blue; g: mean cosine of scattering."""

    sigma_t: Float[np.ndarray, " 3"]
    albedo: Float[np.ndarray, " 3"]
    g: float


@functools.cache
def spectra() -> dict[str, Float[np.ndarray, " N"]]:
    """Columns of spectra.csv, every 2 nm from 400 to 700 by interpolation of logarithms; `nm` among them.

    hbo2, hb, bilirubin: molar extinction in cm⁻¹ / (mol / l), base 10. water, fat: absorption in cm⁻¹, base e. Sources
    stand in the file.
    """
    text = resources.files("endorender.scene").joinpath("spectra.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = np.array([[float(x) for x in line.split(",")] for line in lines[1:]])
    nm = np.arange(400.0, 701.0, 2.0)
    fine = [np.exp(np.interp(nm, table[:, 0], np.log(np.maximum(column, 1e-5)))) for column in table[:, 1:].T]
    return dict(zip(lines[0].split(","), [nm, *fine]))


@functools.cache
def band_weights() -> Float[np.ndarray, "3 N"]:
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


# Reduced scattering a (λ / 500 nm)^-b: (a in mm⁻¹, b).
# colon: the power law through the two ends that Marchesini et al. give for ex vivo human colon, 14.2 cm⁻¹ at 300 nm and
# 6.2 at 800 (1994, Lasers Surg. Med. 15, 351, abstract). bronchus: the means of Jacques 2013 over soft tissues other
# than skin, brain, breast, bone and fat; Qu et al. (1994, Appl. Opt. 33, 7397) measured bronchial tissue from 400 to
# 700 nm, but their figures were not at hand.
ORGANS = {"colon": (0.922, 0.845), "bronchus": (1.89, 1.286)}


@tissues.register(
    "mucosa_physical",
    cases=[
        {},
        {"blood": 0.1, "saturation": 0.4, "similarity": False, "bile": 1e-4},
        {"chromatic": True},
        {"organ": "bronchus", "fat": 0.2, "water": 0.6},
        {"organ": "own", "scattering": 1.2, "power": 1.0},
    ],
)
class MucosaPhysical(Tissue):
    """Mucosa by its blood: haemoglobin (Prahl), and its organ: reduced scattering a (λ / 500 nm)^-b.

    Colours and extinction follow from the parameters and cannot be given. organ: `colon` (Marchesini et al. 1994),
    `bronchus` (no measurement at hand: the means over soft tissues of Jacques 2013), `own`: by scattering and power,
    which also replace an organ's. similarity: scattering is replaced by isotropic scattering with sigma_s (1 - g), the
    similarity relation; false keeps the true g and costs 1 / (1 - g) times as many scatterings.

    The albedo is that which reflects, under the scene's wall, what this tissue does behind a smooth wall of index ior
    (see `behind`).
    """

    organ: Literal["colon", "bronchus", "own"] = Field("colon", description="whose scattering: colon, bronchus, own")
    blood: float = Field(0.01, ge=0, le=1, description="volume fraction of whole blood")
    saturation: float = Field(0.75, ge=0, le=1, description="of its haemoglobin with oxygen")
    scattering: float | None = Field(
        None, gt=0, le=20, description="a: reduced scattering at 500 nm, mm⁻¹; none: the organ's"
    )
    power: float | None = Field(None, ge=0, le=4, description="b: its fall with wavelength; none: the organ's")
    g: float = Field(0.85, ge=0, lt=0.99, description="mean cosine of scattering")
    similarity: bool = Field(True, description="isotropic, with scattering reduced by 1 - g")
    chromatic: bool = Field(False, description="extinction of each band its own; else the mean of the three")
    bile: float = Field(0.0, ge=0, le=0.01, description="bilirubin, mol/l")
    melanin: float = Field(0.0, ge=0, le=0.5, description="volume fraction of melanosomes")
    water: float = Field(0.75, ge=0, le=1, description="volume fraction of water")
    fat: float = Field(0.0, ge=0, le=1, description="volume fraction of fat")

    wall: Wall = Field("straight", exclude=True, description="of the scene, which sets it")
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
    def _named(self) -> MucosaPhysical:
        if self.organ == "own" and (self.scattering is None or self.power is None):
            raise ValueError("organ own needs scattering and power")
        return self

    @model_validator(mode="after")
    def _derive(self) -> MucosaPhysical:
        return self._derived()

    def _derived(self) -> MucosaPhysical:
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

    def behind(self, wall: Wall) -> MucosaPhysical:
        """The same tissue for a scene of this wall: its albedo makes up for what the renderer's wall does otherwise.

        A copy whose albedo was replaced since, as by a fit, keeps it while the wall is the same.
        """
        if wall == self.wall:
            return self
        return self.model_copy(update={"wall": wall})._derived()

    def absorption(
        self, blood: float, bile: float, melanin: float, water: float = 0.0, fat: float = 0.0
    ) -> Float[np.ndarray, " N"]:
        """mm⁻¹ over `spectra()["nm"]`. melanin: interior of melanosomes, 6.6e11 λ^-3.33 cm⁻¹ (Jacques 1998)."""
        s = spectra()
        haemoglobin = self.saturation * s["hbo2"] + (1 - self.saturation) * s["hb"]
        dissolved = blood * BLOOD_HAEMOGLOBIN * haemoglobin + bile * s["bilirubin"]
        rest = melanin * 6.6e11 * s["nm"] ** -3.33 + water * s["water"] + fat * s["fat"]
        return np.asarray(0.1 * (np.log(10) * dissolved + rest))

    def reduced_scattering(self) -> Float[np.ndarray, " N"]:
        """mm⁻¹ over `spectra()["nm"]` (the shape of Jacques 2013, eq. 1)."""
        a, b = ORGANS.get(self.organ, (0.0, 0.0))
        a, b = (a if self.scattering is None else self.scattering), (b if self.power is None else self.power)
        return np.asarray(a * (spectra()["nm"] / 500) ** -b)

    def optics(self) -> Optics:
        """Of the three bands, with their own extinction; unless `chromatic`, `table` replaces it by its mean."""
        mus = self.reduced_scattering()
        mua = self.absorption(self.blood, self.bile, self.melanin, self.water, self.fat)
        weights = band_weights()
        seen = reflectance(mus / (mus + mua), "refracting", self.ior)
        # A saturated colour may leave the triangle of sRGB: then its weakest channel would be below 0.
        reflected = np.clip((weights * seen).sum(1), 1e-3, 0.998)
        reduced = albedo_of(reflected, self.wall, self.ior, self.specular)
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
