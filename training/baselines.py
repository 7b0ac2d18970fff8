"""What can be had without a network: depth from a pixel's own brightness and place, or from nothing at all.

A network that knows no more than a tone curve has not learned shape. So each evaluation judges these too, on the same
frames under the same protocols; what they need to be fitted is fitted on the training frames of the same run, as the
network is given them, and kept in run.json. One class here, or in a file of its own, adds another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from endorender.errors import UserError
from endorender.registry import Model, Registry
from training.files import derive

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64
    from torch import Tensor

    from training.data import DepthFrames

baselines = Registry("baseline")
LOOKUP = "lookup"  # what a network has to beat, and by how many percent, to count as reading shape
MARGIN = 25.0
FRAMES, PIXELS = 256, 512  # of the training frames that are looked at, and of each of these
DARKEST = 1 / 255


class Pixels(NamedTuple):
    """(N,) float64: luminance, Rec. 709 of display values, DARKEST..1; radius, from the principal point over half the
    diagonal; z_depth, mm, None of what is to be predicted."""

    luminance: Float64[np.ndarray, " N"]
    radius: Float64[np.ndarray, " N"]
    z_depth: Float64[np.ndarray, " N"] | None = None


class Baseline(Model):
    """free: needs no fitting but for its scale in mm, which some protocols give away."""

    free: ClassVar[bool] = True

    @classmethod
    def fit(cls, seen: Pixels) -> Baseline:
        """On pixels of training frames."""
        raise NotImplementedError

    def depth(self, seen: Pixels) -> Float64[np.ndarray, " N"]:
        """z-depth (N,), mm, positive."""
        raise NotImplementedError


@baselines.register("constant")
class Constant(Baseline):
    """One depth for every pixel: the median of the training frames."""

    depth_mm: float = Field(1.0, gt=0)

    @classmethod
    def fit(cls, seen: Pixels) -> Constant:
        return cls(depth_mm=_rounded(np.median(_truth(seen))))

    def depth(self, seen: Pixels) -> Float64[np.ndarray, " N"]:
        return np.full(len(seen.luminance), self.depth_mm)


class Power(Baseline):
    """scale_mm · luminance^−exponent; the scale is the training frames' median of depth · luminance^exponent."""

    exponent: ClassVar[float]
    scale_mm: float = Field(1.0, gt=0)

    @classmethod
    def fit(cls, seen: Pixels) -> Power:
        return cls(scale_mm=_rounded(np.median(_truth(seen) * seen.luminance**cls.exponent)))

    def depth(self, seen: Pixels) -> Float64[np.ndarray, " N"]:
        return np.asarray(self.scale_mm * seen.luminance**-self.exponent)


@baselines.register("inverse-root")
class InverseRoot(Power):
    """1/√luminance, the fall-off of light with the square of the distance, in a picture that is linear in light."""

    exponent = 0.5


@baselines.register("inverse")
class Inverse(Power):
    """1/luminance, about the same fall-off behind the gamma of a display."""

    exponent = 1.0


@baselines.register(LOOKUP, cases=[{"coefficients": [3.0, -0.5, 0, 0, -0.1, 0.1], "dark": -5, "bright": 0, "rim": 1}])
class Lookup(Baseline):
    """ln z = c0 + c1 l + c2 l² + c3 l³ + c4 r + c5 r², l = ln luminance, r = radius: least squares on training frames.

    dark, bright: the range of l that was fitted on, rim: the greatest r; what lies beyond is taken for its end, since a
    cubic is good for nothing there.
    """

    free: ClassVar[bool] = False
    coefficients: tuple[float, float, float, float, float, float]
    dark: float
    bright: float
    rim: float

    @classmethod
    def fit(cls, seen: Pixels) -> Lookup:
        l, r = np.log(seen.luminance), seen.radius
        found = np.linalg.lstsq(_terms(l, r), np.log(_truth(seen)), rcond=None)[0]
        ends = (_rounded(l.min()), _rounded(l.max()), _rounded(r.max()))
        return cls(coefficients=tuple(map(_rounded, found)), dark=ends[0], bright=ends[1], rim=ends[2])

    def depth(self, seen: Pixels) -> Float64[np.ndarray, " N"]:
        l = np.log(seen.luminance).clip(self.dark, self.bright)
        return np.exp(_terms(l, seen.radius.clip(max=self.rim)) @ np.array(self.coefficients))


def _terms(l: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(l), l, l**2, l**3, r, r**2], axis=-1)


def _truth(seen: Pixels) -> np.ndarray:
    assert seen.z_depth is not None
    return seen.z_depth


def _rounded(value: Any) -> float:
    """Nine digits: the last ones depend on the number of threads."""
    return float(f"{float(value):.9g}")


def pixels_of(item: Mapping[str, Any]) -> Pixels:
    """All pixels of an item of `DepthFrames`, row by row; without intrinsics the picture's middle is its centre."""
    image, k = item["image"].double().numpy(), item["K"].double().numpy()
    height, width = image.shape[1:]
    middle = (k[0, 2], k[1, 2]) if np.isfinite(k[:2, 2]).all() else ((width - 1) / 2, (height - 1) / 2)
    y, x = np.mgrid[:height, :width]
    luminance = np.tensordot((0.2126, 0.7152, 0.0722), image, 1).clip(DARKEST, 1)
    radius = 2 * np.hypot(x - middle[0], y - middle[1]) / np.hypot(height, width)
    return Pixels(luminance.ravel(), radius.ravel())


def sample(frames: Sequence[Any]) -> Pixels:
    """Pixels with a depth: as many of each frame, of frames evenly spread; the same ones every time."""
    from training.data import DepthFrames

    count = min(FRAMES, len(frames))
    tensors = DepthFrames([frames[(2 * k + 1) * len(frames) // (2 * count)] for k in range(count)])
    rng, parts = np.random.default_rng(derive("baselines")), []
    for index in range(count):
        item = tensors[index]
        valid = np.flatnonzero(item["mask"].numpy())
        chosen = np.sort(rng.choice(valid, min(PIXELS, len(valid)), replace=False))
        every = pixels_of(item)
        z = item["z_depth"].double().numpy().ravel()[chosen]
        parts.append((every.luminance[chosen], every.radius[chosen], z))
    return Pixels(*(np.concatenate(part) for part in zip(*parts)))


def fitted(frames: Sequence[Any]) -> list[dict[str, Any]]:
    """Every baseline, fitted on training frames, as run.json keeps them."""
    seen = sample(frames)
    return [baselines.dump(baselines[name].fit(seen)) for name in baselines]  # type: ignore[attr-defined]


def of_run(info: Mapping[str, Any]) -> tuple[dict[str, Baseline], bool]:
    """The baselines of a run by name, and whether they were fitted; of older runs those that need no fitting."""
    kept = info.get("baselines")
    if kept is None:
        return {name: baselines.build(name) for name in baselines if baselines[name].free}, False  # type: ignore[attr-defined]
    if not isinstance(kept, list) or not all(isinstance(b, dict) and isinstance(b.get("type"), str) for b in kept):
        raise UserError("the run's baselines are not as they were written: train the network again", "TRUNCATED")
    return {spec["type"]: baselines.build(spec) for spec in kept if spec["type"] in baselines}, True


def predictions(baseline: Baseline, tensors: DepthFrames) -> list[Float32[Tensor, "1 _ _"]]:
    """z-depth (1, H, W) float32 mm of every frame."""
    import torch

    found = []
    for index in range(len(tensors)):
        item = tensors[index]
        depth = baseline.depth(pixels_of(item)).reshape(item["image"].shape[1:])
        found.append(torch.from_numpy(depth.astype(np.float32))[None])
    return found


def verdict(low: float, high: float, p: float) -> str:
    """Of a network's gain over the lookup, in percent: the limits of its interval, and p that it is MARGIN."""
    if p < 0.05 and low > MARGIN:
        return "reads shape"
    return "does not beat the lookup" if p < 0.05 and high < MARGIN else "undecided"
