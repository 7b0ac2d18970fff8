"""Pictures that others wrote, opened without harm; and our own as a notebook shows them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Broken(ValueError):
    """A file that is no whole picture. Its text is the kind of error: what Pillow says of it repeats the path."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A picture as Pillow opens it; the body does no more than decode. Raises Broken.

    Files that are cut short, damaged or bombs raise a dozen kinds, SyntaxError and struct.error among them.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                yield picture
    except Exception as error:
        raise Broken(getattr(error, "strerror", None) or type(error).__name__) from None


GAP = 6  # px between pictures that stand side by side


def png(pictures: Sequence[np.ndarray]) -> bytes:
    """Pictures side by side as PNG. Each: (H, W) or (H, W, 3) uint8; lower ones stand at the top, on white."""
    from PIL import Image

    coloured = [p if p.ndim == 3 else np.repeat(p[..., None], 3, -1) for p in pictures]
    width = sum(p.shape[1] for p in coloured) + GAP * (len(coloured) - 1)
    sheet = np.full((max(p.shape[0] for p in coloured), width, 3), 255, np.uint8)
    x = 0
    for p in coloured:
        sheet[: p.shape[0], x : x + p.shape[1]] = p
        x += p.shape[1] + GAP
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, format="PNG")
    return file.getvalue()
