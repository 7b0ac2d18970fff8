"""The gallery: every look over the same views, and its figures beside those of the published panels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.negative import write_png
from endorender.dataset.patient import said_of
from endorender.dataset.sheet import INK, PAPER, font
from endorender.dataset.variation import seed_of
from endorender.dataset.view import groups
from endorender.errors import UserError
from endorender.outputs import claim, temporary

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from endorender.scene import Scene

PERCENTILES = (2, 10, 50, 90, 98)
LIT = (60, 95)  # percentiles of luminance between which a pixel counts as lit wall
DARK = 10  # percentile below which it counts as dark lumen (our choice: the panels' mean luma lies between 2 and 10 %)
CANDIDATES = 32  # poses along the path, of which the nearest to folds are shown
OPEN = 1.8  # 98th percentile of distance over its median: the lumen is in sight
CTS = ("phantom:1", "phantom:2", "sample")
COMPARED = "phantom:"  # the panels show colons: other organs are shown and not compared
GAP = 6
COMPARISON = "comparison.json"  # written last
PICTURES = re.compile(r"gallery\.png|(sample|phantom\d+|p\d{3,})-\d+-[a-z_]+\.png")  # what it writes

# A share of the whole, 0..1, and what is going on.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Measured:
    """Figures of 8-bit pictures. luminance: at PERCENTILES, BT.709. lit, dark: mean sRGB of lit wall and lumen."""

    luminance: tuple[float, ...]
    lit: tuple[float, ...]
    dark: tuple[float, ...]


def measure(picture: UInt8[np.ndarray, "H W 3"]) -> Measured:
    """Figures of one (H, W, 3) uint8 picture."""
    from endorender.scene.response import LUMA

    pixels = picture.reshape(-1, 3).astype(float)
    luma = pixels @ LUMA
    low, high, dark = np.percentile(luma, [*LIT, DARK])
    return Measured(
        tuple(np.percentile(luma, PERCENTILES)),
        tuple(pixels[(luma >= low) & (luma <= high)].mean(0)),
        tuple(pixels[luma <= dark].mean(0)),
    )


def median(several: Sequence[Measured]) -> Measured:
    """The median of every figure."""
    columns = {k: np.median([getattr(m, k) for m in several], 0) for k in ("luminance", "lit", "dark")}
    return Measured(**{k: tuple(round(float(x), 1) for x in v) for k, v in columns.items()})


def chosen(scene: Scene, poses: Float[np.ndarray, "V 4 4"], views: int) -> list[int]:
    """The views nearest to folds, in the order of the poses: those with the smallest ratio of the 10th percentile of
    distance to its median, among those with the lumen in sight. Looks have no part in it."""
    from endorender.render import geometry

    small = scene.with_(camera=scene.camera.resized(64, 48), mucosa=None)
    ranked = []
    for n, pose in enumerate(poses):
        distance = geometry(small.with_(world_from_camera=pose)).distance
        near, middle, far = np.nanpercentile(distance, [10, 50, 98])
        ranked.append((far < OPEN * middle, near / middle, n))
    return sorted(n for _, _, n in sorted(ranked)[:views])


def shots(
    cts: Sequence[str],
    label: Sequence[str],
    size: tuple[int, int],
    spp: int,
    views: int,
    seed: int,
    progress: Progress,
    region: int | Sequence[int] | None = None,
    cleanse: bool = False,
    reading: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, int, dict[str, Float[np.ndarray, "H W 3"]]]]:
    """(CT by alias, number of the view, look -> denoised (H, W, 3) linear radiance), view by view."""
    from endorender.ct import cleanse as fluid
    from endorender.ct import open_ct, prepare, read_organ
    from endorender.render import denoise, guides, in_parts
    from endorender.scene import LOOKS, Endoscope, Mucosa, Pinhole, Scene
    from endorender.scene.trajectory import poses

    for c, (ct, alias) in enumerate(zip(cts, aliases(cts))):
        with said_of(cts, alias):
            raw = open_ct(ct, **(reading or {}))
            organ = read_organ(label[c], raw)[0] if label else None
            if cleanse:
                raw, _ = fluid.cleanse(raw)
            ready = prepare(raw, region, organ)
        cameras = poses(ready.volume, ready.lumen, ready.path, CANDIDATES, seed, jitter=0.98)
        scene = Scene(
            medium=ready.volume,
            camera=Pinhole(width=size[0], height=size[1]),
            world_from_camera=cameras[0],
            lights=(Endoscope(),),
            threshold=ready.lumen.threshold,
            mucosa=Mucosa(seed=seed_of(seed, alias, "mucosa")),
        )
        for n, index in enumerate(chosen(scene, cameras, views)):
            here = scene.with_(world_from_camera=cameras[index])
            scenes = {name: here.with_(tissue=look.tissue) for name, look in LOOKS.items()}
            images = {}
            together = groups(scenes)
            for g, group in enumerate(together):
                done = (c + (n + g / len(together)) / views) / len(cts)
                share = 1 / (len(together) * views * len(cts))
                report = partial(_scaled, progress, done, share, f"{alias}, view {n + 1} of {views}")
                traced = in_parts([scenes[k] for k in group], spp, seed_of(seed, alias, n), progress=report)
                for name, (light, mirrored), guide in zip(group, traced, guides([scenes[k] for k in group])):
                    images[name] = denoise(light.mean, guide, mirrored)
            yield alias, n, {name: images[name] for name in LOOKS}


def aliases(cts: Sequence[str]) -> list[str]:
    """What may be said of each CT: `sample` and phantoms by name, others p001, p002, ...: paths are patient data."""
    shipped = [ct == "sample" or ct.startswith("phantom:") for ct in cts]
    return [ct if known else f"p{n:03d}" for n, (ct, known) in enumerate(zip(cts, shipped), 1)]


def _scaled(progress: Progress, done: float, share: float, text: str, part: float) -> None:
    progress(done + share * part, text)


def gallery(
    out: str | Path,
    cts: Sequence[str] = CTS,
    size: tuple[int, int] = (320, 240),
    spp: int = 64,
    views: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    label: Sequence[str] = (),
    region: int | Sequence[int] | None = None,
    cleanse: bool = False,
    **reading: Any,
) -> str:
    """Render every look over `views` views of each CT into a folder and return the comparison as text.

    Writes CT-VIEW-LOOK.png, gallery.png with all of them, and comparison.json. label: a mask for each CT under which
    its lumen lies, as for `ct.read_organ`. region: which lumen of each, as for `ct.prepare`. cleanse: turn tagged fluid
    into air first. reading: series, phase, resample, assume_hu, as for `ct.open_ct`. Needs the extra `denoise`.
    """
    from endorender.scene import LOOKS

    if label and len(label) != len(cts):
        raise UserError(f"--label is one mask for each CT: {len(label)} masks for {len(cts)} CTs", "INVALID_VALUE")
    out = Path(out)
    if (out / COMPARISON).is_file():
        raise UserError(f"{out} holds a gallery already: choose another folder", "NOT_EMPTY")
    claim(out, lambda name: PICTURES.fullmatch(name) is not None, "a gallery")
    for old in out.iterdir():
        old.unlink()  # of a run that was interrupted
    rows, lines, figures = [], [], {name: [] for name in LOOKS}  # type: ignore[var-annotated]
    told_of = progress or (lambda done, text: None)
    for ct, n, images in shots(cts, label, size, spp, views, seed, told_of, region, cleanse, reading):
        pictures = {name: LOOKS[name].response.apply(image) for name, image in images.items()}
        for name, picture in pictures.items():
            write_png(out / f"{ct.replace(':', '')}-{n}-{name}.png", picture)
            if ct.startswith(COMPARED):
                figures[name].append(measure(picture))
        rows.append(list(pictures.values()))
        lines.append(f"{ct.replace(':', ' ')}\nview {n}")
    write_png(out / "gallery.png", sheet(rows, list(LOOKS), lines))
    found = {name: median(several) for name, several in figures.items() if several}
    told = {name: {"measured": asdict(m), "published": _published(name)} for name, m in found.items()}
    part = temporary(out / COMPARISON)
    part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    part.replace(out / COMPARISON)
    return compared(found)


def sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], columns: Sequence[str], lines: Sequence[str]
) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size in rows and columns on white. columns: words above each; lines: words beside each row."""
    from PIL import Image, ImageDraw

    h, w, _ = rows[0][0].shape
    type_size = max(9, w // 14)
    head, side = 2 * type_size, round(6.5 * type_size)
    paper = Image.new("RGB", (side + len(columns) * (w + GAP) - GAP, head + len(rows) * (h + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(paper)
    for x, name in enumerate(columns):
        pen.text((side + x * (w + GAP) + w / 2, head / 2), name.replace("_", " "), INK, font(type_size), "mm")
    for y, (row, words) in enumerate(zip(rows, lines)):
        top = head + y * (h + GAP)
        pen.text((side - GAP, top + h / 2), words, INK, font(type_size), "rm", align="right")
        for x, picture in enumerate(row):
            paper.paste(Image.fromarray(picture), (side + x * (w + GAP), top))
    return np.asarray(paper)


def _published(name: str) -> dict[str, Any] | None:
    from endorender.scene.looks import PANELS

    return asdict(PANELS[name]) if name in PANELS else None


def compared(found: dict[str, Measured]) -> str:
    """A table: medians over views, and below them the published panel's figures and the greatest departures."""
    from endorender.scene.looks import PANELS

    lines = [f"{'':16}{'luminance at 2 / 10 / 50 / 90 / 98 %':32}{'lit wall':16}dark lumen"]
    for name, m in found.items():
        lines.append(_line(name, m.luminance, m.lit, m.dark))
        if name in PANELS:
            p = PANELS[name]
            lines.append(_line("  published", p.luminance, p.lit, p.dark))
            worst = max(abs(a / b - 1) for a, b in zip(m.luminance, p.luminance))
            levels = max(abs(a - b) for a, b in zip(m.lit, p.lit))
            lines.append(f"  departs by at most {worst:.0%} in luminance, {levels:.0f} levels in the lit wall's colour")
    return "\n".join(lines)


def _line(name: str, *groups: Sequence[float]) -> str:
    texts = [" ".join(f"{v:4.0f}" for v in g) for g in groups]
    return f"{name:16}{texts[0]:32}{texts[1]:16}{texts[2]}"
