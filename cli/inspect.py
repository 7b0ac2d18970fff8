"""`endorender inspect`: what a CT is, before hours are spent on it."""

from __future__ import annotations

from typing import Any

import click


@click.command("inspect")
@click.argument("path")
@click.option("--series", metavar="NUMBER|UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option("--label", metavar="MASK[:LABELS]", help="Only air under this mask is lumen (NIfTI or DICOM SEG).")
@click.option("--scope", metavar="SPEC", help="Outside in mm, or NAME (see: list scope): say whether it passes.")
@click.option("--cleanse", metavar="PNG", help="Take tagged fluid out, and draw here what was changed.")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--preview", type=click.Path(dir_okay=False), help="Write a PNG of three sections and a histogram here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str,
    series: str | None,
    phase: str | None,
    region: str | None,
    label: str | None,
    scope: str | None,
    cleanse: str | None,
    resample: bool,
    assume_hu: bool,
    preview: str | None,
    as_json: bool,
) -> None:
    """Show what was read from a CT (a path, sample, or phantom:SEED): its series, grid, HU, lumens, warnings.

    Of a folder with several series all are listed; --series looks into one.

    Example: endorender inspect /data/colonography --preview sections.png
    """
    import json

    from cli._inspect import inspected, shown

    facts = inspected(path, series, region, label, scope, cleanse, resample, assume_hu, preview, phase)
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else shown(facts))
    pictures: dict[str, Any] = {"preview": preview, "what was cleansed": cleanse if facts.get("tagged_fluid") else None}
    for name, file in pictures.items():
        if file and "size" in facts:
            click.echo(f"{name}: {file}", err=as_json)
