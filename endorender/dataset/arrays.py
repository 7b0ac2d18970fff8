"""Arrays that `evaluate` keeps, read back whole or not at all."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from endorender.errors import UserError

# What numpy and zipfile raise for a file that is cut short, damaged or another; an empty one is the end of a file.
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An .npz of an evaluation, name -> array; the body does no more than read. Raises UserError NO_PREDICTIONS,
    TRUNCATED."""
    if not path.is_file():
        raise UserError(
            f"the evaluation holds no {path.name}: give a folder that `endorender evaluate` has written",
            "NO_PREDICTIONS",
        )
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            arrays.files  # noqa: B018  a single array has none
            yield arrays
    except BROKEN:
        raise UserError(f"{path.name} of the evaluation is cut short or damaged: evaluate again", "TRUNCATED") from None
