"""Hugging Face `datasets`: a folder of images with metadata, which `load_dataset` takes as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import Layout, Split, layouts

NAMED = {"train": "train", "val": "validation", "test": "test"}  # splits as `datasets` calls them
CARD = """---
pretty_name: endoscopic pictures with exact depth, rendered from CT
task_categories:
- depth-estimation
configs:
- config_name: default
  data_files:
{files}
---
# Endoscopic pictures with exact depth
Rendered from CT by endorender. `datasets.load_dataset(FOLDER)` has the columns

{columns}
"""
COLUMNS = {
    "image": "the picture, 8 bits a channel, RGB",
    "depth": "z-depth (along the optical axis), float32 mm, NaN where there is none: `numpy.array(row['depth'])`",
    "mask": "255 where depth holds, else 0",
    "pose": "world from camera, 4 x 4, mm: OpenCV's axes (x right, y down, z forward), the world is the CT's (RAS)",
    "K": "intrinsics, 3 x 3, pixels, pixel centres at integers; of a distorted camera the part without distortion",
    "camera": "the whole camera, with its distortion, as JSON",
    "id, patient, view, variation": "what the picture is of; pictures of one view share depth and pose",
}


@layouts.register("huggingface")
class HuggingFace(Layout):
    """train, validation, test: metadata.jsonl, image/PATIENT/VIEW/VARIATION.png, depth/PATIENT/VIEW.tiff, mask.

    `datasets.load_dataset(FOLDER)` makes columns image, depth, mask, pose, K, camera, id, patient, view, variation of
    it. Depth: float32 mm along z, NaN where invalid, as it was rendered; pose: world from camera (OpenCV axes, RAS mm).
    """

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        there = [(NAMED[name], frames) for name, frames in splits if frames]
        for split, frames in there:
            rows = [_row(frame, out / split) for frame in frames]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (out / split / "metadata.jsonl").write_text(text, encoding="utf-8")
        files = "\n".join(f"  - split: {split}\n    path: {split}/**" for split, _ in there)
        columns = "\n".join(f"- {name}: {about}" for name, about in COLUMNS.items())
        (out / "README.md").write_text(CARD.format(files=files, columns=columns), encoding="utf-8")


def _row(frame: Frame, folder: Path) -> dict[str, Any]:
    """Writes a frame's files and returns its line; `X_file_name` becomes a column X of pictures."""
    import tifffile
    from PIL import Image

    view = frame.id.rpartition("/")[0]
    image, depth, mask = f"image/{frame.id}.png", f"depth/{view}.tiff", f"mask/{view}.png"
    for name in (image, depth, mask):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / image).write_bytes(frame.path("image").read_bytes())
    if not (folder / depth).exists():
        geometry = frame.geometry()
        valid = geometry["mask"] & np.isfinite(geometry["z_depth"])
        z = np.where(valid, geometry["z_depth"], np.float32(np.nan)).astype(np.float32)
        tifffile.imwrite(folder / depth, z, photometric="minisblack", software="", datetime=None, metadata=None)
        Image.fromarray(np.where(valid, np.uint8(255), np.uint8(0))).save(folder / mask, format="PNG")
    return {
        "image_file_name": image,
        "depth_file_name": depth,
        "mask_file_name": mask,
        "pose": frame.world_from_camera,
        "K": frame.K,
        "camera": json.dumps(frame.camera),
        **{name: getattr(frame, name) for name in ("id", "patient", "view", "variation")},
    }
