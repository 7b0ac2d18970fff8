"""The small encoder-decoder: trainable from scratch on two CPU cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from training.models.layers import DepthNetwork


@models.register("unet", cases=[{}, {"width": 8, "levels": 3, "cues": False}])
class UNet(Model):
    """Encoder-decoder with skip connections (Ronneberger 2015) and group normalisation (Wu & He 2018).

    Most of it works at half resolution and below; one thin full-resolution path restores edges, which
    keeps a step at 128x96 cheap. width: channels at half resolution, doubled at each of the `levels`
    that follow the first, up to eight times. typical_mm: the depth that an untrained network predicts.
    cues: the network is also given the logarithm of the brightness and the place in the picture (docs/training.md has
    what that gains). Runs of versions that did not know the key have none.
    """

    width: int = Field(16, ge=8, le=256, multiple_of=8)
    levels: int = Field(4, ge=2, le=6)
    typical_mm: float = Field(20.0, gt=0, le=1000)
    cues: bool = True

    def network(self) -> DepthNetwork:
        """The torch module, with random weights from torch's current generator."""
        from torch import nn

        from training.models.layers import CUES, Decoder, DepthNetwork, Encoder

        widths = [self.width * min(2**level, 8) for level in range(self.levels)]
        inputs = 3 + CUES * self.cues
        decoder = Decoder(widths, inputs=inputs)
        network = DepthNetwork(
            Encoder(widths, inputs), decoder, nn.Conv2d(decoder.channels, 1, 3, padding=1), self.typical_mm
        )
        network.channels_last, network.cues = True, self.cues
        return network
