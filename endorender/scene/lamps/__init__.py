"""Lights that stand somewhere: a file here that registers one, made of what is in `endorender.scene.light`, is found by
itself."""

from endorender.registry import import_all

import_all(__name__, __path__)
