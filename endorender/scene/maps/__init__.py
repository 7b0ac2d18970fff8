"""Environment maps: those shipped, and those read from EXR files.

A file's radiance is held in memory under the sha256 of its bytes, and that name is what configurations hold: a path is
private, and says nothing of what was there when a dataset was rendered. In another process the file is given again.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

MAPS = ("courtyard", "interior", "studio")  # LICENSES.md beside this file names their source

_by_content: dict[str, np.ndarray] = {}


def remember(value: Any) -> Any:
    """Path of an EXR file -> "sha256:...", under which its content is `known`; such a name passes as it is."""
    if value is None:
        return None
    if not isinstance(value, (str, Path)):
        raise ValueError("must be the path of an EXR file")
    if str(value).startswith("sha256:"):
        known(str(value))
        return str(value)
    path = Path(value)
    if not path.is_file():
        raise ValueError("no such file")
    name = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    if name not in _by_content:
        _by_content[name] = read_map(path)
    return name


def known(name: str) -> Float32[np.ndarray, "H W 3"]:
    """(H, W, 3) float32 radiance of a map that was read in this process."""
    if name not in _by_content:
        raise ValueError(
            f"only the content of this map is recorded ({name[:15]}...), not its path: give the file again"
        )
    return _by_content[name]


@functools.cache
def shipped(name: str) -> Float32[np.ndarray, "H W 3"]:
    """(H, W, 3) float32 radiance of a map in `MAPS`."""
    return read_map(Path(__file__).with_name(f"{name}.exr"))


def read_map(path: Path) -> Float32[np.ndarray, "H W 3"]:
    """(H, W, 3) float32 radiance of a latitude-longitude EXR with channels R, G, B, or Y.

    Lossy compression leaves slightly negative radiance in common files: it is read as 0. ValueError for anything else
    that cannot be radiance.
    """
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: np.array(c.pixels, np.float32) for name, c in file.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"cannot be read as EXR ({' '.join(str(error).split())[:120]})") from None
    wanted = "RGB" if set("RGB") <= set(channels) else "YYY"
    if wanted[0] not in channels:
        raise ValueError(f"needs channels R, G and B, or Y; it has {', '.join(sorted(channels))}")
    radiance = np.stack([channels[c] for c in wanted], -1)
    if not np.isfinite(radiance).all():
        raise ValueError("holds radiance that is not finite")
    dark = np.minimum(radiance, 0)
    if -dark.sum(dtype=float) > 0.01 * np.abs(radiance).sum(dtype=float):
        raise ValueError("holds negative radiance")
    return np.maximum(radiance, 0)
