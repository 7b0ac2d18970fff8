"""Cameras whose lens distorts, as calibrations describe them: a file here that registers one is found by itself."""

from endorender.registry import import_all

import_all(__name__, __path__)
