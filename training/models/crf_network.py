"""The torch module behind `cnn_crf`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.crf import coupling, most_probable
from training.models.layers import DepthNetwork, Encoder
from training.superpixels import superpixels


class RandomField(NamedTuple):
    """One image's CRF over ln(depth / typical): a (N, N) and z (N,) float64, labels (H, W)."""

    a: Tensor
    z: Tensor
    labels: Tensor


class PooledFeatures(nn.Module):
    """Features of every level, averaged over a superpixel (as in DCNF-FCSP, Liu 2016), to `outputs` numbers."""

    def __init__(self, inputs: int, outputs: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs), nn.ReLU())

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """maps: (C, H, W); labels: (H, W) -> (N, outputs)."""
        flat = labels.flatten()
        size = torch.bincount(flat).to(maps.dtype)[:, None]
        sums = maps.new_zeros(len(size), len(maps)).index_add(0, flat, maps.flatten(1).T)
        return self.layers(sums / size)


class CrfNetwork(DepthNetwork):
    """image (B, 3, H, W) -> z-depth (B, 1, H, W) in mm: the MAP of each image's CRF.

    SLIC runs on the CPU and passes no gradient: superpixels follow the image, not the weights.
    """

    exportable = False
    mixes = False

    def __init__(self, config: Any):
        widths = [config.width * min(2**level, 8) for level in range(config.levels)]
        pooled = PooledFeatures(sum(widths) + 3)
        super().__init__(Encoder(widths), pooled, nn.Linear(64, 1), config.typical_mm)
        self.config = config
        # β = softplus(raw_beta) > 0 for any weights, so A stays positive definite.
        self.raw_beta = nn.Parameter(torch.full((3,), math.log(math.expm1(config.beta))))

    def fields(self, image: Tensor) -> list[RandomField]:
        """The CRF of every image."""
        size = image.shape[-2:]
        x = self.padded(image)
        levels = [x, *self.encoder(x)]
        maps = [F.interpolate(f, x.shape[-2:], mode="bilinear", align_corners=False) for f in levels]
        joined = torch.cat(maps, 1)[..., : size[0], : size[1]]
        return [self._field(picture, features) for picture, features in zip(image, joined)]

    def _field(self, picture: Tensor, features: Tensor) -> RandomField:
        c = self.config
        pixels = picture.detach().permute(1, 2, 0).cpu().numpy()
        found = superpixels(pixels, c.superpixels, c.compactness, c.bins)
        labels = torch.from_numpy(found.labels).to(picture.device)
        pairs = torch.from_numpy(found.pairs).to(picture.device)
        z = self.head(self.decoder(features, labels))[:, 0].double()
        strength = z.new_zeros(len(pairs))
        for beta, s in zip(F.softplus(self.raw_beta.double()), found.features):
            values = torch.from_numpy(s).to(z)
            distance = (values[pairs[:, 0]] - values[pairs[:, 1]]).norm(dim=1)
            strength = strength + beta * (-c.gamma * distance).exp()  # R_pq, Liu 2015, eq. 9
        return RandomField(coupling(pairs, strength, found.number), z, labels)

    def forward(self, image: Tensor) -> Tensor:
        ratios = [most_probable(f.a, f.z)[f.labels] for f in self.fields(image)]
        return (torch.stack(ratios)[:, None].to(image.dtype) + self.log_typical).exp()
