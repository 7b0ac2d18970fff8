"""Frames on disk: configure, generate, open. Importing it loads neither Taichi nor the renderer."""

from endorender.dataset.config import RenderConfig
from endorender.dataset.configuring import configure
from endorender.dataset.frame import Dataset, Frame, open_dataset
from endorender.dataset.generate import generate
from endorender.dataset.variation import PRESETS, Variation, draw

__all__ = [
    "PRESETS",
    "Dataset",
    "Frame",
    "RenderConfig",
    "Variation",
    "configure",
    "draw",
    "generate",
    "open_dataset",
]
