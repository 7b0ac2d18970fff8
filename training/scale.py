"""The scale at which a network sees: how many pixels a radian has, and how large its pictures were in training.

A convolution knows sizes in pixels. The same wall seen by another lens or in another resolution comes in another size,
and a network loses accuracy without a word. So pictures are brought to the scale of its training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float

NEAR = 0.02  # a picture this close to the training scale is left as it is
SMALLEST = 16  # pixels of a side


class Scale(NamedTuple):
    """size: (width, height) of the training pictures. focal: least, median, greatest focal length, pixels."""

    size: tuple[int, int]
    focal: tuple[float, float, float] | None


def focal_of(frame: Any) -> float | None:
    """Pixels per radian at the centre of a frame's picture: the geometric mean of fx and fy. None where unknown."""
    if frame.K is None:
        return None
    k = np.asarray(frame.K, float)
    return float(np.sqrt(k[0, 0] * k[1, 1]))


def describe(frames: Sequence[Any], size: tuple[int, int], zoom: tuple[float, float] = (1.0, 1.0)) -> dict[str, Any]:
    """What run.json keeps of the frames trained on. size: (height, width). zoom: least and greatest factor of the focal
    length in training (`Augment.zoom`), drawn uniformly in its logarithm: the network has seen these lengths too."""
    found = [f for f in map(focal_of, frames) if f is not None]
    factors = (zoom[0], np.sqrt(zoom[0] * zoom[1]), zoom[1])
    focal = [float(f"{f:.6g}") for f in np.quantile(found, (0, 0.5, 1)) * factors] if found else None
    return {"size": [size[1], size[0]], "focal_px": focal}


def of_run(info: dict[str, Any]) -> Scale | None:
    """The scale that a run's description tells; None of runs made before it was kept."""
    kept = info.get("scale")
    if kept is None:
        return None
    return Scale(tuple(kept["size"]), tuple(kept["focal_px"]) if kept["focal_px"] else None)


def sizes(
    frames: Sequence[Any], size: tuple[int, int], scale: Scale | None, wanted: str | None
) -> list[tuple[int, int]]:
    """(height, width) at which the network is to see each frame. size: the frames' own (height, width).

    wanted: "WIDTHxHEIGHT", "native" for the frames' own, or None: a frame is brought to the area of the training
    pictures, as far as its focal length then lies within those of the training.
    """
    if wanted == "native" or (wanted is None and scale is None):
        return [size] * len(frames)
    if wanted is not None:
        return [_parsed(wanted)] * len(frames)
    assert scale is not None
    return [_scaled(size, _factor(focal_of(frame), size, scale)) for frame in frames]


def _factor(focal: float | None, size: tuple[int, int], scale: Scale) -> float:
    area = float(np.sqrt(scale.size[0] * scale.size[1] / (size[0] * size[1])))
    if focal is None or scale.focal is None:
        return area
    least, _, greatest = scale.focal
    return min(max(area, least / focal), greatest / focal)


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    if abs(factor - 1) <= NEAR:
        return size
    height, width = (max(SMALLEST, round(n * factor)) for n in size)
    return height, width


def _parsed(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if not match or min(map(int, match.groups())) < SMALLEST:
        raise UserError(
            f"the input size is WIDTHxHEIGHT, at least {SMALLEST}x{SMALLEST}, or native; got {text!r}", "INVALID_VALUE"
        )
    return int(match[2]), int(match[1])


def seen_at(
    network: torch.nn.Module, image: Float[Tensor, "B 3 H W"], size: tuple[int, int]
) -> Float[Tensor, "B 1 H W"]:
    """z-depth (B, 1, H, W) of pictures (B, 3, H, W) that the network sees at `size` (height, width).

    Smaller pictures are averaged, not picked from. Depth is interpolated in its logarithm, as the network thinks of it.
    """
    if tuple(image.shape[-2:]) == size:
        return network(image)
    smaller = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    depth = network(smaller.clamp(0, 1))
    return F.interpolate(depth.log(), image.shape[-2:], mode="bilinear", align_corners=False).exp()
