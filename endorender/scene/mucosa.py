"""The mucosa layer: what a CT cannot show. Vessels, mottled colour, a wavy film of mucus.

It changes appearance only. Depth and normals of the geometry stay what the CT says.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from endorender.registry import Model, Registry

mucosas = Registry("mucosa")


@mucosas.register("procedural", cases=[{}, {"seed": 7, "vessels": 40.0, "film": 0.0, "levelling": 1.5}])
class Mucosa(Model):
    """Branching vessels under the wall, blood unevenly spread, a wet film that is not flat.

    Vessels are shortest-path trees over the wall with radius ∝ (capillaries fed)^⅓, after Murray 1926. The colours
    of vessels and of blood-rich patches belong to the tissue. Patterns are fixed to the volume. All values are our
    choice, by eye.

    Surface tension levels a film of mucus, short waves first (Orchard 1963): it fills the wall's small bumps. With
    `levelling` the coat's normal is that of the wall blurred by this much more; a bump of wavelength λ keeps
    exp(-2 (π levelling / λ)²) of its slope.
    """

    seed: int = Field(0, ge=0, lt=2**31, description="another seed, other vessels and patches")
    vessels: float = Field(35.0, ge=0, le=200, description="ends of vessels per cm² of wall; 0: none")
    territory: float = Field(9.0, gt=0.2, le=100, description="cm² of wall that one tree feeds")
    capillary: float = Field(0.04, gt=0.005, le=0.2, description="radius of a vessel's end, mm")
    trunk: float = Field(0.25, gt=0.01, le=1, description="largest radius, mm")
    depth: float = Field(0.06, ge=0, le=1, description="tissue over a vessel, mm")
    vessel_strength: float = Field(0.9, ge=0, le=1, description="share of the vessel's albedo inside a vessel")
    redness: float = Field(0.25, ge=0, le=1, description="mean share of the tissue's blood-rich albedo")
    mottling: float = Field(0.3, ge=0, le=1, description="by how much that share varies")
    mottling_scale: float = Field(7.0, gt=0.05, le=100, description="size of the patches, mm")
    follicles: float = Field(0.1, ge=0, le=1, description="by how much it varies finely")
    follicle_scale: float = Field(0.8, gt=0.05, le=10, description="size of the fine patches, mm")
    film: float = Field(0.07, ge=0, le=1, description="slope of the film's waves, root mean square")
    film_scale: float = Field(1.6, gt=0.05, le=20, description="size of the film's waves, mm")
    levelling: float = Field(0.0, ge=0, le=5, description="σ of the wall's bumps that the film fills, mm; 0: none")

    @model_validator(mode="after")
    def _consistent(self) -> Mucosa:
        if self.trunk < self.capillary:
            raise ValueError("trunk must be at least as wide as capillary")
        return self
