"""The contact sheet: every view a row, every variation a column, depth in mm at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from endorender.dataset.frame import Dataset, Frame
from endorender.dataset.info import planned

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

WIDEST = 200  # px of a picture on the sheet
TALLEST = 8_000  # px of the sheet; beyond it views are left out evenly and the sheet says so; index.html has all
GAP, HEAD, SIDE = 6, 26, 86
PAPER, INK, INVALID = (255, 255, 255), (40, 40, 40), (70, 70, 70)


def views_of(frames: Sequence[Frame]) -> list[dict[str, Frame]]:
    """Frames gathered by view, in the manifest's order: variation -> frame."""
    rows: dict[tuple[str, int], dict[str, Frame]] = {}
    for f in frames:
        rows.setdefault((f.patient, f.view), {})[f.variation] = f
    return list(rows.values())


def depth_range(rows: Sequence[dict[str, Frame]]) -> float:
    """Upper end of a depth scale that suits all views: their 98th percentile, rounded up to a plain number; mm."""
    some = rows[:: max(1, len(rows) // 64)]
    depths = [next(iter(row.values())).geometry()["z_depth"] for row in some]
    finite = np.concatenate([d[np.isfinite(d)] for d in depths])
    top = float(np.percentile(finite, 98))
    step = 10 ** math.floor(math.log10(top)) / 2
    return math.ceil(top / step) * step


def colour_depth(z_depth: Float[np.ndarray, "H W"], top: float) -> UInt8[np.ndarray, "H W 3"]:
    """(H, W) mm -> (H, W, 3) uint8, matplotlib's viridis from 0 to `top` mm; invalid pixels grey."""
    from matplotlib import colormaps

    picture = colormaps["viridis"](np.clip(np.nan_to_num(z_depth) / top, 0, 1), bytes=True)[..., :3]
    return np.where(np.isfinite(z_depth)[..., None], picture, np.asarray(INVALID, np.uint8))


def contact_sheet(dataset: Dataset) -> Image:
    """The sheet of a dataset as a Pillow image."""
    from PIL import Image, ImageDraw

    rows = views_of(dataset.frames)
    columns = dataset.info["variations"]
    width, height = (int(n) for n in dataset.info["configuration"]["size"].split("x"))
    scale = min(1.0, WIDEST / width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    step = -(-len(rows) * (h + GAP) // TALLEST)
    shown = rows[::step]
    top = depth_range(rows)
    size = (SIDE + (len(columns) + 1) * (w + GAP) + 64, 2 * HEAD + len(shown) * (h + GAP))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, name in enumerate([*columns, "z-depth"]):
        pen.text((SIDE + x * (w + GAP) + w / 2, HEAD / 2), name.replace("_", " "), INK, font(min(14, w // 7)), "mm")
    for y, row in enumerate(shown):
        first = next(iter(row.values()))
        line = HEAD + y * (h + GAP)
        pen.text((SIDE - GAP, line + h / 2), f"{first.patient}\nview {first.view}", INK, font(11), "rm", align="right")
        pictures = [row[c].image() if c in row else None for c in columns]
        pictures.append(colour_depth(first.geometry()["z_depth"], top))
        for x, picture in enumerate(pictures):
            if picture is not None:
                small = Image.fromarray(picture).resize((w, h), Image.Resampling.BOX if scale < 1 else None)
                sheet.paste(small, (SIDE + x * (w + GAP), line))
    _scale_bar(sheet, SIDE + (len(columns) + 1) * (w + GAP), HEAD, min(max(h, 120), len(shown) * (h + GAP) - GAP), top)
    views = planned(dataset.info)
    total = sum(views[patient] for patient in {f.patient for row in rows for f in row.values()})
    if len(shown) < total:
        note = f"{len(shown)} of {total} views"
        pen.text((GAP, size[1] - HEAD / 2), note, INK, font(11), "lm")
    return sheet


def _scale_bar(sheet: Image, x: int, y: int, length: int, top: float) -> None:
    """Depth colours from 0 (above) to `top` mm (below)."""
    from PIL import Image, ImageDraw

    ramp = np.repeat(np.linspace(0, top, length)[:, None], 12, axis=1)
    sheet.paste(Image.fromarray(colour_depth(ramp, top)), (x, y))
    pen = ImageDraw.Draw(sheet)
    for part in (0.0, 0.5, 1.0):
        label = f"{part * top:g}" + (" mm" if part == 1 else "")
        anchor = {0.0: "la", 0.5: "lm", 1.0: "ld"}[part]
        pen.text((x + 16, y + part * length), label, INK, font(11), anchor)


def font(size: int) -> FreeTypeFont | ImageFont:
    """Pillow's own, of that size in pixels, at least 8."""
    from PIL import ImageFont

    return ImageFont.load_default(max(8, size))
