"""Pictures that others wrote, opened without harm."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
