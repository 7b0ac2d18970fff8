"""A dataset as torch code of one's own reads it; training itself needs no poses and reads `training.data`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from endorender.dataset.frame import refuse_absent
from training.data import DepthFrames, opened


class TorchFrames(DepthFrames):
    """Frames as tensors, with their poses: a `torch.utils.data.Dataset` with a length, for any `DataLoader`.

    An item is a mapping: image (3, H, W) float32, 0..1; z_depth (1, H, W) float32 mm, 0 where invalid;
    mask (1, H, W) bool, where z_depth holds; K (3, 3) float32, pixels, pixel centres at integers;
    world_from_camera (4, 4) float32, OpenCV's camera axes, RAS mm; id, "PATIENT/VIEW/VARIATION". K and the pose
    are NaN where a dataset of others has none.
    """

    def batch(self, indices: Sequence[int | tuple[int, int]]) -> dict[str, Any]:
        """See DepthFrames."""
        frames = [self.frames[both[0] if isinstance(both, tuple) else both] for both in indices]
        poses = [np.full((4, 4), np.nan) if f.world_from_camera is None else f.world_from_camera for f in frames]
        return super().batch(indices) | {"world_from_camera": torch.from_numpy(np.array(poses, np.float32))}


def torch_frames(
    data: Any,
    split: str | None = None,
    patients: Iterable[str] | None = None,
    variations: Iterable[str] | None = None,
    cache_mb: float = 2048,
) -> TorchFrames:
    """A dataset's frames for a `DataLoader`.

    data: a folder, "LAYOUT@FOLDER", an open dataset, or a list of these. split: only train, val or test. patients,
    variations: only these, by name. cache_mb: frames are decoded at once and kept if they fit, else when they are asked
    for. Errors (UserError): no frame, unknown names, frames of several sizes, a changed file.
    """
    dataset = opened(data, split or "train")
    who, what = (None if chosen is None else list(chosen) for chosen in (patients, variations))
    refuse_absent(dataset.frames, who, what)
    return TorchFrames(dataset.select(split=split, patients=who, variations=what), cache_mb)
