"""Volume rendering presets of 3D Slicer as tissues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.halfspace import albedo_of
from endorender.scene.text import read_text
from endorender.scene.tissue import Tissue, tissues

if TYPE_CHECKING:
    from jaxtyping import Float

WHITEST = 0.95  # diffuse reflectance of a preset's brightest colours: none of them is meant as a lossless medium


def read_vp(file: Path) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "M 4"], Float[np.ndarray, "L 2"]]:
    """(N, 2) HU and opacity, (M, 4) HU and sRGB, (L, 2) gradient and factor on opacity of a `.vp` file.

    Seven lines (3D Slicer, developer guide, Volume rendering): interpolation, shading, diffuse, ambient, specular,
    specular power, scalar opacity; then gradient opacity and colour. A function is the count of its numbers and they.
    """
    lines = [line.split("=>")[0].split() for line in read_text(file).splitlines() if line.strip()]
    if len(lines) < 9:
        raise ValueError(f"{file.name} is not a preset of 3D Slicer: it has {len(lines)} lines of at least 9")

    def function(n: int, width: int) -> np.ndarray:
        try:
            count, *numbers = map(float, lines[n])
        except ValueError:
            raise ValueError(f"{file.name}, line {n + 1}: must be numbers") from None
        if count != len(numbers) or len(numbers) % width or not numbers or not np.isfinite(numbers).all():
            raise ValueError(f"{file.name}, line {n + 1}: must be a count and that many numbers, {width} to a point")
        table = np.reshape(numbers, (-1, width))
        if (np.diff(table[:, 0]) < 0).any():
            raise ValueError(f"{file.name}, line {n + 1}: HU must rise")
        return table

    opacity, gradient, colour = function(6, 2), function(7, 2), function(8, 4)
    return opacity, colour, gradient


@tissues.register("slicer")
class SlicerPreset(Tissue):
    """A `.vp` preset of 3D Slicer: opacity 1 is an extinction of `density`, colours are those of thick layers.

    A colour is read as the sRGB diffuse reflectance of a half space and turned into the albedo that gives it
    (isotropic scattering). What a preset says of shading is not used. Gradient opacity becomes `gradient_opacity`:
    VTK's gradients are HU per mean voxel pitch (vtkVolumeShaderComposer.h, computeGradient), so that one preset means
    another thing on another scan; `pitch` says on which.
    """

    file: str | None = Field(None, exclude=True, description="of the preset, read once: what it says is kept")
    density: float = Field(3.0, gt=0, description="extinction where opacity is 1, mm⁻¹")
    pitch: float = Field(1.0, gt=0, description="mean voxel pitch to which the preset's gradients refer, mm")

    @model_validator(mode="before")
    @classmethod
    def _embed(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("file") is None:
            return given
        if {"hu", "sigma_t", "albedo", "gradient", "gradient_opacity"} & set(given):
            raise ValueError("give either file, or hu, sigma_t, albedo, gradient and gradient_opacity")
        path = Path(str(given["file"])).expanduser()
        opacity, colour, slope = read_vp(path)
        hu = np.unique(np.concatenate([opacity[:, 0], colour[:, 0]]))
        density, pitch = (float(given.get(name, cls.model_fields[name].default)) for name in ("density", "pitch"))
        shown = np.clip(np.stack([np.interp(hu, colour[:, 0], colour[:, c]) for c in (1, 2, 3)], -1), 0, 1)
        linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
        sigma_t = density * np.clip(np.interp(hu, *opacity.T), 0, 1)
        by_gradient: dict[str, Any] = {}
        if (slope[:, 1] < 1).any():
            steep = np.unique(np.maximum(slope[:, 0], 0))
            factor = np.clip(np.interp(steep, *slope.T), 0, 1)
            by_gradient = {"gradient": tuple((steep / pitch).tolist()), "gradient_opacity": tuple(factor.tolist())}
        return {
            **given,
            **by_gradient,
            "file": None,
            "hu": tuple(hu.tolist()),
            "sigma_t": tuple(sigma_t.tolist()),
            "albedo": tuple(map(tuple, albedo_of(WHITEST * linear).tolist())),
        }
