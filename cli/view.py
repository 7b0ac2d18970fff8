"""`endorender view`: a page to look around in."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from cli import _completing as completing


@click.command("view")
@click.argument("what", metavar="DATASET|CT", shell_complete=completing.scans)
@click.option("--port", default=8080, show_default=True, help="On this machine (127.0.0.1); 0: any free one.")
@click.option("--evaluation", type=click.Path(), help="Of this dataset, by `evaluate`: colours points by error.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "vulkan", "metal"]),
    default="cpu",
    show_default=True,
    help="For the preview of a CT (see: doctor).",
)
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option("--label", metavar="MASK[:LABELS]", help="Only air under this mask is lumen (NIfTI or DICOM SEG).")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--cleanse", is_flag=True, help="Turn tagged fluid into air (see: inspect --cleanse).")
def command(what: str, port: int, evaluation: str | None, device: str, **reading: Any) -> None:
    """Look around in a DATASET's folder, or in a CT (a path, sample, or phantom:SEED), in a browser; Ctrl-C ends it.

    Example: endorender view sample
    """

    looked_at(what, port, evaluation, device, **reading)


def looked_at(what: str, port: int, evaluation: str | None, device: str, **reading: Any) -> None:
    """Load with a bar, serve, and end with code 0 on Ctrl-C: that is how one leaves."""
    from cli.progress import bar
    from endorender.dataset.spec import regions
    from endorender.viewer.page import opened, serve

    with bar("reading") as progress:
        reading["region"] = regions(reading["region"])
        page = opened(what, port, evaluation, device, progress, **reading)
    if not serve(page, port, lambda address: click.echo(f"view: {address}  (Ctrl-C ends it)")):
        # A kernel that is being compiled cannot be cut off, and the interpreter cannot shut down under it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
