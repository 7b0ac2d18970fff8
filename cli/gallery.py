"""`endorender gallery`: every look over the same views, beside the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import _completing as completing


@click.command("gallery")
@click.option("--out", default="gallery", type=click.Path(), show_default=True, help="Folder for the pictures.")
@click.option(
    "--ct",
    multiple=True,
    metavar="PATH|sample|phantom:SEED",
    help="CTs.  [phantom:1, phantom:2, sample]",
    shell_complete=completing.scans,
)
@click.option(
    "--label", multiple=True, metavar="MASK[:LABELS]", help="Only air under this mask is lumen; one for each --ct."
)
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--cleanse", is_flag=True, help="Turn tagged fluid into air (see: inspect --cleanse).")
@click.option("--size", default="320x240", metavar="WxH", show_default=True, help="Pixels.")
@click.option("--spp", default=64, type=click.IntRange(1), show_default=True, help="Samples per pixel.")
@click.option("--views", default=4, type=click.IntRange(1, 32), show_default=True, help="Views of each CT.")
@click.option("--seed", default=0, type=click.IntRange(0), show_default=True, help="Other views, other vessels.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    out: str,
    ct: tuple[str, ...],
    label: tuple[str, ...],
    region: str | None,
    size: str,
    spp: int,
    views: int,
    seed: int,
    as_json: bool,
    **reading: Any,
) -> None:
    """Render all looks with vessels and film, denoised, and compare their figures with the published panels.

    Example: endorender gallery --ct sample --views 1 --size 160x120 --spp 16 --out gallery
    """
    from cli._show import held
    from cli.progress import bar
    from endorender.dataset.gallery import COMPARISON, CTS, gallery
    from endorender.dataset.spec import pixels, regions

    with bar("rendering") as progress:
        told = lambda done, what: progress(done, 1, what)  # noqa: E731
        text = gallery(out, ct or CTS, pixels(size), spp, views, seed, told, label, regions(region), **reading)
    click.echo(held(Path(out) / COMPARISON) if as_json else f"{text}\npictures: {out}/gallery.png")
