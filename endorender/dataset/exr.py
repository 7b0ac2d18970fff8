"""Multichannel OpenEXR files: exact, self-describing, the same bytes for the same content."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from endorender.errors import UserError

Attribute = str | int | float


def write(path: Path, channels: Mapping[str, np.ndarray], header: Mapping[str, Attribute]) -> None:
    """Write channels name -> (H, W) float32 or float16, losslessly (ZIP).

    The header takes strings and numbers; a matrix goes in as JSON. No time and no host name is written,
    so equal content gives equal bytes. Raises OSError when the disk refuses.
    """
    import OpenEXR

    shapes = {c.shape for c in channels.values()}
    if len(shapes) != 1:
        raise ValueError(f"channels differ in shape: {sorted(shapes)}")
    for name, c in channels.items():
        if c.dtype not in (np.float32, np.float16):
            raise ValueError(f"channel {name} is {c.dtype}; EXR holds float32 and float16 here")
    attributes = {**header, "compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    # OpenEXR 3.5 ignores strides: a view into (H, W, 3) would be stored as garbage.
    packed = {name: np.ascontiguousarray(channels[name]) for name in sorted(channels)}
    try:
        OpenEXR.File(attributes, packed).write(str(path))
    except RuntimeError as error:
        # OpenEXR tells the system's reason in words only.
        codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.ENOENT)
        raise OSError(next((c for c in codes if os.strerror(c) in str(error)), errno.EIO), str(error)) from None


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Attribute]]:
    """Channels name -> (H, W) in the stored precision, and the header's strings and numbers."""
    import OpenEXR

    if not path.is_file():
        raise UserError(f"{path.name} is missing from the dataset", "DATASET_DAMAGED")
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: np.array(c.pixels) for name, c in file.channels().items()}
            header = {k: v for k, v in file.header().items() if isinstance(v, (str, int, float))}
    except Exception as error:  # OpenEXR's of several kinds; its words repeat the path
        raise UserError(f"{path.name} cannot be read ({type(error).__name__})", "DATASET_DAMAGED") from None
    return channels, header


def half(values: np.ndarray) -> np.ndarray:
    """(...) float -> float16. Beyond the largest half (65504) the value is held there: an infinite pixel
    would spoil every mean that a reader takes."""
    return np.clip(values, -65504.0, 65504.0).astype(np.float16)


def split_rgb(prefix: str, values: np.ndarray, letters: str = "RGB") -> dict[str, np.ndarray]:
    """(H, W, 3) -> three named channels: "albedo.R", ... or "R", ... for an empty prefix."""
    dot = f"{prefix}." if prefix else ""
    return {f"{dot}{letter}": values[..., k] for k, letter in enumerate(letters)}
