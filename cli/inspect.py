"""`endorender inspect`: what a CT is, before hours are spent on it."""

from __future__ import annotations

import click


@click.command("inspect")
@click.argument("path")
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--region", type=int, metavar="N", help="Which lumen: 1 is the largest.")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--preview", type=click.Path(dir_okay=False), help="Write a PNG of three sections here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str,
    series: str | None,
    region: int | None,
    resample: bool,
    assume_hu: bool,
    preview: str | None,
    as_json: bool,
) -> None:
    """Show what was read from a CT (a path, sample, or phantom:SEED): grid, HU, lumens, warnings."""
    from cli._show import table
    from endorender import ct

    volume = ct.open_ct(path, series, resample, assume_hu)
    ready = ct.prepare(volume, region)
    click.echo(table(ct.describe(volume, ready.lumen, ready.path), as_json))
    if preview:
        ct.preview(ready.volume, ready.lumen, ready.path, preview)
        click.echo(f"preview: {preview}", err=as_json)
