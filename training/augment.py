"""Augmentation: what a camera, a lamp, a wet wall and a turn of the wrist change.

Parameters are drawn first and applied then, so that they are a pure function of the seed and the step,
whoever loads the images and however often the run was interrupted.
"""

from __future__ import annotations

from math import ceil, radians
from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.registry import Model
from training.files import derive, missing_extra

if TYPE_CHECKING:
    from torch import Tensor

    from training.data import Batch


class Augment(Model):
    """How far images are varied; 0 switches a part off. The same for grey and for coloured images.

    exposure, gamma, colour: half-widths of uniform draws of the logarithm of the gain, of the exponent and
    of each channel's own gain. mirror: probability of a left-right flip of image, depth and mask.
    rotation: half-width in degrees of a turn about the optical axis: z-depth and intrinsics stay what
    they are, pixels that were not seen are masked. blur: largest standard deviation of a Gaussian, pixels.
    specular: probability that highlights (display values above `specular_level` in every channel) are
    filled from what surrounds them.
    """

    exposure: float = Field(0.3, ge=0, le=2)
    gamma: float = Field(0.2, ge=0, le=2)
    colour: float = Field(0.15, ge=0, le=2)
    mirror: float = Field(0.5, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    blur: float = Field(0.0, ge=0, le=10)
    specular: float = Field(0.0, ge=0, le=1)
    specular_level: float = Field(0.85, gt=0, lt=1)

    def draw(self, count: int, seed: int, step: int) -> dict[str, Any]:
        """Parameters for a batch of `count` images.

        gain (B, 3, 1, 1); gamma (B, 1, 1, 1); mirror, specular (B,) bool; angle (B,) radians; sigma (B,) pixels.
        """
        import torch

        generator = torch.Generator().manual_seed(derive(seed, "augment", step))
        u = torch.rand(count, 6, generator=generator)
        v = torch.rand(count, 3, generator=generator)
        log_gain = self.exposure * (2 * u[:, :1] - 1) + self.colour * (2 * u[:, 1:4] - 1)
        return {
            "gain": log_gain.exp()[:, :, None, None],
            "gamma": (self.gamma * (2 * u[:, 4] - 1)).exp()[:, None, None, None],
            "mirror": u[:, 5] < self.mirror,
            "angle": radians(self.rotation) * (2 * v[:, 0] - 1),
            "sigma": self.blur * v[:, 1],
            "specular": v[:, 2] < self.specular,
        }

    def __call__(self, batch: Batch, parameters: dict[str, Tensor]) -> Batch:
        """The batch under `draw`'s parameters; images stay within 0..1, depths are only moved."""
        on = {key: value.to(batch["image"].device) for key, value in parameters.items()}
        if self.rotation:
            batch = _rotated(batch, on["angle"])
        image = batch["image"]
        if self.specular:
            image = _without_highlights(image, self.specular_level).where(on["specular"][:, None, None, None], image)
        if self.blur:
            image = _blurred(image, on["sigma"], self.blur)
        image = (image ** on["gamma"] * on["gain"]).clamp(0, 1)
        flip = on["mirror"][:, None, None, None]
        k = batch["K"].clone()
        k[:, 0, 2] = k[:, 0, 2].where(~on["mirror"], image.shape[-1] - 1 - k[:, 0, 2])
        return {
            "image": image.where(~flip, image.flip(-1)),
            "z_depth": batch["z_depth"].where(~flip, batch["z_depth"].flip(-1)),
            "mask": batch["mask"].where(~flip, batch["mask"].flip(-1)),
            "K": k,
            "id": batch["id"],
        }


def _rotated(batch: Batch, angle: Tensor) -> Batch:
    """The camera rolled about its axis: pixels move by K R K⁻¹, whose centre is the principal point.

    Depths are taken from the nearest pixel: one that mixes two sides of an edge lies on neither. An
    image that would lose all its valid pixels stays as it is.
    """
    import torch

    try:
        from kornia.geometry.transform import warp_perspective
    except ImportError as error:
        raise missing_extra(error) from None

    size = batch["image"].shape[-2:]
    turn = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0] = angle.sin()
    turn[:, 0, 1] = -angle.sin()
    k = batch["K"].to(angle)
    moved = k @ turn @ torch.linalg.inv(k)

    def warp(x: Tensor, mode: str) -> Tensor:
        return warp_perspective(x, moved, (size[0], size[1]), mode=mode, align_corners=True)

    mask = warp(batch["mask"].to(angle.dtype), "nearest") > 0.5
    kept = mask.flatten(1).any(1)[:, None, None, None]
    return {
        "image": warp(batch["image"], "bilinear").clamp(0, 1).where(kept, batch["image"]),
        "z_depth": (warp(batch["z_depth"], "nearest") * mask).where(kept, batch["z_depth"]),
        "mask": mask.where(kept, batch["mask"]),
        "K": batch["K"],
        "id": batch["id"],
    }


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
