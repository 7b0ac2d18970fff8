"""Procedural patients: who one is (`people`), the wall of the colon (`walls`, `polyps`), and its scan (`colons`).

The same seed gives the same bytes: draws are added at the end, never between others. Sources: docs/anatomy.md.
"""

from endorender.ct.phantoms.colons import PITCH, colon, person

__all__ = ["PITCH", "colon", "person"]
