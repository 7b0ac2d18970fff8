"""`endorender export`: a dataset in somebody else's layout."""

from __future__ import annotations

import click

from cli import _completing as completing


@click.command("export")
@click.argument("dataset", type=click.Path())
@click.option(
    "--layout",
    required=True,
    metavar="SPEC",
    help="NAME or NAME:key=value,... (see: list layout).",
    shell_complete=completing.named("layout"),
)
@click.option("--out", required=True, type=click.Path(), help="New folder.")
@click.option(
    "--split",
    metavar="NAME",
    help="Only train, val or test.  [all]",
    shell_complete=completing.words("train", "val", "test"),
)
@click.option("--variations", metavar="A,B", help="Only these images of each view.  [all]")
def command(dataset: str, layout: str, out: str, split: str | None, variations: str | None) -> None:
    """Write a DATASET as simcol3d, c3vd, c3vdv2, nerfstudio, depth_anything, webdataset, hdf5 or huggingface.

    Example: endorender export frames --layout c3vd --variations pale_pink --out frames-c3vd
    """
    from endorender.dataset.layouts import export

    names = None if variations is None else [name.strip() for name in variations.split(",")]
    click.echo(f"exported: {export(dataset, layout, out, split, names)}")
