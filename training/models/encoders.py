"""Convolutional backbones of transformers as encoders of our decoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from training.models.layers import DepthNetwork

SMALL: dict[str, Any] = {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1]}


class Backbone(Model):
    """config: keys of transformers' configuration over a small default; with weights from a local folder that folder's.

    width: channels at half resolution, where the backbone has none. typical_mm: the depth that an untrained network
    predicts.
    """

    CONFIGURATION: ClassVar[str]  # of transformers
    TYPE: ClassVar[str]
    DEFAULT: ClassVar[dict[str, Any]] = SMALL
    FRESH: ClassVar[tuple[str, ...]] = ()  # parameters that published weights do not hold

    config: dict[str, Any] = Field({})
    width: int = Field(16, ge=8, le=256, multiple_of=8)
    typical_mm: float = Field(20.0, gt=0, le=1000)

    def pretrained(self, folder: str | Path) -> Backbone:
        """The same parameters with the configuration in a folder that transformers saved."""
        from training.models.pretrained import read_folder

        return self.model_copy(update={"config": read_folder(folder, self.CONFIGURATION, [self.TYPE])})

    def network(self, folder: str | Path | None = None) -> DepthNetwork:
        """The torch module. folder: transformers' weights; without, from torch's current generator."""
        from training.models.pretrained import configuration
        from training.models.transformer import pyramid

        config = configuration(self.CONFIGURATION, self.DEFAULT, self.config)
        return pyramid(config, self.width, self.typical_mm, folder, fresh=self.FRESH)


@models.register("resnet", cases=[{}])
class ResNet(Backbone):
    """Encoder-decoder on a residual network (He 2016) of transformers."""

    CONFIGURATION, TYPE = "ResNetConfig", "resnet"
    DEFAULT: ClassVar[dict[str, Any]] = {**SMALL, "embedding_size": 16, "layer_type": "basic"}


@models.register("convnextv2", cases=[{}])
class ConvNeXtV2(Backbone):
    """Encoder-decoder on a ConvNeXt V2 (Woo 2023) of transformers."""

    CONFIGURATION, TYPE = "ConvNextV2Config", "convnextv2"
    FRESH = ("hidden_states_norms.",)
