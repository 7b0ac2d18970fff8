"""Losses on masked depth. Each takes prediction and truth (B, 1, H, W) in mm and a mask, and returns a scalar.

An image's loss is computed over its own valid pixels and the batch's is the mean over images, so that a
view with many invalid pixels weighs as much as any other. An image without a valid pixel is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from endorender.errors import UserError
from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from torch import Tensor

losses = Registry("loss")


def log_difference(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """ln prediction − ln truth where the mask holds, 0 elsewhere, without a NaN in the gradient."""
    safe = truth.where(mask, truth.new_ones(()))
    return (prediction.where(mask, truth.new_ones(())).log() - safe.log()).where(mask, truth.new_zeros(()))


def pixels(mask: Tensor) -> Tensor:
    """Valid pixels of each image, (B,)."""
    count = mask.flatten(1).sum(1)
    if bool((count == 0).any()):
        image = int((count == 0).nonzero()[0, 0])
        raise UserError(f"image {image} of the batch has no valid pixel: remove its frame", "EMPTY_MASK")
    return count


@losses.register("silog", cases=[{}, {"variance_focus": 0.0}, {"variance_focus": 1.0}])
class SiLog(Model):
    """Scale-invariant logarithmic error: mean d² − variance_focus (mean d)², d = ln prediction − ln truth.

    Eigen, Puhrsch & Fergus (2014), eq. 4; 0.5 is theirs. 0: squared log error; 1: blind to scale.
    """

    variance_focus: float = Field(0.5, ge=0, le=1)

    def __call__(self, prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        count = pixels(mask)
        d = log_difference(prediction, truth, mask).flatten(1)
        return ((d * d).sum(1) / count - self.variance_focus * (d.sum(1) / count) ** 2).mean()


@losses.register("log_l1")
class LogL1(Model):
    """Mean |ln prediction − ln truth|: relative errors of any size weigh alike, and outliers little."""

    def __call__(self, prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        count = pixels(mask)
        return (log_difference(prediction, truth, mask).abs().flatten(1).sum(1) / count).mean()
