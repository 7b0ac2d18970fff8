"""A ConvNeXt V2 (Woo 2023) as the encoder of our decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from torch import Tensor

    from training.models.layers import DepthNetwork

SMALL: dict[str, Any] = {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1]}


@models.register("convnextv2", cases=[{}])
class ConvNeXtV2(Model):
    """Encoder-decoder on a ConvNeXt V2 (Woo 2023) of transformers.

    config: keys of transformers' ConvNextV2Config over a small default; with weights from a local folder they
    are that folder's. width: channels at half resolution, where the backbone has none.
    typical_mm: the depth that an untrained network predicts.
    """

    config: dict[str, Any] = Field({})
    width: int = Field(16, ge=8, le=256, multiple_of=8)
    typical_mm: float = Field(20.0, gt=0, le=1000)

    def pretrained(self, folder: str | Path) -> ConvNeXtV2:
        """The same parameters with the configuration in a folder that transformers saved."""
        from training.models.pretrained import read_folder

        return self.model_copy(update={"config": read_folder(folder, "ConvNextV2Config", ["convnextv2"])})

    def network(self, weights: Mapping[str, Tensor] | None = None) -> DepthNetwork:
        """The torch module. weights: transformers' state_dict; without, from torch's current generator."""
        from training.models.pretrained import configuration
        from training.models.transformer import pyramid

        config = configuration("ConvNextV2Config", SMALL, self.config)
        return pyramid(config, self.width, self.typical_mm, weights, fresh=("hidden_states_norms.",))
