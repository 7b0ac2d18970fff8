"""Depth Anything: DPT's decoder on DINOv2's features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.registry import Model
from training.models import models

if TYPE_CHECKING:
    from training.models.layers import DepthNetwork

BACKBONE: dict[str, Any] = {
    "model_type": "dinov2",
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "mlp_ratio": 2,
    "patch_size": 14,
    "image_size": 126,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
    "qkv_bias": False,
}
SMALL: dict[str, Any] = {
    "backbone_config": BACKBONE,
    "patch_size": 14,
    "reassemble_hidden_size": 96,
    "neck_hidden_sizes": [16, 32, 64, 96],
    "fusion_hidden_size": 32,
    "head_hidden_size": 16,
    "head_in_index": -1,
}


@models.register("depth_anything", cases=[{}])
class DepthAnything(Model):
    """Depth Anything (Yang 2024, V1 and V2), built by transformers.

    config: keys of transformers' DepthAnythingConfig over a small default that two cores can train; with
    weights from a local folder they are that folder's. The last convolution is always new, as in dpt.
    typical_mm: the depth that an untrained network predicts.
    """

    config: dict[str, Any] = Field({})
    typical_mm: float = Field(20.0, gt=0, le=1000)

    def pretrained(self, folder: str | Path) -> DepthAnything:
        """The same parameters with the configuration in a folder that transformers saved."""
        from training.models.pretrained import read_folder

        return self.model_copy(update={"config": read_folder(folder, "DepthAnythingConfig", ["depth_anything"])})

    def network(self, folder: str | Path | None = None) -> DepthNetwork:
        """The torch module. folder: transformers' weights; without, from torch's current generator."""
        from torch import nn

        from training.models.layers import DepthNetwork
        from training.models.pretrained import configuration, load
        from training.models.transformer import IMAGENET, FusionDecoder, TokenEncoder

        config = configuration("DepthAnythingConfig", SMALL, self.config)
        from transformers import DepthAnythingForDepthEstimation

        fresh = ("head.conv3.", "neck.fusion_stage.layers.0.residual_layer1.", "backbone.embeddings.mask_token")
        if folder is None:
            whole = DepthAnythingForDepthEstimation(config)
        else:
            whole = load(DepthAnythingForDepthEstimation, folder, config, fresh)
        backbone, patch = whole.backbone, config.patch_size
        backbone.embeddings.mask_token = None  # belongs to the backbone's own training
        chosen = [index - 1 for index in backbone.config.out_indices]  # index 0 is what enters the first layer
        encoder = TokenEncoder(
            backbone.embeddings, backbone.encoder.layer, chosen, patch, patch, backbone.layernorm
        )  # fmt: skip
        decoder = FusionDecoder(whole.neck, whole.head.conv1, whole.head.conv2)
        head = nn.Conv2d(config.head_hidden_size, 1, 1)
        return DepthNetwork(encoder, decoder, head, self.typical_mm, **IMAGENET)
