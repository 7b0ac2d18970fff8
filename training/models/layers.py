"""Parts that depth networks are built from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from endorender.errors import UserError, unknown

if TYPE_CHECKING:
    from jaxtyping import Float

FINE_TUNING = ("full", "head", "last-layer")


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, group normalisation (groups of up to 8 channels), ReLU. Same size for stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Module):
    """(B, 3, H, W) -> features at 1/2, 1/4, ... of the size, one per width; H, W divisible by `stride`."""

    def __init__(self, widths: Sequence[int], inputs: int = 3):
        super().__init__()
        self.stride = 2 ** len(widths)
        self.stem = convolution(inputs, widths[0], kernel=5, stride=2)
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(before, width), convolution(width, width))
            for before, width in zip([widths[0], *widths], widths)
        )

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        features = [self.levels[0](self.stem(image))]
        for level in self.levels[1:]:
            features.append(level(F.max_pool2d(features[-1], 2)))
        return features


class Decoder(nn.Module):
    """The encoder's features and the image -> (B, channels, H, W) at full resolution."""

    def __init__(self, widths: Sequence[int], detail: int = 8, inputs: int = 3):
        super().__init__()
        self.channels = 2 * detail
        # Narrowing before upsampling, where pixels are few, takes a tenth off the time of a training step.
        self.narrow = nn.ModuleList(
            nn.Conv2d(deep, skip, 1) for deep, skip in zip(widths[::-1], [*widths[-2::-1], detail])
        )
        self.levels = nn.ModuleList(convolution(2 * skip, skip) for skip in widths[-2::-1])
        self.detail = convolution(inputs, detail)
        self.fuse = convolution(2 * detail, self.channels)

    def forward(
        self, features: list[Float[Tensor, "B _ _ _"]], image: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B channels H W"]:
        x = features[-1]
        for narrow, level, skip in zip(self.narrow, self.levels, features[-2::-1]):
            x = level(torch.cat([F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"), skip], 1))
        x = F.interpolate(self.narrow[-1](x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.fuse(torch.cat([x, self.detail(image)], 1))


CUES = 3  # channels of `shading_cues`
PLACE_PX = 64.0  # the unit of the place in the picture


def shading_cues(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 H W"]:
    """(B, 3, H, W): the logarithm of the brightness, and the place from the picture's middle in units of PLACE_PX.

    Light from the scope's tip falls with the square of the distance and to the rim of its beam, so that ln depth is
    nearly linear in the first and quadratic in the others; convolutions find neither easily by themselves.
    """
    brightness = image.mean(1, keepdim=True).clamp(min=0)
    rows, columns = (
        (torch.arange(n, device=image.device, dtype=image.dtype) - (n - 1) / 2) / PLACE_PX for n in image.shape[-2:]
    )
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(image.shape[0], -1, -1, -1)
    return torch.cat([(brightness + 0.01).log() + 1.5, place], 1)


class DepthNetwork(nn.Module):
    """image (B, 3, H, W), display values in 0..1 -> z-depth (B, 1, H, W) in mm, for any H and W.

    Inside, the last layer predicts ln(depth / typical_mm): depths are positive, and an error weighs by
    its ratio. Sizes that the encoder cannot divide are padded by repeating the edge, and cut again.

    encoder: image -> features; it has `stride`, what H and W must be divisible by.
    decoder: features, image -> (B, channels, H, W). mean, std: how display values are normalised.
    """

    exportable = True  # to ONNX
    mixes = True  # whether `mixed` is understood
    grows = True  # whether training may pad its pictures for it, on a side drawn anew at each step
    mixed = False  # while training: encoder and decoder in 16 bits, weights and the last layer in 32
    cues = False  # whether encoder and decoder are given `shading_cues`, too
    channels_last = False  # whether convolutions are quicker with channels last in memory

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        typical_mm: float,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.25,),
    ):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.log_typical = math.log(typical_mm)
        self.mean, self.std = list(mean), list(std)

    def padded(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B _ _ _"]:
        """The image normalised, and grown to a size that the encoder can divide."""
        stride = int(self.encoder.stride)  # type: ignore[arg-type]
        down, right = -image.shape[-2] % stride, -image.shape[-1] % stride
        x = (image - image.new_tensor(self.mean)[:, None, None]) / image.new_tensor(self.std)[:, None, None]
        if self.cues:
            x = torch.cat([x, shading_cues(image)], 1)
        return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        height, width = image.shape[-2:]
        x = self.padded(image)
        if self.mixed and self.training:
            with torch.autocast(x.device.type, torch.bfloat16):
                features = self.decoder(self.encoder(x), x).float()
        else:
            if self.channels_last and not torch.compiler.is_exporting():
                x = x.contiguous(memory_format=torch.channels_last)
            features = self.decoder(self.encoder(x), x)
        log_ratio = self.head(features)
        return (log_ratio[..., :height, :width] + self.log_typical).exp()

    def last_layer(self) -> nn.Module:
        """The layer that the paper fine-tunes: the one whose output is the (log) depth."""
        return self.head

    def train(self, mode: bool = True) -> DepthNetwork:
        """As in torch, but what is frozen stays in evaluation mode: running statistics are weights too."""
        super().train(mode)
        for module in self.modules() if mode else ():
            if module is not self and not any(p.requires_grad for p in module.parameters()):
                module.training = next(module.parameters(), None) is None
        return self


def freeze(network: DepthNetwork, mode: str) -> list[str]:
    """Leaves trainable what the fine-tuning mode trains; returns the names of the frozen parameters.

    mode: "full" (nothing is frozen), "head" (the encoder is) or "last-layer" (everything else is).
    """
    if mode not in FINE_TUNING:
        raise UserError(unknown("fine-tuning mode", mode, FINE_TUNING), "UNKNOWN_NAME")
    last = {id(p) for p in network.last_layer().parameters()}
    encoder = {id(p) for p in network.encoder.parameters()}
    trained = {"full": lambda p: True, "head": lambda p: id(p) not in encoder, "last-layer": lambda p: id(p) in last}
    frozen = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained[mode](parameter))
        if not parameter.requires_grad:
            frozen.append(name)
    return frozen


def frozen_modules(network: nn.Module) -> list[str]:
    """The fewest modules (or single parameters) that hold all that is frozen and nothing else."""
    names = []
    for name, child in network.named_children():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            names.append(name)
        else:
            names += [f"{name}.{inner}" for inner in frozen_modules(child)]
    return names + [name for name, p in network.named_parameters(recurse=False) if not p.requires_grad]
