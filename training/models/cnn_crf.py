"""The paper's network: a CNN regresses a depth for every superpixel, a continuous CRF couples neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from training.models.layers import DepthNetwork


@models.register("cnn_crf", cases=[{"superpixels": 150, "width": 8, "levels": 3}])
class CnnCrf(Model):
    """CNN and continuous CRF over superpixels (Liu, Shen, Lin & Reid 2015; Mahmood & Durr 2018).

    Depth is constant on a superpixel and logarithmic inside. superpixels: how many SLIC makes, about;
    compactness: of their shape against their colour; bins: of each channel's histogram; gamma: how
    fast a pair's strength falls with the distance of its features; beta: strength of each of the three
    features (mean colour, colour histogram, local binary patterns) before training, which keeps it ≥ 0.
    width, levels: of the encoder, as in unet. typical_mm: the depth that an untrained network predicts.
    """

    superpixels: int = Field(300, ge=4, le=4000)
    compactness: float = Field(20.0, gt=0)
    bins: int = Field(8, ge=2, le=64)
    gamma: float = Field(5.0, ge=0)
    beta: float = Field(0.3, gt=0)
    width: int = Field(16, ge=8, le=256, multiple_of=8)
    levels: int = Field(4, ge=2, le=6)
    typical_mm: float = Field(20.0, gt=0, le=1000)

    def network(self) -> DepthNetwork:
        """The torch module, with random weights from torch's current generator."""
        from training.models.crf_network import CrfNetwork

        return CrfNetwork(self)
