"""What the sliders mean: a look changed by hand, and the light and the response to see it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from endorender.scene import Endoscope, Mucosa, Response, Tissue


@dataclass(frozen=True)
class Optics:
    """All on which the light paths depend; another one is another picture.

    look: of LOOKS. absorption: times what the look's tissue absorbs between two scatterings. density: times its
    extinction. specular, roughness: of the wet coat. vessels: the mucosa layer is there. strength: stops of the
    endoscope's light. falloff: its μ, 0 for a bare guide.
    """

    look: str = "yellow_tan"
    absorption: float = 1.0
    density: float = 1.0
    specular: float = 0.7
    roughness: float = 0.06
    vessels: bool = True
    strength: float = 0.0
    falloff: float = 0.0

    def tissue(self) -> Tissue:
        """The look's tissue as the sliders have it."""
        from endorender.scene import LOOKS

        own = LOOKS[self.look].tissue

        def darker(albedo: tuple[float, ...]) -> tuple[float, ...]:
            # −ln(albedo) is what is absorbed: a power keeps the hue and stays within 0 and 1.
            return tuple(float(a) for a in np.power(albedo, self.absorption))

        return own.model_copy(
            update={
                "albedo": tuple(map(darker, own.albedo)),
                "blood_albedo": darker(own.blood_albedo),
                "vessel_albedo": darker(own.vessel_albedo),
                "sigma_t": tuple(self.density * s for s in own.sigma_t),
                "specular": self.specular,
                "roughness": self.roughness,
            }
        )

    def mucosa(self, seed: int) -> Mucosa | None:
        """Vessels, patches and film, or none."""
        from endorender.scene import Mucosa

        return Mucosa(seed=seed) if self.vessels else None

    def light(self) -> Endoscope:
        """The endoscope's guides."""
        from endorender.scene import Endoscope

        usual = Endoscope().intensity
        return Endoscope(intensity=usual * 2.0**self.strength, mu=self.falloff)


@dataclass(frozen=True)
class Development:
    """From radiance to the picture: nothing of it needs new light paths.

    stops: on top of the exposure. held: an exposure to stay with; None: automatic. contrast: of the tone curve.
    """

    look: str = "yellow_tan"
    stops: float = 0.0
    held: float | None = None
    contrast: float = 1.15

    def response(self, radiance: np.ndarray, mask: np.ndarray) -> tuple[Response, float]:
        """The look's response with its exposure fixed for (H, W, 3) radiance, and that exposure before the stops."""
        from endorender.scene import LOOKS

        own = LOOKS[self.look].response.model_copy(update={"contrast": self.contrast, "exposure": self.held})
        base = own.resolve(radiance, mask).exposure or 1.0
        return own.model_copy(update={"exposure": base * 2.0**self.stops}), base
