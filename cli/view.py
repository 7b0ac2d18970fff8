"""`endorender view`: a page to look around in."""

from __future__ import annotations

from typing import Any

import click


@click.command("view")
@click.argument("what", metavar="DATASET|CT")
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
    from cli._view import looked_at

    looked_at(what, port, evaluation, device, **reading)
