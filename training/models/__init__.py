"""Depth networks by name. A registered class holds the parameters; `network()` builds the torch module.

Listing networks imports no torch. A class with `pretrained` takes weights in the format of transformers.
"""

from endorender.registry import Registry

models = Registry("model")

from training.models import cnn_crf, depth_anything, dpt, encoders, unet  # noqa: E402  (register themselves)

__all__ = ["cnn_crf", "depth_anything", "dpt", "encoders", "models", "unet"]
