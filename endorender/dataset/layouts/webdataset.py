"""WebDataset: tar files that stream."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import Layout, Split, layouts


@layouts.register("webdataset")
class WebDataset(Layout):
    """SPLIT-000000.tar, ...: of each frame PATIENT-VIEW-VARIATION.{png,z_depth.npy,distance.npy,normal.npy,json}.

    Depths: float32 mm, normals float32 in the camera frame, NaN where invalid. json: id, patient, K, camera,
    world_from_camera (OpenCV axes, RAS mm). The same frames make the same bytes.
    """

    per_shard: int = Field(1000, ge=1, description="frames in a tar file")

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        for split, frames in splits:
            for shard, start in enumerate(range(0, len(frames), self.per_shard)):
                with tarfile.open(out / f"{split}-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                    for frame in frames[start : start + self.per_shard]:
                        _add(tar, frame)


def _add(tar: tarfile.TarFile, frame: Frame) -> None:
    """Append a frame's files; times and owners stay at zero."""
    geometry = frame.geometry()
    told: dict[str, Any] = {
        name: getattr(frame, name)
        for name in ("id", "patient", "view", "variation", "K", "camera", "world_from_camera")
    }
    parts = {
        "png": frame.path("image").read_bytes(),
        **{f"{name}.npy": _npy(geometry[name]) for name in ("z_depth", "distance", "normal")},
        "json": json.dumps(told).encode(),
    }
    for ending, content in parts.items():
        entry = tarfile.TarInfo(f"{frame.id.replace('/', '-')}.{ending}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def _npy(values: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, np.ascontiguousarray(values, np.float32), allow_pickle=False)
    return held.getvalue()
