"""CT in: DICOM, NIfTI, the shipped sample and phantoms as a `Volume`; the lumen in it and a way through."""

from __future__ import annotations

from endorender.ct import cleanse, lumen, phantoms, survey
from endorender.ct.errors import CODES, CTError
from endorender.ct.inspection import describe, lumens, preview
from endorender.ct.labels import onto, read_labels
from endorender.ct.mask import load_mask
from endorender.ct.prepare import Prepared, prepare, seal
from endorender.ct.reader import load, open_ct
from endorender.ct.resample import isotropic
from endorender.ct.volume import AIR_HU, Volume

__all__ = [
    "AIR_HU",
    "CODES",
    "CTError",
    "Prepared",
    "Volume",
    "cleanse",
    "describe",
    "isotropic",
    "load",
    "load_mask",
    "lumen",
    "lumens",
    "onto",
    "open_ct",
    "phantoms",
    "prepare",
    "preview",
    "read_labels",
    "seal",
    "survey",
]
