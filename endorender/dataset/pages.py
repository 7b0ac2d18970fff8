"""What a person opens first: contact sheet, index.html, the dataset card, and the lists of the splits."""

from __future__ import annotations

import base64
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endorender.dataset.frame import SPLITS, Dataset, Frame
from endorender.dataset.sheet import colour_depth, contact_sheet, depth_range, views_of
from endorender.dataset.writer import sha256

if TYPE_CHECKING:
    from endorender.dataset.writer import Writer

DEPTH_WIDTH = 160  # px of a depth picture inside index.html
PAGES = ("README.md", "contact_sheet.png", "index.html", *(f"splits/{name}.txt" for name in SPLITS))
SUMS = "SHA256SUMS"
MOST_VIEWS = 1000  # shown in index.html


def write_pages(writer: Writer, dataset: Dataset) -> None:
    """Write all of them into a finished dataset."""
    for name in SPLITS:
        lines = "".join(f"{alias}\n" for alias in dataset.split(name))
        writer.add(f"splits/{name}.txt", partial(Path.write_text, data=lines, encoding="utf-8"))
    sheet = contact_sheet(dataset)
    writer.add("contact_sheet.png", lambda p: sheet.save(p, format="PNG"))
    writer.add("index.html", lambda p: p.write_text(index_html(dataset), encoding="utf-8"))
    writer.add("README.md", lambda p: p.write_text(card(dataset), encoding="utf-8"))
    # The manifest holds the hashes of frames; these are of the rest, as `sha256sum -c` takes them.
    sums = [f"{sha256(dataset.root / name)}  {name}\n" for name in sorted((*PAGES, "dataset.json", "manifest.jsonl"))]
    writer.add(SUMS, lambda p: p.write_text("".join(sums), encoding="utf-8"))


def index_html(dataset: Dataset) -> str:
    """A page of pictures with relative links; nothing loads from the network."""
    rows = views_of(dataset.frames)[:MOST_VIEWS]
    top = depth_range(rows)
    views = [
        {
            "patient": next(iter(row.values())).patient,
            "view": next(iter(row.values())).view,
            "frames": [row.get(c) for c in dataset.info["variations"]],
            "geometry": next(iter(row.values())).files["geometry"].path,
            "depth": _depth_uri(next(iter(row.values())), top),
        }
        for row in rows
    ]
    return _template("index.html").render(info=dataset.info, views=views, top=top, total=len(dataset.frames))


def card(dataset: Dataset) -> str:
    """README.md: a dataset card with a header that Hugging Face reads."""
    frames = len(dataset.frames)
    size = next(name for most, name in SIZES if frames < most)
    sources = {p["source"] for p in dataset.info["configuration"]["ct"]}
    return _template("card.md").render(info=dataset.info, frames=frames, size_category=size, sample="sample" in sources)


SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (float("inf"), "n>1M"),
)


def _depth_uri(frame: Frame, top: float) -> str:
    from PIL import Image

    picture = Image.fromarray(colour_depth(frame.geometry()["z_depth"], top))
    picture.thumbnail((DEPTH_WIDTH, DEPTH_WIDTH), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.quantize(64, Image.Quantize.FASTOCTREE).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _template(name: str) -> Any:
    import jinja2

    loader = jinja2.PackageLoader("endorender.dataset", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=name.endswith(".html"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(name)
