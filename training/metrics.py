"""Metrics of masked depth under named protocols, as a torchmetrics Metric.

A metric is a mean over pixels of some terms and a last step on that mean. So one definition serves the
value of an image (mean over its pixels) and the pooled value (mean over all pixels of all images); the
figure that papers quote is the mean of the images' values. What needs neighbours (`whole`) is given the image
instead of its pixels, and has one term for all of it: pooled, that is the mean of the images weighted by pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from endorender.errors import UserError
from training.files import missing_extra
from training.protocols import middle, protocols

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64

try:
    from torchmetrics import Metric
except ImportError as error:
    raise missing_extra(error) from None


class Definition(NamedTuple):
    """terms: (prediction, truth) (N,) -> one or two terms per pixel; finish: their means (2,) -> the value.

    whole: terms are of the image instead, (H, W) with NaN where nothing is compared, and have one value each.
    """

    terms: Callable[[Float[Tensor, "*n"], Float[Tensor, "*n"]], tuple[Float[Tensor, "*m"], ...]]
    finish: Callable[[Float[Tensor, " 2"]], Float[Tensor, ""]]
    unit: str = ""
    higher_is_better: bool = False
    whole: bool = False


def _mean(m: Tensor) -> Tensor:
    return m[0]


def _root(m: Tensor) -> Tensor:
    return m[0].sqrt()


def _log_ratio(p: Tensor, t: Tensor) -> Tensor:
    return p.log() - t.log()


def _delta(ratio: float) -> Callable[[Tensor, Tensor], tuple[Tensor]]:
    return lambda p, t: ((torch.maximum(p / t, t / p) < ratio).to(p),)


BOUNDARY_RATIOS = tuple(1.05 + 0.2 * k / 9 for k in range(10))


def boundary_f1(prediction: Float[Tensor, "H W"], truth: Float[Tensor, "H W"]) -> tuple[Float64[Tensor, ""]]:
    """Scale-invariant boundary F1 of an image (H, W), NaN where nothing is compared (Depth Pro, Bochkovskii 2024).

    Two neighbours are an edge where one's depth is more than r times the other's; the four directions (which neighbour
    is nearer, side by side or one above the other) are told apart, precision and recall are means over them, and F1 is
    averaged over the ten r of BOUNDARY_RATIOS, 1.05 to 1.25, weighted by r. As in the published script, a direction
    without an edge counts as 0: a smooth image has 0 whatever is predicted. Only pairs of compared pixels count.
    """
    bounds = torch.tensor(BOUNDARY_RATIOS, dtype=torch.float64, device=truth.device)
    precision, recall = torch.zeros_like(bounds), torch.zeros_like(bounds)
    logs = [depth.double().log() for depth in (prediction, truth)]
    for axis in (-2, -1):
        steps = [log.diff(dim=axis).flatten() for log in logs]
        # Few neighbours are an edge by any r; NaN is above nothing.
        steep = torch.maximum(steps[0].abs(), steps[1].abs()) > bounds[0].log()
        steep &= steps[0].isfinite() & steps[1].isfinite()
        steps = [step[steep] for step in steps]
        for sign in (-1, 1):
            found, there = (sign * step > bounds.log()[:, None] for step in steps)
            hits = (found & there).sum(1)
            precision += hits / found.sum(1).clamp(min=1) / 4
            recall += hits / there.sum(1).clamp(min=1) / 4
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
    return ((f1 * bounds).sum() / bounds.sum(),)


# Eigen 2014 (abs_rel … delta3; scale_inv is their eq. 3, mean d² − (mean d)² of d = ln p − ln t); silog is 100 times
# its root, as KITTI's benchmark has it; delta_105 is at 1.05; mae and median_rel are SimCol3D's
# (a median has no pooled value: what is pooled is the mean of the images' medians, weighted by pixels); within_10 is
# PPSNet's a1.
METRICS: dict[str, Definition] = {
    "abs_rel": Definition(lambda p, t: ((p - t).abs() / t,), _mean),
    "sq_rel": Definition(lambda p, t: ((p - t) ** 2 / t,), _mean, "mm"),
    "rmse": Definition(lambda p, t: ((p - t) ** 2,), _root, "mm"),
    "rmse_log": Definition(lambda p, t: (_log_ratio(p, t) ** 2,), _root),
    "log10": Definition(lambda p, t: ((p.log10() - t.log10()).abs(),), _mean),
    "silog": Definition(
        lambda p, t: (_log_ratio(p, t), _log_ratio(p, t) ** 2),
        lambda m: 100 * (m[1] - m[0] ** 2).clamp(min=0).sqrt(),
    ),
    "scale_inv": Definition(
        lambda p, t: (_log_ratio(p, t), _log_ratio(p, t) ** 2), lambda m: (m[1] - m[0] ** 2).clamp(min=0)
    ),
    "mae": Definition(lambda p, t: ((p - t).abs(),), _mean, "mm"),
    "median_rel": Definition(lambda p, t: (middle((p - t).abs() / t),), _mean),
    "within_10": Definition(lambda p, t: (((p - t).abs() / t < 0.1).to(p),), _mean, higher_is_better=True),
    "delta_105": Definition(_delta(1.05), _mean, higher_is_better=True),
    "delta1": Definition(_delta(1.25), _mean, higher_is_better=True),
    "delta2": Definition(_delta(1.25**2), _mean, higher_is_better=True),
    "delta3": Definition(_delta(1.25**3), _mean, higher_is_better=True),
    "boundary_f1": Definition(boundary_f1, _mean, higher_is_better=True, whole=True),
}


class ImageResult(NamedTuple):
    """One image under one protocol. means: (len(METRICS), 2) float64, the metrics' terms over its pixels.

    pixels: how many were compared; scale, shift: what the prediction was multiplied by, and what was added;
    prediction, truth: the pixels (pixels,) as they were compared, mm, for statistics of one's own;
    where: their places in the flattened image.
    """

    means: Float64[Tensor, "metrics 2"]
    pixels: int
    scale: float
    prediction: Float64[Tensor, " M"]
    truth: Float64[Tensor, " M"]
    where: Int64[Tensor, " M"]
    shift: float = 0.0

    def values(self) -> dict[str, float]:
        """Every metric of this image."""
        return finish(self.means)


def of_image(
    prediction: Float[Tensor, "*image"],
    truth: Float[Tensor, "*image"],
    mask: Bool[Tensor, "*image"],
    protocol: Any,
    scale: float | None = None,
    only: Collection[str] = METRICS,
) -> ImageResult:
    """Compares one image; prediction, truth (mm) and mask have one shape. scale: its trajectory's, if need be. only:
    these metrics; of the others the terms are NaN.

    Errors (UserError): no valid pixel, or a prediction that is not a positive finite number where the
    truth is valid.
    """
    p, t = prediction[mask].double(), truth[mask].double()
    if not len(t):
        raise UserError("a frame has no valid pixel: remove it from the dataset", "EMPTY_MASK")
    if not bool((p.isfinite() & (p > 0)).all()):
        raise UserError("a prediction is not a positive number: train the network again", "BAD_PREDICTION")
    found = protocol.align(p, t, scale)
    p, t = found.prediction, found.truth
    where = mask.flatten().nonzero()[:, 0][found.kept]
    maps = [torch.full((mask.numel(),), torch.nan, dtype=p.dtype, device=p.device) for _ in range(2)]
    for whole, pixels in zip(maps, (p, t)):
        whole[where] = pixels
    rows, columns = mask.shape[-2:] if mask.ndim > 1 else (1, mask.numel())
    image = [whole.reshape(-1, rows, columns)[0] for whole in maps]
    means = torch.zeros(len(METRICS), 2, dtype=torch.float64)
    for row, (name, definition) in zip(means, METRICS.items()):
        if name not in only:
            row.fill_(torch.nan)
            continue
        for k, term in enumerate(definition.terms(*image) if definition.whole else definition.terms(p, t)):
            row[k] = term.mean()
    return ImageResult(means, len(t), found.scale, p, t, where, found.shift)


def pooled(results: Sequence[ImageResult]) -> dict[str, float]:
    """Every metric over all pixels of all images at once."""
    pixels = sum(result.pixels for result in results)
    return finish(torch.stack([result.means * result.pixels for result in results]).sum(0) / pixels)


def finish(means: Float64[Tensor, "metrics 2"]) -> dict[str, float]:
    """Means of the terms (len(METRICS), 2) -> value of every metric."""
    return {name: float(definition.finish(row)) for row, (name, definition) in zip(means, METRICS.items())}


class DepthMetrics(Metric):
    """Every metric over a set of images under one protocol (a name, or a mapping with its parameters).

    only: these metrics; boundary_f1 takes as long as all others together. `compute()` returns `NAME`, the mean of the
    images' values, and `NAME_pooled`, the value over all pixels of all images at once.
    """

    full_state_update = False
    sums: Float64[Tensor, "metrics 2"]
    pixels: Float64[Tensor, ""]
    images: list[Float64[Tensor, "1 metrics 2"]]

    def __init__(self, protocol: Any = "median", only: Collection[str] = METRICS, **settings: Any):
        super().__init__(**settings)
        self.protocol, self.only = protocols.build(protocol), tuple(only)
        zeros = torch.zeros(len(METRICS), 2, dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", [], dist_reduce_fx="cat")

    def update(
        self, prediction: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
    ) -> None:
        """Adds a batch of images: (B, 1, H, W) each."""
        for p, t, m in zip(prediction, truth, mask):
            result = of_image(p, t, m, self.protocol, only=self.only)
            self.sums += result.means.to(self.sums.device) * result.pixels
            self.pixels += result.pixels
            self.images.append(result.means[None].to(self.sums.device))

    def compute(self) -> dict[str, float]:
        """As the class says; UserError if no image was added."""
        images = torch.cat(self.images) if isinstance(self.images, list) and self.images else self.images
        if not len(images):
            raise UserError("no frame was compared: check the patients and the variations", "NO_FRAMES")
        each = [finish(means) for means in images]
        values = {name: sum(image[name] for image in each) / len(each) for name in self.only}
        pooled = finish(self.sums / self.pixels)
        return values | {f"{name}_pooled": pooled[name] for name in self.only}
