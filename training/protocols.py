"""Named protocols: what is done to a prediction before it is compared, and which truth counts.

Each has `align(prediction, truth, scale)` on the valid pixels (N,) of one image, mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from endorender.errors import UserError
from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

protocols = Registry("protocol")


class Aligned(NamedTuple):
    """prediction, truth: (M,) to compare; kept: (N,) bool, which pixels; prediction was times scale, plus shift."""

    prediction: Float[Tensor, " M"]
    truth: Float[Tensor, " M"]
    kept: Bool[Tensor, " N"]
    scale: float = 1.0
    shift: float = 0.0


def middle(values: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """The median, of an even number of values the mean of the middle two, as in numpy. Without the sort of torch's
    quantile; its own median is the lower of the two."""
    return (values.median() - (-values).median()) / 2


class Protocol(Model):
    """per_trajectory: the scale is one for all images of a patient under one condition (`trajectory_scale`).

    gives_scale: a prediction's scale is given away, so that its unit does not matter.
    """

    gives_scale: ClassVar[bool] = True
    bounded: ClassVar[bool] = False  # whether the scale is held at or above 0, which is then reported

    @property
    def per_trajectory(self) -> bool:
        return False

    def align(self, prediction: Float[Tensor, " N"], truth: Float[Tensor, " N"], scale: float | None = None) -> Aligned:
        """scale: the trajectory's, where the protocol has one."""
        raise NotImplementedError


@protocols.register("metric")
class MetricProtocol(Protocol):
    """Depths in mm as predicted: no scaling, no clipping. Every valid pixel of the truth counts."""

    gives_scale: ClassVar[bool] = False

    def align(self, prediction: Float[Tensor, " N"], truth: Float[Tensor, " N"], scale: float | None = None) -> Aligned:
        return Aligned(prediction, truth, truth > 0)


class Ranged(Protocol):
    """Truth outside (min_mm, max_mm) is left out; the prediction is aligned, then clipped to [min_mm, max_mm]."""

    min_mm: float = Field(1e-3, gt=0)
    max_mm: float = Field(150.0, gt=0)

    def align(self, prediction: Float[Tensor, " N"], truth: Float[Tensor, " N"], scale: float | None = None) -> Aligned:
        inside = (truth > self.min_mm) & (truth < self.max_mm)
        p, t = prediction[inside], truth[inside]
        if not len(t):
            raise UserError(
                f"no depth lies between {self.min_mm:g} and {self.max_mm:g} mm: use the protocol metric",
                "EMPTY_MASK",
            )
        s, shift = self.alignment(p, t)
        return Aligned((p * s + shift).clamp(self.min_mm, self.max_mm), t, inside, s, shift)

    def alignment(self, p: Float[Tensor, " M"], t: Float[Tensor, " M"]) -> tuple[float, float]:
        """Scale and shift of one image."""
        raise NotImplementedError


@protocols.register("median")
class MedianProtocol(Ranged):
    """Per-image median scaling (Zhou 2017), as in the published endoscopy scripts (AF-SfMLearner).

    Truth outside (min_mm, max_mm) is left out; the prediction is multiplied by median(truth) /
    median(prediction) and then clipped to [min_mm, max_mm]. The scale of the scene is given away, its
    shape is judged. A median of an even number of values is the mean of the middle two, as in numpy.
    """

    def alignment(self, p: Float[Tensor, " M"], t: Float[Tensor, " M"]) -> tuple[float, float]:
        return float(middle(t) / middle(p)), 0.0


@protocols.register("lsq")
class LeastSquaresProtocol(Ranged):
    """One scale for each image, s = Σ p t / Σ p²: the least squares of s p − t. Range as in median."""

    def alignment(self, p: Float[Tensor, " M"], t: Float[Tensor, " M"]) -> tuple[float, float]:
        return float((p @ t) / (p @ p)), 0.0


@protocols.register("affine")
class AffineProtocol(Ranged):
    """Scale and shift of the depth for each image, by least squares (as Ranftl 2020 does for its inverse).

    Range as in median: where the line falls below min_mm it is clipped. The scale is held at or above 0: else a depth
    that runs backwards would be turned round and called perfect. There the best line is flat, at the truth's mean.
    """

    bounded: ClassVar[bool] = True

    def alignment(self, p: Float[Tensor, " M"], t: Float[Tensor, " M"]) -> tuple[float, float]:
        d = p - p.mean()
        spread = float(d @ d)
        scale = max(0.0, float(d @ t) / spread) if spread > 1e-12 else 0.0  # a flat prediction can only be shifted
        return scale, float(t.mean() - scale * p.mean())


@protocols.register("ppsnet")
class PPSNetProtocol(Protocol):
    """One scale for each image by the least median of squares, as PPSNet's script (2024); within_10 is its a1.

    s minimises median((t − s p)²) (Rousseeuw 1984), here by search over the quantiles of t / p, twice
    refined: the script's descent from 1 may end elsewhere. Neither clipped nor cut.
    """

    def align(self, prediction: Float[Tensor, " N"], truth: Float[Tensor, " N"], scale: float | None = None) -> Aligned:
        import torch

        ratio = (truth / prediction).sort().values
        places = torch.linspace(0, 1, 129, dtype=torch.float64)
        candidates = ratio[(places * (len(ratio) - 1)).round().long()]
        for _ in range(3):
            errors = torch.stack([(truth - s * prediction).abs().median() for s in candidates])
            best = int(errors.argmin())
            low, high = candidates[max(0, best - 1)], candidates[min(len(candidates) - 1, best + 1)]
            s = float(candidates[best])
            fine = torch.linspace(0, 1, 33, dtype=ratio.dtype, device=ratio.device)
            candidates = torch.cat([low + (high - low) * fine, candidates[best : best + 1]]).sort().values
        return Aligned(prediction * s, truth, truth > 0, s)


@protocols.register("simcol")
class SimColProtocol(Protocol):
    """One scale for each trajectory (SimCol3D's script, Rau 2024), here all images of a patient under one condition.

    Predictions are cut at max_mm; the scale is Σ p̄ t̄ / Σ p̄² over the images' mean depths p̄, t̄. The
    challenge's L1 and RMSE are mae and rmse (in cm there, in mm here), its relative error is median_rel.
    """

    max_mm: float = Field(200.0, gt=0)

    @property
    def per_trajectory(self) -> bool:
        return True

    def trajectory_scale(self, images: Sequence[tuple[Float[Tensor, " _"], Float[Tensor, " _"]]]) -> float:
        """images: valid pixels (prediction, truth) of each image of the trajectory, mm."""
        import torch

        p = torch.stack([prediction.clamp(max=self.max_mm).mean() for prediction, _ in images])
        t = torch.stack([truth.mean() for _, truth in images])
        return float((p @ t) / (p @ p))

    def align(self, prediction: Float[Tensor, " N"], truth: Float[Tensor, " N"], scale: float | None = None) -> Aligned:
        if scale is None:
            raise UserError("simcol needs whole trajectories: use evaluate", "PROTOCOL")
        kept = truth > 0
        return Aligned(prediction.clamp(max=self.max_mm) * scale, truth, kept, scale)
