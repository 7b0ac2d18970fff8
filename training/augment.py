"""Augmentation: what a camera, a lamp, a wet wall and a turn of the wrist change.

Parameters are drawn first and applied then, so that they are a pure function of the seed and the step,
whoever loads the images and however often the run was interrupted.
"""

from __future__ import annotations

from math import ceil, radians
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from endorender.registry import Model
from training.developed import Response
from training.files import derive, missing_extra

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from torch import Tensor

    from training.data import Batch


Factor = Annotated[float, Field(ge=0.5, le=4)]


class Augment(Model):
    """How far images are varied; 0 switches a part off. The same for grey and for coloured images.

    exposure, gamma, colour: half-widths of uniform draws of the logarithm of the gain, of the exponent and
    of each channel's own gain. mirror: probability of a left-right flip of image, depth and mask.
    rotation: half-width in degrees of a turn about the optical axis. zoom: least and greatest factor of the focal
    length, drawn uniformly in its logarithm; K follows, z-depth in mm does not change. fill: the focal length grows
    as far as a turn needs for a picture without black wedges; false: what was not seen is black and masked, and a zoom
    may be below 1. corners: largest cut of the picture's corners, a share of its shorter side, black and masked: half
    of the images have four alike, half each its own.
    blur: largest standard deviation of a Gaussian, pixels. specular: probability that highlights (display values
    above `specular_level` in every channel) are filled from what surrounds them.
    response: pictures are developed anew at each reading, from the radiance that the dataset keeps: a name
    (`endorender list response`), or a camera response's parameters, any of which may be a distribution.
    exposure, gamma and colour are then 0 unless given.
    """

    response: Response = None
    exposure: float = Field(0.3, ge=0, le=2)
    gamma: float = Field(0.2, ge=0, le=2)
    colour: float = Field(0.15, ge=0, le=2)
    mirror: float = Field(0.5, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    zoom: tuple[Factor, Factor] = (1.0, 1.0)
    fill: bool = True
    corners: float = Field(0.0, ge=0, le=0.5)
    blur: float = Field(0.0, ge=0, le=10)
    specular: float = Field(0.0, ge=0, le=1)
    specular_level: float = Field(0.85, gt=0, lt=1)

    @model_validator(mode="after")
    def _within_the_picture(self) -> Augment:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom is the least and the greatest factor")
        if self.fill and self.zoom[0] < 1:
            raise ValueError("a zoom below 1 looks beyond the picture: add fill: false, or begin at 1")
        return self

    @property
    def moves(self) -> bool:
        """Whether pixels are seen by another camera, for which intrinsics must be known."""
        return bool(self.rotation) or self.zoom != (1.0, 1.0)

    @model_validator(mode="before")
    @classmethod
    def _one_exposure(cls, values: Any) -> Any:
        """A drawn response has its own exposure, gamma and white balance."""
        if isinstance(values, dict) and values.get("response") is not None:
            return {"exposure": 0.0, "gamma": 0.0, "colour": 0.0, **values}
        return values

    def draw(self, count: int, seed: int, step: int) -> dict[str, Any]:
        """Parameters for a batch of `count` images.

        gain (B, 3, 1, 1); gamma (B, 1, 1, 1); mirror, specular (B,) bool; angle (B,) radians; sigma (B,) pixels;
        zoom (B,) factors; corners (B, 4) shares of the shorter side.
        """
        import torch

        generator = torch.Generator().manual_seed(derive(seed, "augment", step))
        u = torch.rand(count, 6, generator=generator)
        v = torch.rand(count, 3, generator=generator)
        w = torch.rand(count, 6, generator=generator)
        log_gain = self.exposure * (2 * u[:, :1] - 1) + self.colour * (2 * u[:, 1:4] - 1)
        return {
            "gain": log_gain.exp()[:, :, None, None],
            "gamma": (self.gamma * (2 * u[:, 4] - 1)).exp()[:, None, None, None],
            "mirror": u[:, 5] < self.mirror,
            "angle": radians(self.rotation) * (2 * v[:, 0] - 1),
            "sigma": self.blur * v[:, 1],
            "specular": v[:, 2] < self.specular,
            "zoom": self.zoom[0] * (self.zoom[1] / self.zoom[0]) ** w[:, 0],
            "corners": self.corners * w[:, 2:].where(w[:, 1:2] < 0.5, w[:, 2:3]),
        }

    def __call__(self, batch: Batch, parameters: dict[str, Shaped[Tensor, "B ..."]]) -> Batch:
        """The batch under `draw`'s parameters; images stay within 0..1, depths are only moved."""
        from training import turned

        on = {key: value.to(batch["image"].device) for key, value in parameters.items()}
        size = (batch["image"].shape[-2], batch["image"].shape[-1])
        if self.moves:
            zoom = on["zoom"]
            if self.fill:
                zoom = zoom.maximum(turned.filling(on["angle"], batch["K"], size))
            batch = turned.seen_by(batch, on["angle"], zoom)
        image = batch["image"]
        if self.specular:
            image = _without_highlights(image, self.specular_level).where(on["specular"][:, None, None, None], image)
        if self.blur:
            image = _blurred(image, on["sigma"], self.blur)
        image = (image ** on["gamma"] * on["gain"]).clamp(0, 1)
        batch = turned.mirrored({**batch, "image": image}, on["mirror"])
        return turned.cut(batch, min(size) * on["corners"]) if self.corners else batch


def _blurred(image: Tensor, sigma: Tensor, largest: float) -> Tensor:
    try:
        from kornia.filters import gaussian_blur2d
    except ImportError as error:
        raise missing_extra(error) from None

    size = 2 * ceil(2 * largest) + 1
    both = sigma.clamp(min=1e-3)[:, None].expand(-1, 2)
    return gaussian_blur2d(image, (size, size), both, border_type="replicate").clamp(0, 1)


def _without_highlights(image: Tensor, level: float) -> Tensor:
    """Highlights, and a pixel around them, take the mean of what is not highlight nearby."""
    from torch.nn import functional as F

    try:
        from kornia.filters import box_blur
    except ImportError as error:
        raise missing_extra(error) from None

    bright = F.max_pool2d((image.amin(1, keepdim=True) > level).to(image.dtype), 3, 1, 1)
    size = 2 * (max(image.shape[-2:]) // 16) + 3
    weight = box_blur(1 - bright, (size, size), border_type="replicate")
    around = box_blur(image * (1 - bright), (size, size), border_type="replicate") / weight.clamp(min=1e-6)
    return around.clamp(0, 1).where((bright > 0) & (weight > 1e-3), image)
