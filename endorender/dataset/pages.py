"""What a person opens first: contact sheet, index.html, the dataset card, and the lists of the splits."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.frame import Dataset, Frame, stream_manifest
from endorender.dataset.info import SPLITS, planned, read_info
from endorender.dataset.sheet import INVALID, colour_depth, contact_sheet, depth_range, views_of
from endorender.dataset.writer import SUMS, sha256
from endorender.pages import template

if TYPE_CHECKING:
    from endorender.dataset.writer import Writer

_template = partial(template, "endorender.dataset", trim=False)
DEPTH_WIDTH = 260  # px of a depth picture inside index.html: as wide as it is ever shown on a desktop
HOVERED = 64  # pixels along the longer side whose depth a pointer can read there
MOST_VIEWS = 1000  # shown in index.html


def finished(root: Path) -> Dataset:
    """A finished dataset with the frames that its pages show: of very many, those of evenly spread views.

    All frames of a large dataset need more memory than making it does.
    """
    info = read_info(root)
    step = -(-info["views"] * len(info["patients"]) // MOST_VIEWS)
    rows = (frame for _, frame in stream_manifest(root))
    return Dataset(root, info, [frame.at(root) for frame in rows if frame.view % step == 0])


def write_pages(writer: Writer, dataset: Dataset) -> None:
    """Write all of them into a finished dataset. dataset: with all its frames, or as `finished` gives it."""
    for name in SPLITS:
        lines = "".join(f"{alias}\n" for alias in dataset.split(name))
        writer.add(f"splits/{name}.txt", partial(Path.write_text, data=lines, encoding="utf-8"))
    writer.add("contact_sheet.png", partial(_save, sheet=contact_sheet(dataset)))
    for alias in dataset.info["patients"]:
        own = Dataset(dataset.root, dataset.info, dataset.select(patients=[alias]))
        writer.add(f"{alias}/contact_sheet.png", partial(_save, sheet=contact_sheet(own)))
    writer.add("index.html", lambda p: p.write_text(index_html(dataset), encoding="utf-8"))
    writer.add("README.md", lambda p: p.write_text(card(dataset), encoding="utf-8"))
    # The manifest holds the hashes of frames; these are of the rest, as `sha256sum -c` takes them.
    sums = [f"{sha256(dataset.root / name)}  {name}\n" for name in guarded(dataset.info)]
    writer.add(SUMS, lambda p: p.write_text("".join(sums), encoding="utf-8"))


def _save(path: Path, sheet: Any) -> None:
    sheet.save(path, format="PNG")


def pages(info: dict[str, Any]) -> list[str]:
    """Files that `write_pages` writes, but for SHA256SUMS itself."""
    sheets = [f"{alias}/contact_sheet.png" for alias in info["patients"]]
    return ["README.md", "contact_sheet.png", "index.html", *sheets, *(f"splits/{name}.txt" for name in SPLITS)]


def guarded(info: dict[str, Any]) -> list[str]:
    """Files whose hashes SHA256SUMS holds."""
    return sorted([*pages(info), "dataset.json", "manifest.jsonl"])


def index_html(dataset: Dataset) -> str:
    """A page of pictures with relative links; nothing loads from the network."""
    rows = views_of(dataset.frames)
    rows = rows[:: -(-len(rows) // MOST_VIEWS)]
    top = depth_range(rows)
    views = [
        {
            "patient": next(iter(row.values())).patient,
            "view": next(iter(row.values())).view,
            "frames": [row.get(c) for c in dataset.info["variations"]],
            "geometry": next(iter(row.values())).files["geometry"].path,
            **_depth(next(iter(row.values())), top),
        }
        for row in rows
    ]
    width, height = dataset.info["configuration"]["size"].split("x")
    return _template("index.html").render(
        info=dataset.info, views=views, top=top, total=_total(dataset.info), script=_script("index.html"),
        width=width, height=height, camera=_in_words(dataset.info["configuration"]["camera"]), invalid=_hex(INVALID),
        ramp=[_hex(c) for c in colour_depth(np.linspace(0, 1, 12)[None], 1)[0]],
    )  # fmt: skip


def _in_words(camera: dict[str, Any]) -> str:
    """`fisheye, fov 140.0, mask corners`: what is said of a camera; a drawn one as it is written."""
    said = {key: value for key, value in camera.items() if value is not None and key != "type"}
    told = (
        f"{key} {value if isinstance(value, str | float | int) else json.dumps(value)}" for key, value in said.items()
    )
    return ", ".join([str(camera.get("type", "drawn")), *told])


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{int(c):02x}" for c in colour)


def _script(name: str) -> str:
    """The hash of a template's only script, as a content security policy has it: no other runs in the page."""
    environment = _template(name).environment
    source, _, _ = environment.loader.get_source(environment, name)
    (script,) = re.findall("<script>(.*?)</script>", source, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def card(dataset: Dataset) -> str:
    """README.md: a dataset card with a header that Hugging Face reads."""
    frames = dataset.info["frames"]
    size = next(name for most, name in SIZES if frames < most)
    sources = {p["source"] for p in dataset.info["configuration"]["ct"]}
    told = {"frames": frames, "size_category": size, "sample": "sample" in sources, "total": _total(dataset.info)}
    return _template("card.md").render(info=dataset.info, **told)


def _total(info: dict[str, Any]) -> int:
    """Views of all patients."""
    return sum(planned(info).values())


SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (float("inf"), "n>1M"),
)


def _depth(frame: Frame, top: float) -> dict[str, Any]:
    """The depth picture, and what it says under the pointer.

    A page opened from disk may read no file, not even the pixels of its own pictures: values lie in the page. `values`
    are z-depths of single pixels, `columns` of them in a row, 1/100 mm as little-endian uint16, 0 where invalid.
    """
    from PIL import Image

    z = frame.geometry()["z_depth"]
    picture = Image.fromarray(colour_depth(z, top))
    picture.thumbnail((DEPTH_WIDTH, DEPTH_WIDTH), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=90)
    step = -(-max(z.shape) // HOVERED)
    some = z[step // 2 :: step, step // 2 :: step]
    levels = np.clip(np.round(np.nan_to_num(some) * 100), np.where(np.isfinite(some), 1, 0), 65535).astype("<u2")
    seen = z[np.isfinite(z)]
    return {
        "range": f"{seen.min():.1f} to {seen.max():.1f} mm, half of it nearer than {np.median(seen):.1f}"
        if len(seen)
        else "none",
        "depth": "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "values": base64.b64encode(levels.tobytes()).decode(),
        "columns": levels.shape[1],
    }
