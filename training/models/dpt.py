"""DPT: a vision transformer whose layers are fused from coarse to fine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from training.models.layers import DepthNetwork

SMALL: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "patch_size": 16,
    "image_size": 128,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [16, 32, 64, 96],
    "fusion_hidden_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "qkv_bias": False,
    "is_hybrid": False,
}


@models.register("dpt", cases=[{}])
class DPT(Model):
    """Dense prediction transformer (Ranftl, Bochkovskiy & Koltun 2021), built by transformers.

    config: keys of transformers' DPTConfig over a small default that two cores can train; with weights
    from a local folder they are that folder's. The last convolution is always new: it predicts the
    logarithm of the depth, where the published one predicts an inverse depth of unknown scale.
    typical_mm: the depth that an untrained network predicts.
    """

    config: dict[str, Any] = Field({})
    typical_mm: float = Field(20.0, gt=0, le=1000)

    def pretrained(self, folder: str | Path) -> DPT:
        """The same parameters with the configuration in a folder that transformers saved."""
        from training.models.pretrained import read_folder

        return self.model_copy(update={"config": read_folder(folder, "DPTConfig", ["dpt"])})

    def network(self, folder: str | Path | None = None) -> DepthNetwork:
        """The torch module. folder: transformers' weights; without, from torch's current generator."""
        from torch import nn

        from endorender.errors import UserError
        from training.models.layers import DepthNetwork
        from training.models.pretrained import configuration, load
        from training.models.transformer import FusionDecoder, TokenEncoder

        config = configuration("DPTConfig", SMALL, self.config)
        if config.is_hybrid or config.backbone_config is not None:
            raise UserError("dpt takes the plain vision transformer: neither hybrid nor another backbone")
        from transformers import DPTForDepthEstimation

        if folder is None:
            whole = DPTForDepthEstimation(config)
        else:
            fresh = ("head.head.4.", "neck.fusion_stage.layers.0.residual_layer1.")
            whole = load(DPTForDepthEstimation, folder, config, fresh)
        layers = whole.head.head
        # The deepest stage has half as many pixels as there are patches: their number must be even.
        encoder = TokenEncoder(
            whole.dpt.embeddings, whole.dpt.encoder.layer, config.backbone_out_indices, config.patch_size,
            2 * config.patch_size, nn.Identity(),
        )  # fmt: skip
        decoder = FusionDecoder(whole.neck, layers[0], layers[2])
        return DepthNetwork(encoder, decoder, nn.Conv2d(32, 1, 1), self.typical_mm, (0.5,), (0.5,))
