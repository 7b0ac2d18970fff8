"""Light augmentation: what a camera and a lamp change, and the mirror.

Parameters are drawn first and applied then, so that they are a pure function of the seed and the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.registry import Model
from training.files import derive

if TYPE_CHECKING:
    from torch import Tensor

    from training.data import Batch


class Augment(Model):
    """How far images are varied; 0 switches a part off. The same for grey and for coloured images.

    exposure, gamma, colour: half-widths of uniform draws of the logarithm of the gain, of the exponent and
    of each channel's own gain. mirror: probability of a left-right flip of image, depth and mask.
    """

    exposure: float = Field(0.3, ge=0, le=2)
    gamma: float = Field(0.2, ge=0, le=2)
    colour: float = Field(0.15, ge=0, le=2)
    mirror: float = Field(0.5, ge=0, le=1)

    def draw(self, count: int, seed: int, step: int) -> dict[str, Any]:
        """Parameters for a batch of `count` images: gain (B, 3, 1, 1), gamma (B, 1, 1, 1), mirror (B,)."""
        import torch

        generator = torch.Generator().manual_seed(derive(seed, "augment", step))
        u = torch.rand(count, 6, generator=generator)
        log_gain = self.exposure * (2 * u[:, :1] - 1) + self.colour * (2 * u[:, 1:4] - 1)
        return {
            "gain": log_gain.exp()[:, :, None, None],
            "gamma": (self.gamma * (2 * u[:, 4] - 1)).exp()[:, None, None, None],
            "mirror": u[:, 5] < self.mirror,
        }


def apply(batch: Batch, parameters: dict[str, Tensor]) -> Batch:
    """The batch under `Augment.draw`'s parameters; images stay within 0..1, depths are only mirrored."""
    on = {key: value.to(batch["image"].device) for key, value in parameters.items()}
    image = (batch["image"] ** on["gamma"] * on["gain"]).clamp(0, 1)
    flip = on["mirror"][:, None, None, None]
    return {
        "image": image.where(~flip, image.flip(-1)),
        "z_depth": batch["z_depth"].where(~flip, batch["z_depth"].flip(-1)),
        "mask": batch["mask"].where(~flip, batch["mask"].flip(-1)),
        "id": batch["id"],
    }
