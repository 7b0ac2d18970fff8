"""From radiance to the picture on the monitor: exposure, tone, sRGB, 8 bits."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from endorender.registry import Model

LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
SHOULDER = 0.6  # linear level above which highlights are rolled off


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear 0..1 -> sRGB 0..1 (IEC 61966-2-1)."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


class Response(Model):
    """Camera response. Automatic exposure sets the picture's median luma to `median`, as endoscopes do.

    Tone: 0.18 (x / 0.18)^contrast, an exponential shoulder above 0.6, and a veil of light scattered in the
    optics; then sRGB and 8 bits.
    """

    exposure: float | None = Field(None, gt=0, description="scale on radiance; none: automatic")
    median: float = Field(90.0, gt=0, lt=255, description="8-bit luma that automatic exposure aims at")
    contrast: float = Field(1.15, gt=0.2, lt=5, description="tone exponent")
    veil: tuple[float, float, float] = Field((0.003, 0.0018, 0.00135), description="added light, linear")

    def resolve(self, radiance: np.ndarray) -> Response:
        """The same response with its exposure fixed to what (H, W, 3) radiance asks for."""
        if self.exposure is not None:
            return self
        lit = radiance.reshape(-1, 3)[:: max(1, radiance.size // 3 // 20_000)]
        lo, hi = -30.0, 30.0
        for _ in range(40):
            mid = (lo + hi) / 2
            if np.median(self._tone(lit * 2.0**mid) @ LUMA) * 255 < self.median:
                lo = mid
            else:
                hi = mid
        return self.model_copy(update={"exposure": float(np.float32(2.0**hi))})

    def _tone(self, exposed: np.ndarray) -> np.ndarray:
        y = 0.18 * (np.maximum(exposed, 0) / 0.18) ** self.contrast
        span = 1 - SHOULDER
        y = np.where(y > SHOULDER, SHOULDER + span * (1 - np.exp(-(y - SHOULDER) / span)), y)
        return srgb(y + np.asarray(self.veil))

    def apply(self, radiance: np.ndarray) -> np.ndarray:
        """(H, W, 3) linear radiance -> (H, W, 3) uint8 sRGB."""
        fixed = self.resolve(radiance)
        return np.round(self._tone(radiance * fixed.exposure) * 255).astype(np.uint8)
