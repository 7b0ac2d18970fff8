"""Lights beside `endorender.scene.light`'s own: a file here that registers one is found by itself."""

from endorender.registry import import_all

import_all(__name__, __path__)
