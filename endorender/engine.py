"""The one place where Taichi is imported: `from endorender.engine import ti`.

Importing this module takes more than a second. Nothing that a listing, `--help` or a dataset reader
touches may import it at module level.
"""

import os
import warnings

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
with warnings.catch_warnings():
    # Taichi 1.7.4 asks the locale with a call that Python 3.11 deprecates.
    warnings.filterwarnings("ignore", message=".*getdefaultlocale.*", category=DeprecationWarning)
    import taichi as ti

__all__ = ["ti"]
