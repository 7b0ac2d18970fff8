"""Torch modules around the parts of transformers' depth networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.layers import Decoder, DepthNetwork, convolution
from training.models.pretrained import load

if TYPE_CHECKING:
    from jaxtyping import Float

IMAGENET: dict[str, Sequence[float]] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Tokens(NamedTuple):
    """layers: token sequences (B, 1 + h w, C), class token first; h, w: patches down and across."""

    layers: list[Float[Tensor, "B tokens C"]]
    height: int
    width: int


class TokenEncoder(nn.Module):
    """A vision transformer's embeddings and layers; gives the sequences after the chosen layers (from 0).

    They are run here one by one: transformers collects inner states by hooks, which cannot be exported.
    """

    def __init__(self, embeddings: nn.Module, layers: Any, chosen: Sequence[int], patch: int, stride: int, norm: Any):
        super().__init__()
        self.embeddings, self.layers, self.norm = embeddings, layers[: max(chosen) + 1], norm
        self.chosen, self.patch, self.stride = list(chosen), patch, stride

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Tokens:
        x = self.embeddings(image)
        x = getattr(x, "last_hidden_states", x)
        kept = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
            if index in self.chosen:
                kept.append(self.norm(x))
        return Tokens(kept, image.shape[-2] // self.patch, image.shape[-1] // self.patch)


class FusionDecoder(nn.Module):
    """transformers' neck and the first two convolutions of its head -> (B, channels, H, W).

    The class of the relative inverse depth that the last convolution predicted is gone: ours, which is
    new, predicts the logarithm of the depth.
    """

    def __init__(self, neck: Any, first: nn.Module, second: nn.Module):
        super().__init__()
        # The deepest stage fuses nothing with itself: its first residual layer is never run.
        neck.fusion_stage.layers[0].residual_layer1 = nn.Identity()
        self.neck, self.first, self.second = neck, first, second

    def forward(self, tokens: Tokens, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B channels H W"]:
        fused = self.neck(tokens.layers, tokens.height, tokens.width)[-1]
        x = F.interpolate(self.first(fused), image.shape[-2:], mode="bilinear", align_corners=True)
        return F.relu(self.second(x))


class PyramidEncoder(nn.Module):
    """A convolutional backbone of transformers, with a thin level at half resolution before it.

    Features at 1/2, 1/4, 1/8, 1/16, 1/32 of the size.
    """

    stride = 32

    def __init__(self, backbone: nn.Module, width: int):
        super().__init__()
        self.stem = convolution(3, width, kernel=5, stride=2)
        self.backbone = backbone

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        maps: Any = self.backbone(image)
        return [self.stem(image), *maps.feature_maps]


def pyramid(
    config: Any, width: int, typical_mm: float, folder: str | Path | None, fresh: tuple[str, ...]
) -> DepthNetwork:
    """A convolutional backbone of four stages by its configuration, our decoder, and a new last layer."""
    from transformers import AutoBackbone

    config.out_features = ["stage1", "stage2", "stage3", "stage4"]
    backbone = AutoBackbone.from_config(config)
    if folder is not None:
        backbone = load(type(backbone), folder, config, fresh)
    decoder = Decoder([width, *config.hidden_sizes])
    head = nn.Conv2d(decoder.channels, 1, 3, padding=1)
    return DepthNetwork(PyramidEncoder(backbone, width), decoder, head, typical_mm, **IMAGENET)
