"""CT in: files of several formats, the shipped sample and phantoms as a `Volume`; the lumen in it, a way through.

Rooms: `dicom`, `formats` (the others), `phantoms`, `anatomy` (what a volume shows). `reader` is the one door in.
"""

from __future__ import annotations

from endorender.ct import phantoms, survey
from endorender.ct.anatomy import cleanse, lumen
from endorender.ct.errors import CODES, CTError
from endorender.ct.inspection import describe, lumens, preview
from endorender.ct.mask import onto, read_mask, read_organ
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
    "lumen",
    "lumens",
    "onto",
    "open_ct",
    "phantoms",
    "prepare",
    "preview",
    "read_mask",
    "read_organ",
    "seal",
    "survey",
]
