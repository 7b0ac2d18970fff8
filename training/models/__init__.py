"""Depth networks by name. A registered class holds the parameters; `network()` builds the torch module.

Listing networks imports no torch.
"""

from endorender.registry import Registry

models = Registry("model")

from training.models import unet  # noqa: E402  (registers itself)

__all__ = ["models", "unet"]
