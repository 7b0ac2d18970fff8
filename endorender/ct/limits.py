"""What a hostile file may cost: checked before anything is inflated or allocated."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from endorender.ct.errors import CTError

INFLATED_BYTES = 2**26  # what is smaller is harmless whatever its ratio
INFLATION = 200  # deflate reaches 1032 : 1 on zeros, 3 : 1 on a CT, 30 : 1 on a phantom without noise
MAX_FILES = 200_000
WAYS = "give a DICOM folder, file or zip, a NIfTI, MetaImage or NRRD file, sample, or phantom:SEED"


def inflation(claimed: int, stored: int, what: str) -> None:
    """Refuse a few bytes that promise a flood. claimed, stored: bytes. Raises CTError TOO_LARGE."""
    if claimed > INFLATED_BYTES and claimed > INFLATION * stored:
        raise CTError(
            f"{what} of {stored / 2**20:.3g} MiB would inflate to {claimed / 2**20:.0f} MiB, more than {INFLATION} "
            "times as much, as no CT does: if you trust it, unpack it yourself",
            "TOO_LARGE",
        )


def on_disk(path: Path) -> int:
    """Bytes that a file really takes; a sparse one takes fewer than it seems to have."""
    info = os.stat(path)
    blocks = getattr(info, "st_blocks", 0) * 512
    return min(info.st_size, blocks) if blocks else info.st_size


def regular(path: Path, what: str = "scan", way_out: str = WAYS) -> Path:
    """The path, if it can be read without hanging. Raises CTError NOT_FOUND, UNREADABLE."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a loop of links, a forbidden folder, a name too long, a NUL in it
        raise CTError(
            f"the path of the {what} cannot be opened ({type(error).__name__}): {way_out}", "NOT_FOUND"
        ) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise CTError(f"the path of the {what} is neither a file nor a folder: copy it into a file", "UNREADABLE")
    return path
