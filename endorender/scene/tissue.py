"""Tissue: Hounsfield units -> optics, as piecewise-linear control points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from endorender.registry import Model, Registry, one_line
from endorender.scene.halfspace import Wall
from endorender.scene.phase import HenyeyGreenstein, phase_functions

if TYPE_CHECKING:
    from jaxtyping import Float32, Real

tissues = Registry("tissue")
COAT = ("roughness", "specular", "ior")  # what surface_parameters may name, in the order of `Tissue.coats`
TABLE_HU = np.linspace(-1024.0, 3072.0, 1025)  # HU at which the renderer tabulates a tissue: every 4

RGB = tuple[float, float, float]


@tissues.register(
    "custom",
    cases=[
        {"sigma_t": [3.0], "hu": [0], "albedo": [[0.9, 0.8, 0.7]]},
        {
            "gradient": [0, 200, 500],
            "gradient_opacity": [0.2, 0.5, 1],
            "surface_parameters": {"roughness": [0.5, 0.3, 0.1, 0.05], "ior": [1.2, 1.3, 1.4, 1.5]},
        },
    ],
)
class Tissue(Model):
    """Optics by control points over HU (the shape that 3D Slicer and VTK users know).

    Below the first and above the last control point the end value holds. In the `interface` mode HU just inside
    the wall are lifted to `wall_hu`, so that the scanner's blur between air and tissue does not render as fog; what
    the coat is like at the wall is read there too. The gradient's length is that of the HU as measured, never lifted.
    """

    hu: tuple[float, ...] = Field((-800.0, -300.0, 150.0, 500.0), min_length=1, description="control points, HU")
    sigma_t: tuple[float, ...] = Field((0.0, 3.0, 3.0, 3.0), description="extinction, mm⁻¹")
    tint: tuple[RGB, ...] | None = Field(
        None, description="extinction of red, green, blue over sigma_t, each 0..1; none: grey"
    )
    albedo: tuple[RGB, ...] = Field(
        ((0.955, 0.9, 0.77),) * 3 + ((0.93, 0.9, 0.82),), description="single-scattering, linear RGB"
    )
    phase: phase_functions.field() = HenyeyGreenstein()  # type: ignore[valid-type]
    phase_parameters: dict[str, tuple[float, ...]] = Field(
        {}, description="{name: values at the control points}: parameters of the phase that vary along HU"
    )
    blood_albedo: RGB = Field((0.94, 0.82, 0.62), description="of blood-rich mucosa (mucosa layer)")
    vessel_albedo: RGB = Field((0.88, 0.5, 0.28), description="inside vessels (mucosa layer)")
    similarity_after: int | None = Field(
        None,
        ge=0,
        description="scatterings after which all are isotropic, 1 - a g as dense (approximate); none: exact",
    )
    wall_hu: float = Field(40.0, description="HU to which the wall's ramp is lifted (interface)")
    ior: float = Field(1.4, ge=1, le=3, description="of the wet coat")
    roughness: float = Field(0.06, ge=0.02, le=1, description="GGX α of the coat")
    specular: float = Field(0.7, ge=0, le=1, description="weight of the coat's reflection")
    surface_weight: float = Field(0.5, ge=0, le=1, description="s of the hybrid rule")
    surface_parameters: dict[str, tuple[float, ...]] = Field(
        {}, description="{name: values at the control points}: roughness, specular, ior that vary along HU"
    )
    gradient: tuple[float, ...] | None = Field(
        None, description="control points of gradient_opacity: length of the gradient, HU/mm"
    )
    gradient_opacity: tuple[float, ...] | None = Field(
        None, description="factor on sigma_t at these, 0..1; none: extinction does not depend on the gradient"
    )
    gradient_scale: float = Field(1000.0, gt=0, description="G of the hybrid rule, HU/mm")

    @model_validator(mode="after")
    def _consistent(self) -> Tissue:
        n = len(self.hu)
        varying = {f"phase_parameters.{name}": values for name, values in self.phase_parameters.items()}
        varying |= {f"surface_parameters.{name}": values for name, values in self.surface_parameters.items()}
        for name, values in {"sigma_t": self.sigma_t, "albedo": self.albedo, "tint": self.tint, **varying}.items():
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} entries for {n} control points of hu")
        if (np.diff(self.hu) <= 0).any():
            raise ValueError("hu must increase")
        if min(self.sigma_t) < 0:
            raise ValueError("sigma_t must be >= 0")
        for name, colours in (
            ("albedo", self.albedo),
            ("blood_albedo", [self.blood_albedo]),
            ("vessel_albedo", [self.vessel_albedo]),
        ):
            if not all(0 <= a <= 1 for rgb in colours for a in rgb):
                raise ValueError(f"{name} must be in [0, 1]")
        if not all(0 <= a <= 1 for rgb in self.tint or () for a in rgb):
            raise ValueError("tint must be in [0, 1]: sigma_t is that of the densest channel")
        self._refuse_phase_parameters()
        self._refuse_surface_parameters()
        self._refuse_gradient()
        return self

    def _refuse_phase_parameters(self) -> None:
        """The phase function knows its names and bounds. Between control points in bounds values are in bounds."""
        cls = type(self.phase)
        if unknown := set(self.phase_parameters) - set(cls.PARAMETERS):
            name, can = phase_functions.name_of(cls), ", ".join(cls.PARAMETERS) or "nothing"
            raise ValueError(f"phase_parameters: {min(unknown)} does not vary; of the phase {name} can: {can}")
        fixed = self.phase.model_dump()
        for values in zip(*self.phase_parameters.values()):
            try:
                cls(**{**fixed, **dict(zip(self.phase_parameters, values))})
            except ValidationError as error:
                raise ValueError(f"phase_parameters: {one_line(error)}") from None

    def _refuse_surface_parameters(self) -> None:
        """Each value must be one that the parameter could have alone."""
        if unknown := set(self.surface_parameters) - set(COAT):
            raise ValueError(f"surface_parameters: {min(unknown)} does not vary; can: {', '.join(COAT)}")
        for name, values in self.surface_parameters.items():
            one = TypeAdapter(Annotated[float, type(self).model_fields[name]])
            for value in values:
                try:
                    one.validate_python(value)
                except ValidationError as error:
                    raise ValueError(f"surface_parameters: {name}: {one_line(error)}, got {value}") from None

    def _refuse_gradient(self) -> None:
        if (self.gradient is None) != (self.gradient_opacity is None):
            raise ValueError("gradient and gradient_opacity need each other")
        if self.gradient is None or self.gradient_opacity is None:
            return
        if len(self.gradient) != len(self.gradient_opacity) or not self.gradient:
            raise ValueError(
                f"gradient_opacity has {len(self.gradient_opacity)} entries for {len(self.gradient)} points of gradient"
            )
        if self.gradient[0] < 0 or (np.diff(self.gradient) <= 0).any():
            raise ValueError("gradient must be >= 0 and increase")
        if not all(0 <= a <= 1 for a in self.gradient_opacity):
            raise ValueError("gradient_opacity must be in [0, 1]: sigma_t is that of the densest gradient")

    def __hash__(self) -> int:
        # Tissues key caches, and a dict has no hash. Equal tissues have equal parts, which is all a hash needs.
        return hash((type(self), self.hu, self.sigma_t, self.wall_hu))

    def table(self, hu: Real[np.ndarray, " N"] = TABLE_HU) -> Float32[np.ndarray, "N columns"]:
        """(N,) HU -> (N, 1 + FLOATS + 3): sigma_t in mm⁻¹, what describes the phase function, albedo RGB.

        Parameters of the phase are interpolated as users know them, then turned into the device's numbers.
        """

        def along(values: Any) -> np.ndarray:
            return np.interp(hu, self.hu, values)

        phase = self.phase.along(len(hu), {name: along(v) for name, v in self.phase_parameters.items()})
        albedo = [along(band) for band in zip(*self.albedo)]
        return np.column_stack([along(self.sigma_t), phase, *albedo]).astype(np.float32)

    def tints(self, hu: Real[np.ndarray, " N"] = TABLE_HU) -> Float32[np.ndarray, "N 3"]:
        """(N,) HU -> (N, 3): extinction of each channel over sigma_t."""
        tint = self.tint or ((1.0, 1.0, 1.0),) * len(self.hu)
        return np.stack([np.interp(hu, self.hu, band) for band in zip(*tint)], -1).astype(np.float32)

    def forward(self, hu: Real[np.ndarray, " N"] = TABLE_HU) -> Float32[np.ndarray, " N"]:
        """(N,) HU -> (N,) mean cosine of the phase function, at least 0."""
        fixed = self.phase.model_dump()
        points = [dict(zip(self.phase_parameters, v)) for v in zip(*self.phase_parameters.values())] or [{}]
        cosines = [type(self.phase)(**{**fixed, **p}).mean_cosine() for p in points]
        along = cosines * len(self.hu) if len(cosines) == 1 else cosines
        return np.clip(np.interp(hu, self.hu, along), 0, 0.999).astype(np.float32)

    def coats(self, hu: Real[np.ndarray, " N"] = TABLE_HU) -> Float32[np.ndarray, "N 3"]:
        """(N,) HU -> (N, 3): roughness, specular weight and IOR of the coat."""
        varying = self.surface_parameters
        along = [
            np.interp(hu, self.hu, varying[n]) if n in varying else np.full(len(hu), getattr(self, n)) for n in COAT
        ]
        return np.stack(along, -1).astype(np.float32)

    def behind(self, wall: Wall) -> Tissue:
        """This tissue for a scene of such a wall: itself, unless its albedo is derived from what is to be reflected."""
        return self

    def clash(self, other: Tissue) -> str | None:
        """Why the two cannot be tissues of one scene; None if they can."""
        mine, its = self.phase, other.phase
        if type(its) is not type(mine) or not np.array_equal(its.data(), mine.data()):
            names = [phase_functions.name_of(type(phase)) for phase in (mine, its)]
            return (
                f"its phase is {names[0]}, beside {names[1]}: one phase function serves a whole scene, with parameters "
                "of each tissue's own"
            )
        return None if self.similarity_after == other.similarity_after else "similarity_after must be that of the scene"

    def steepest(self) -> float:
        """Length of the gradient beyond which gradient_opacity is constant, HU/mm; 1 without control points above 0."""
        return (self.gradient or (0.0,))[-1] or 1.0

    def opacities(self, gradient: Real[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """(N,) length of the gradient, HU/mm -> (N,) factor on sigma_t."""
        if self.gradient is None or self.gradient_opacity is None:
            return np.ones(len(gradient), np.float32)
        return np.interp(gradient, self.gradient, self.gradient_opacity).astype(np.float32)

    def shares_paths(self, other: Tissue) -> bool:
        """Whether both scatter light along the same paths: they differ in albedo at most."""
        colours = {"albedo", "blood_albedo", "vessel_albedo"}
        return self.model_dump(exclude=colours) == other.model_dump(exclude=colours)


def _look(mucosa: RGB) -> tuple[RGB, ...]:
    """Mucosa everywhere but where contrast agent or bone shines through."""
    return (mucosa, mucosa, mucosa, (0.93, 0.9, 0.82))


@tissues.register("yellow_tan")
class YellowTan(Tissue):
    """Yellow-tan mucosa: the paper's first condition."""

    albedo: tuple[RGB, ...] = _look((0.955, 0.932, 0.875))
    blood_albedo: RGB = (0.94, 0.86, 0.74)
    vessel_albedo: RGB = (0.88, 0.50, 0.28)


@tissues.register("pale_pink")
class PalePink(Tissue):
    """Pale pink mucosa: the paper's second condition."""

    albedo: tuple[RGB, ...] = _look((0.955, 0.944, 0.925))
    blood_albedo: RGB = (0.94, 0.878, 0.826)
    vessel_albedo: RGB = (0.88, 0.48, 0.38)


@tissues.register("dark_red")
class DarkRed(Tissue):
    """Dark brown-red mucosa: the paper's third condition."""

    albedo: tuple[RGB, ...] = _look((0.93, 0.90, 0.85))
    blood_albedo: RGB = (0.89, 0.74, 0.66)
    vessel_albedo: RGB = (0.80, 0.26, 0.18)


@tissues.register("deep_red")
class DeepRed(Tissue):
    """Deep red mucosa: the paper's fourth condition."""

    albedo: tuple[RGB, ...] = _look((0.90, 0.777, 0.704))
    blood_albedo: RGB = (0.83, 0.555, 0.482)
    vessel_albedo: RGB = (0.70, 0.16, 0.12)
