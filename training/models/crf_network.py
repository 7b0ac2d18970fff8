"""The torch module behind `cnn_crf`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.crf import coupling, most_probable
from training.models.layers import DepthNetwork, Encoder
from training.superpixels import superpixels

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int, Integer


class RandomField(NamedTuple):
    """One image's CRF over ln(depth / typical): labels (H, W), pairs (E, 2) with strengths (E,), z (N,) float64."""

    pairs: Int[Tensor, "E 2"]
    strength: Float64[Tensor, " E"]
    z: Float64[Tensor, " N"]
    labels: Int[Tensor, "H W"]

    @property
    def a(self) -> Float64[Tensor, "N N"]:
        """(N, N), half the precision."""
        return coupling(self.pairs, self.strength, len(self.z))

    def most_probable(self) -> Float64[Tensor, "H W"]:
        """(H, W) ln(depth / typical)."""
        return most_probable(self.pairs, self.strength, self.z)[self.labels]


class PooledFeatures(nn.Module):
    """Features of every level, averaged over a superpixel (as in DCNF-FCSP, Liu 2016), to `outputs` numbers."""

    def __init__(self, inputs: int, outputs: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs), nn.ReLU())

    def forward(
        self, maps: Sequence[Float[Tensor, "_ _ _"]], labels: Integer[np.ndarray, "H W"]
    ) -> Float[Tensor, "N outputs"]:
        """maps: (C, h, w) each, of the image and of halves of its size; labels: (H, W) -> (N, outputs).

        The mean over a superpixel of maps that were enlarged bilinearly is linear in them: no large map is made.
        """
        size = (maps[0].shape[-2], maps[0].shape[-1])
        flat = labels.ravel()
        mean = scipy.sparse.csr_array((1 / np.bincount(flat)[flat], (flat, np.arange(flat.size))))
        means = [_means(mean, (m.shape[-2], m.shape[-1]), size, labels.shape).to(m.device) for m in maps]
        return self.layers(torch.cat([mean @ m.flatten(1).T for mean, m in zip(means, maps)], 1))


def _means(
    mean: scipy.sparse.csr_array, small: tuple[int, int], large: tuple[int, int], kept: tuple[int, int]
) -> Tensor:
    """(N, h w) sparse: from a map of the size `small` to its means over superpixels (mean: (N, H W), of pixels), after
    it was brought to `large`, of which superpixels cover the upper left, `kept` = (H, W)."""
    found = (mean @ _enlarging(small, large, kept)).tocoo()
    place = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        place, torch.from_numpy(found.data.astype(np.float32)), found.shape, check_invariants=True
    ).coalesce()


@lru_cache(maxsize=32)
def _enlarging(small: tuple[int, int], large: tuple[int, int], kept: tuple[int, int]) -> scipy.sparse.csr_array:
    """(H W, h w): bilinear interpolation as torch does it, of which the upper left `kept` is wanted."""

    def along(few: int, many: int, wanted: int) -> np.ndarray:
        return F.interpolate(torch.eye(few)[None], many, mode="linear", align_corners=False)[0, :, :wanted].T.numpy()

    rows, columns = (along(*sizes) for sizes in zip(small, large, kept))
    return scipy.sparse.csr_array(scipy.sparse.kron(rows, columns, "csr"))


class CrfNetwork(DepthNetwork):
    """image (B, 3, H, W) -> z-depth (B, 1, H, W) in mm: the MAP of each image's CRF.

    SLIC runs on the CPU and passes no gradient: superpixels follow the image, not the weights.
    """

    exportable = False
    mixes = False
    grows = False  # superpixels would cover what was added

    def __init__(self, config: Any):
        widths = [config.width * min(2**level, 8) for level in range(config.levels)]
        pooled = PooledFeatures(sum(widths) + 3)
        super().__init__(Encoder(widths), pooled, nn.Linear(64, 1), config.typical_mm)
        self.config = config
        # β = softplus(raw_beta) > 0 for any weights, so A stays positive definite.
        self.raw_beta = nn.Parameter(torch.full((3,), math.log(math.expm1(config.beta))))

    def fields(self, image: Float[Tensor, "B 3 H W"]) -> list[RandomField]:
        """The CRF of every image."""
        x = self.padded(image)
        levels = [x, *self.encoder(x)]
        return [self._field(picture, maps) for picture, *maps in zip(image, *levels)]

    def _field(self, picture: Tensor, maps: Sequence[Tensor]) -> RandomField:
        c = self.config
        pixels = picture.detach().permute(1, 2, 0).cpu().numpy()
        found = superpixels(pixels, c.superpixels, c.compactness, c.bins)
        labels = torch.from_numpy(found.labels).to(picture.device)
        pairs = torch.from_numpy(found.pairs).to(picture.device)
        z = self.head(self.decoder(maps, found.labels))[:, 0].double()
        strength = z.new_zeros(len(pairs))
        for beta, s in zip(F.softplus(self.raw_beta.double()), found.features):
            values = torch.from_numpy(s).to(z)
            distance = (values[pairs[:, 0]] - values[pairs[:, 1]]).norm(dim=1)
            strength = strength + beta * (-c.gamma * distance).exp()  # R_pq, Liu 2015, eq. 9
        return RandomField(pairs, strength, z, labels)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        ratios = [field.most_probable() for field in self.fields(image)]
        return (torch.stack(ratios)[:, None].to(image.dtype) + self.log_typical).exp()
