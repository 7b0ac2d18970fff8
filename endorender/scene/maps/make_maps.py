"""Makes the shipped maps again: `python -m endorender.scene.maps.make_maps [FOLDER]`.

FOLDER: `datafiles/studiolights/world` of a Blender 3.4; without it the Debian package is fetched (apt-get, dpkg-deb).
LICENSES.md beside this file names licence and source.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from endorender.scene.colour import LUMINANCE
from endorender.scene.maps import MAPS, read_map

if TYPE_CHECKING:
    from jaxtyping import Float

PACKAGE = "blender-data=3.4.1+dfsg-2"
ROWS, COLUMNS = 64, 128


def nodes(fine: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "rows columns 3"]:
    """(h, w, 3) texel-centred map -> (ROWS, COLUMNS, 3) at the nodes of a bilinear map: rows from pole to pole.

    Each node is the mean over its hat function along rows, weighted by solid angle, and over its own width along
    columns; a pole is one value all around.
    """
    h, w = fine.shape[:2]
    by_column = fine.reshape(h, COLUMNS, w // COLUMNS, 3).mean(2, dtype=float)
    theta = (np.arange(h) + 0.5) / h * np.pi
    hat = np.maximum(0, 1 - np.abs(theta / np.pi * (ROWS - 1) - np.arange(ROWS)[:, None])) * np.sin(theta)
    out = np.einsum("rh,hcx->rcx", hat / hat.sum(1, keepdims=True), by_column)
    out[[0, -1]] = out[[0, -1]].mean(1, keepdims=True)
    # Mean radiance (luminance) 1 over the sphere, so that a map can take another's place.
    weights = hat.sum(1)
    return out / ((out @ LUMINANCE).mean(1) @ weights / weights.sum())


def make(folder: Path, out: Path) -> None:
    """Read Blender's maps, write ours."""
    import OpenEXR

    for name in MAPS:
        radiance = nodes(read_map(folder / f"{name}.exr")).astype(np.float16)
        channels = {c: np.ascontiguousarray(radiance[..., k]) for k, c in enumerate("RGB")}
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, channels).write(str(out / f"{name}.exr"))


if __name__ == "__main__":
    here = Path(__file__).parent
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]), here)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=scratch, check=True)
            (package,) = Path(scratch).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), scratch], check=True)
            make(Path(scratch) / "usr/share/blender/datafiles/studiolights/world", here)
