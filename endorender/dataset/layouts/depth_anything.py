"""Depth Anything V2, metric: text files with a picture and its depth in each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from endorender.dataset.layouts.layout import Layout, Split, layouts, quantised, write_png16
from endorender.dataset.negative import write_png

LEVELS_PER_MM = 256


@layouts.register("depth_anything")
class DepthAnything(Layout):
    """train.txt, val.txt, test.txt with lines `rgb/....png depth/....png`, relative to the folder.

    Depth: 16-bit PNG, z-depth = value / 256 as its KITTI loader has it, in millimetres instead of metres; 0 invalid,
    255.99 mm at most. Set its max_depth in millimetres as well.
    """

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        for split, frames in splits:
            lines = []
            for frame in frames:
                image, depth = (f"{folder}/{frame.id}.png" for folder in ("rgb", "depth"))
                for name in (image, depth):
                    (out / name).parent.mkdir(parents=True, exist_ok=True)
                geometry = frame.geometry()
                write_png(out / image, frame.image())
                # Deeper than the format reaches is no depth: cut off, it would be a wall that is not there.
                reached = geometry["mask"] & (geometry["z_depth"] < 65535.5 / LEVELS_PER_MM)
                write_png16(out / depth, quantised(geometry["z_depth"], LEVELS_PER_MM, 65535, reached))
                lines.append(f"{image} {depth}\n")
            (out / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
