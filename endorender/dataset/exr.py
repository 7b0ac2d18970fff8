"""Multichannel OpenEXR files: exact, self-describing, the same bytes for the same content."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float16, Shaped

Attribute = str | int | float
WIDEST = 16384  # px, as cameras
MOST_VALUES = 40 * 8192 * 8192  # of all channels together: few bytes may claim to be very many
MOST_HALF = 65504.0  # the largest number of a half
# Shares of a picture's pixels beyond which it is spoilt: held at the largest half or white, and without any light.
CLIPPED_LIMIT, BLACK_LIMIT, WHITE_LIMIT = 0.01, 0.9, 0.9


def write(path: Path, channels: Mapping[str, Float[np.ndarray, "H W"]], header: Mapping[str, Attribute]) -> None:
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


def read(path: Path) -> tuple[dict[str, Float[np.ndarray, "H W"]], dict[str, Attribute]]:
    """Channels name -> (H, W) float32 or float16 as stored, all of one size, and the header's strings and numbers.

    Raises UserError DATASET_DAMAGED, before anything is unpacked where the file claims more than a picture has.
    """
    import OpenEXR

    width, height = size(path)
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: np.array(c.pixels) for name, c in file.channels().items()}
            header = {k: v for k, v in file.header().items() if isinstance(v, (str, int, float))}
    except Exception as error:  # OpenEXR's of several kinds; its words repeat the path
        raise _unreadable(path, type(error).__name__) from None
    if any(c.shape != (height, width) or c.dtype not in (np.float32, np.float16) for c in channels.values()):
        raise _unreadable(path, "its channels are not pictures of one size in floats")
    return channels, header


def size(path: Path) -> tuple[int, int]:
    """Width and height of the pictures in a file, of which no pixel is read. Raises UserError DATASET_DAMAGED."""
    import OpenEXR

    if not path.is_file():
        raise UserError(f"{path.name} is missing from the dataset", "DATASET_DAMAGED")
    try:
        with OpenEXR.File(str(path), header_only=True) as file:
            parts, header = len(file.parts), file.header()  # which is empty once the file is closed
            low, high = (np.asarray(corner, dtype=np.int64) for corner in header["dataWindow"])
            count = len(header["channels"])
        width, height = (int(n) for n in high - low + 1)
    except Exception as error:
        raise _unreadable(path, type(error).__name__) from None
    if parts != 1 or not (0 < width <= WIDEST and 0 < height <= WIDEST) or width * height * count > MOST_VALUES:
        raise _unreadable(path, f"{width}x{height} px in {count} channels and {parts} parts is none of ours")
    return width, height


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(f"{path.name} cannot be read ({reason})", "DATASET_DAMAGED")


def half(values: Float[np.ndarray, "*n"]) -> Float16[np.ndarray, "*n"]:
    """(...) float -> float16. Beyond the largest half (65504) the value is held there: an infinite pixel
    would spoil every mean that a reader takes. `spoilt` says so of a picture."""
    return np.clip(values, -MOST_HALF, MOST_HALF).astype(np.float16)


def spoilt(
    light: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], clipped_limit: float = CLIPPED_LIMIT
) -> list[str]:
    """What is lost of a picture's light, one line each.

    light: (H, W, 3) as `half` made it, whatever it was read into. mask: (H, W) of the camera. Pixels count whose light
    is beyond what a half holds, and those that are black in all channels.
    """
    seen = light[mask]
    clipped, black = int((seen >= MOST_HALF).any(-1).sum()), int((~seen.any(-1)).sum())
    out = []
    if clipped > clipped_limit * len(seen):
        out.append(f"{clipped} of {len(seen)} pixels are brighter than {MOST_HALF:g} and held there: lower the light")
    if black > BLACK_LIMIT * len(seen):
        out.append(f"{black} of {len(seen)} pixels are black: raise the light or spp, or lower what absorbs")
    return out


def split_rgb(
    prefix: str, values: Shaped[np.ndarray, "H W 3"], letters: str = "RGB"
) -> dict[str, Shaped[np.ndarray, "H W"]]:
    """(H, W, 3) -> three named channels: "albedo.R", ... or "R", ... for an empty prefix."""
    dot = f"{prefix}." if prefix else ""
    return {f"{dot}{letter}": values[..., k] for k, letter in enumerate(letters)}
