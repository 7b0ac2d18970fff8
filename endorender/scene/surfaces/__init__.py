"""Surfaces beside `endorender.scene.surface`'s own: a file here that registers a `Coat` is found by itself."""

from endorender.registry import import_all

import_all(__name__, __path__)
