"""From radiance to the picture on the monitor: exposure, sensor noise, white balance, tone, 8 bits, JPEG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from endorender.registry import Model
from endorender.scene.optics import circle_of_confusion, coloured, defocused, vignette

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
SHOULDER = 0.6  # linear level above which highlights are rolled off
SHORT = 2.0  # 8-bit levels below the brightest that can be, where automatic exposure cannot reach its target
MOST_ELECTRONS = 1e9  # of a pixel before it is cut at its full well; keeps the Poisson draw within its range


def srgb(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear 0..1 -> sRGB 0..1 (IEC 61966-2-1)."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def _shoulder(level: np.ndarray) -> np.ndarray:
    """Linear levels, those above SHOULDER rolled off below 1."""
    span = 1 - SHOULDER
    return np.where(level > SHOULDER, SHOULDER + span * (1 - np.exp(-(level - SHOULDER) / span)), level)


class Response(Model):
    """Camera response. Automatic exposure brings a percentile of the picture's luma to `target`.

    By default the 75th: endoscopes meter the lit wall, and the median would burn out every view that holds a near one.

    In this order: the lens (defocus by depth, if there is an `aperture`; `vignette`); exposure; the sensor, if
    `full_well` is given (electrons = exposed level × full_well, drawn from a Poisson distribution, plus Gaussian read
    noise, cut at the full well); white balance; tone 0.18 (x / 0.18)^contrast, an exponential shoulder above 0.6, and a
    veil of light scattered in the optics; `white`; sRGB or a power law; noise of colour; 8 bits; JPEG.
    The shoulder is a blend of two: channel by channel, which bleaches what is bright, and of all channels by as much as
    the brightest, which keeps the hue of near walls.
    Exposure is set on the picture without noise.
    """

    exposure: float | None = Field(None, gt=0, description="scale on radiance; none: automatic")
    target: float = Field(130.0, gt=0, lt=255, description="8-bit luma that automatic exposure aims at")
    metered: float = Field(75.0, gt=0, lt=100, description="percentile of luma that it looks at")
    contrast: float = Field(1.15, gt=0.2, lt=5, description="tone exponent")
    hue: float = Field(0.5, ge=0, le=1, description="how much of their hue highlights keep; 0: they bleach to white")
    veil: tuple[float, float, float] = Field((0.003, 0.0018, 0.00135), description="added light, linear")
    white_balance: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="gains of red, green, blue")
    full_well: float | None = Field(None, ge=1, le=1e7, description="electrons at linear level 1; none: no noise")
    read_noise: float = Field(0.0, ge=0, le=1e6, description="standard deviation, electrons")
    white: float = Field(
        1.0, gt=0.2, le=1, description="linear level after the tone that is shown as white; more clips"
    )
    gamma: float | None = Field(None, ge=0.2, le=5, description="encodes by x^(1 / gamma); none: sRGB")
    jpeg_quality: int | None = Field(None, ge=1, le=100, description="compress and decode again; none: never")
    vignette: float = Field(0.0, ge=0, le=1, description="share of the light that the picture's corners lose")
    focus: float = Field(15.0, gt=0, le=1000, description="distance along z that is sharp, mm")
    aperture: float = Field(0.0, ge=0, le=10, description="of the lens, mm: blur of what is nearer or farther; 0: none")
    chroma_noise: float = Field(0.0, ge=0, le=64, description="standard deviation of Cb and Cr, levels of 8 bits")

    @model_validator(mode="after")
    def _consistent(self) -> Response:
        if min(self.white_balance) <= 0:
            raise ValueError("white_balance must be above 0")
        if self.read_noise and self.full_well is None:
            raise ValueError("read_noise counts electrons: give full_well as well")
        return self

    def resolve(
        self,
        radiance: Float[np.ndarray, "H W 3"],
        mask: Bool[np.ndarray, "H W"] | None = None,
        z_depth: Float[np.ndarray, "H W"] | None = None,
        focal: float | None = None,
    ) -> Response:
        """The same response with its exposure fixed to what (H, W, 3) radiance asks for; the rest as in `apply`."""
        if self.exposure is not None:
            return self
        return self._metered_on(self._lens(radiance, mask, z_depth, focal), mask)

    def _metered_on(self, light: np.ndarray, mask: np.ndarray | None) -> Response:
        """The same response with the exposure that light behind the lens asks for."""
        if self.exposure is not None:
            return self
        seen = light.reshape(-1, 3) if mask is None else light[mask]
        lit = seen[:: max(1, len(seen) // 20_000)]
        return self.model_copy(update={"exposure": float(np.float32(2.0 ** self._stops(lit)))})

    def _lens(
        self, radiance: np.ndarray, mask: np.ndarray | None, z_depth: np.ndarray | None, focal: float | None
    ) -> np.ndarray:
        """(H, W, 3) as it comes through the lens."""
        if self.aperture:
            if z_depth is None or focal is None:
                raise ValueError("a response with an aperture needs the depth and the focal length")
            spread = circle_of_confusion(z_depth, focal, self.focus, self.aperture)
            radiance = defocused(radiance.transpose(2, 0, 1), spread, mask).transpose(1, 2, 0)
        if self.vignette:
            radiance = radiance * vignette(radiance.shape[0], radiance.shape[1], self.vignette)[..., None]
        return radiance

    def _stops(self, lit: np.ndarray) -> float:
        """log2 of the exposure at which (N, 3) pixels, held at the full well, reach `target`.

        What cannot be reached (a hue that is kept may never be as bright) is replaced by what nearly can, lest all of
        the picture burn out for it. 30 where light changes nothing, -30 where there is always too much.
        """
        from scipy.optimize import brentq

        def level(stops: float) -> float:
            exposed = lit * 2.0**stops
            seen = exposed if self.full_well is None else np.minimum(exposed, 1)
            return float(np.percentile(self._tone(seen) @ LUMA, self.metered)) * 255

        if not len(lit) or (most := level(30.0)) - (least := level(-30.0)) < 2 * SHORT:
            return 30.0
        target = min(self.target, most - SHORT)
        return -30.0 if least >= target else float(brentq(lambda stops: level(stops) - target, -30.0, 30.0, xtol=1e-7))

    def _sensor(self, exposed: np.ndarray, seed: int | None) -> np.ndarray:
        """Linear levels as the sensor reads them: with shot and read noise, and saturated."""
        if self.full_well is None:
            return exposed
        if seed is None:
            raise ValueError("a response with noise needs a seed")
        rng = np.random.default_rng([seed, 0x5E4504])
        electrons = rng.poisson(np.clip(exposed * self.full_well, 0, MOST_ELECTRONS)).astype(float)
        electrons += self.read_noise * rng.normal(size=exposed.shape)
        return np.minimum(electrons / self.full_well, 1)

    def _tone(self, exposed: np.ndarray) -> np.ndarray:
        balanced = np.maximum(exposed, 0) * np.asarray(self.white_balance)
        y = 0.18 * (balanced / 0.18) ** self.contrast
        brightest = y.max(-1, keepdims=True)
        whole = y * (_shoulder(brightest) / np.maximum(brightest, 1e-9))
        y = (1 - self.hue) * _shoulder(y) + self.hue * whole + np.asarray(self.veil)
        if self.white < 1:
            y = y / self.white
        return srgb(y) if self.gamma is None else np.clip(y, 0, 1) ** (1 / self.gamma)

    def apply(
        self,
        radiance: Float[np.ndarray, "H W 3"],
        seed: int | None = None,
        mask: Bool[np.ndarray, "H W"] | None = None,
        z_depth: Float[np.ndarray, "H W"] | None = None,
        focal: float | None = None,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """(H, W, 3) linear radiance -> (H, W, 3) uint8 picture.

        seed: of the noise; the same one gives the same picture. mask: (H, W) bool, what the camera sees: the rest
        is black and does not count for the exposure. z_depth: (H, W) mm, NaN or 0 where unknown, and focal: the focal
        length in pixels, for the defocus.
        """
        light = self._lens(radiance, mask, z_depth, focal)
        fixed = self._metered_on(light, mask)
        levels = fixed._tone(fixed._sensor(light * fixed.exposure, seed))
        if self.chroma_noise:
            levels = np.clip(levels + self._colour_noise(levels.shape[0], levels.shape[1], seed), 0, 1)
        picture = np.round(levels * 255).astype(np.uint8)
        if mask is not None:
            picture[~mask] = 0
        return picture if self.jpeg_quality is None else through_jpeg(picture, self.jpeg_quality)

    def _colour_noise(self, height: int, width: int, seed: int | None) -> np.ndarray:
        if seed is None:
            raise ValueError("a response with noise needs a seed")
        rng = np.random.default_rng([seed, 0xC0105E])
        noise = rng.normal(0, self.chroma_noise / 255, (2, (height + 1) // 2, (width + 1) // 2))
        return coloured(noise, height, width).transpose(1, 2, 0)


def through_jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the marks that JPEG compression leaves."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(picture).save(held, format="JPEG", quality=quality)
    return np.asarray(Image.open(held, formats=("JPEG",)))
