"""Losses on masked depth. Each takes prediction and truth (B, 1, H, W) in mm and a mask, and returns a scalar.

An image's loss is computed over its own valid pixels and the batch's is the mean over images, so that a
view with many invalid pixels weighs as much as any other. An image without a valid pixel is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field

from endorender.errors import UserError
from endorender.registry import Model, Registry

losses = Registry("loss")
if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from training.data import Batch

    AnyLoss: TypeAlias = Any
else:
    AnyLoss = losses.field()


class DepthLoss(Model):
    """A loss on the predicted depth: `loss(prediction, truth, mask)`."""

    def __call__(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> Float[Tensor, ""]:
        """prediction, truth: (B, 1, H, W) mm; mask: (B, 1, H, W) bool -> a scalar."""
        raise NotImplementedError

    def of(self, network: Any, batch: Batch) -> Float[Tensor, ""]:
        """The loss of a network on a batch."""
        return self(network(batch["image"]), batch["z_depth"], batch["mask"])


def log_difference(
    prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 1 H W"]:
    """ln prediction − ln truth where the mask holds, 0 elsewhere, without a NaN in the gradient."""
    safe = truth.where(mask, truth.new_ones(()))
    return (prediction.where(mask, truth.new_ones(())).log() - safe.log()).where(mask, truth.new_zeros(()))


def pixels(mask: Bool[Tensor, "B 1 H W"]) -> Int[Tensor, " B"]:
    """Valid pixels of each image, (B,)."""
    count = mask.flatten(1).sum(1)
    if bool((count == 0).any()):
        image = int((count == 0).nonzero()[0, 0])
        raise UserError(f"image {image} of the batch has no valid pixel: remove its frame", "EMPTY_MASK")
    return count


@losses.register("silog", cases=[{}, {"variance_focus": 0.0}, {"variance_focus": 1.0}])
class SiLog(DepthLoss):
    """Scale-invariant logarithmic error: mean d² − variance_focus (mean d)², d = ln prediction − ln truth.

    Eigen, Puhrsch & Fergus (2014), eq. 4; 0.5 is theirs. 0: squared log error; 1: blind to scale.
    """

    variance_focus: float = Field(0.5, ge=0, le=1)

    def __call__(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> Float[Tensor, ""]:
        count = pixels(mask)
        d = log_difference(prediction, truth, mask).flatten(1)
        return ((d * d).sum(1) / count - self.variance_focus * (d.sum(1) / count) ** 2).mean()


@losses.register("log_l1")
class LogL1(DepthLoss):
    """Mean |ln prediction − ln truth|: relative errors of any size weigh alike, and outliers little."""

    def __call__(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> Float[Tensor, ""]:
        count = pixels(mask)
        return (log_difference(prediction, truth, mask).abs().flatten(1).sum(1) / count).mean()


@losses.register("berhu", cases=[{}, {"share": 0.5}])
class BerHu(DepthLoss):
    """Reverse Huber in mm (Laina 2016, eq. 2): |x| up to c, (x² + c²) / 2c beyond, x = prediction − truth.

    c is `share` of the largest |x| of the image. Laina takes the largest of the batch; by the image, an
    image's loss depends neither on its neighbours nor on how many processes share the batch.
    """

    share: float = Field(0.2, gt=0, le=1)

    def __call__(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> Float[Tensor, ""]:
        count = pixels(mask)
        zero = truth.new_zeros(())
        x = (prediction.where(mask, zero) - truth.where(mask, zero)).abs().flatten(1)
        c = (self.share * x.amax(1, keepdim=True)).clamp(min=1e-9)
        return (x.where(x <= c, (x * x + c * c) / (2 * c)).sum(1) / count).mean()


@losses.register("gradient_matching", cases=[{}, {"scales": 1, "weight": 2.0, "base": "log_l1"}])
class GradientMatching(DepthLoss):
    """A loss on depth plus `weight` times the multi-scale gradient matching of MiDaS (Ranftl 2020, eq. 11).

    Mean |∂x d| + |∂y d| over valid pixels, d = ln prediction − ln truth as in MegaDepth (Li & Snavely 2018,
    eq. 3), summed over `scales` of which each keeps every second pixel of the one before: edges of the
    depth where the truth has them, and nowhere else. base: the loss on depth.
    """

    base: AnyLoss = Field("silog", validate_default=True)
    weight: float = Field(0.5, gt=0)
    scales: int = Field(4, ge=1, le=8)

    def __call__(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> Float[Tensor, ""]:
        pixels(mask)
        d = log_difference(prediction, truth, mask)
        total = d.new_zeros(len(d))
        for scale in range(self.scales):
            step = 2**scale
            r, m = d[..., ::step, ::step], mask[..., ::step, ::step]
            across = (r[..., 1:] - r[..., :-1]).abs() * (m[..., 1:] & m[..., :-1])
            down = (r[..., 1:, :] - r[..., :-1, :]).abs() * (m[..., 1:, :] & m[..., :-1, :])
            total = total + (across.flatten(1).sum(1) + down.flatten(1).sum(1)) / m.flatten(1).sum(1).clamp(min=1)
        value: Tensor = self.base(prediction, truth, mask) + self.weight * total.mean()
        return value


@losses.register("crf_nll")
class CrfLikelihood(Model):
    """Exact negative log-likelihood of the network `cnn_crf` (Liu 2015, eq. 10), for each superpixel.

    The truth of a superpixel is the mean logarithm of its valid pixels; superpixels without one are
    integrated out.
    """

    def of(self, network: Any, batch: Batch) -> Float[Tensor, ""]:
        """As in DepthLoss. Errors (UserError): a network without a CRF."""
        if not hasattr(network, "fields"):
            raise UserError("the loss crf_nll belongs to the model cnn_crf: choose that model, or another loss")
        pixels(batch["mask"])
        fields = network.fields(batch["image"])
        truths = zip(batch["z_depth"], batch["mask"])
        each = [self.of_field(f, t[0], m[0], network.log_typical) for f, (t, m) in zip(fields, truths)]
        return sum(each[1:], each[0]) / len(each)

    def of_field(
        self, field: Any, truth: Float[Tensor, "H W"], mask: Bool[Tensor, "H W"], log_typical: float
    ) -> Float[Tensor, ""]:
        """Of one image: field: RandomField; truth (mm), mask: (H, W) -> a scalar."""
        from training.crf import negative_log_likelihood

        labels = field.labels[mask]
        valid = labels.bincount(minlength=len(field.z))
        logs = truth[mask].log().to(field.z) - log_typical
        y = field.z.new_zeros(len(field.z)).index_add(0, labels, logs) / valid.clamp(min=1)
        return negative_log_likelihood(field.a, field.z, y, valid > 0) / (valid > 0).sum()
