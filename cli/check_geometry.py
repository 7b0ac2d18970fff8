"""`endorender check-geometry`: do depth, poses and cameras of a dataset fit together?"""

from __future__ import annotations

import sys

import click


@click.command("check-geometry")
@click.argument("dataset", type=click.Path())
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def command(dataset: str, json_wanted: bool) -> None:
    """Reproject frames of a DATASET into their neighbours and show what is left of depth and colour.

    Example: endorender check-geometry frames
    """
    from cli._show import table
    from endorender.dataset import open_dataset
    from endorender.dataset.consistency import check_geometry

    found = check_geometry(open_dataset(dataset))
    parts = [f"{name}\n{table(figures)}" for name, figures in found["patients"].items()]
    verdict = "depth, poses and cameras fit together" if found["ok"] else "DEPTH, POSES AND CAMERAS DO NOT FIT TOGETHER"
    click.echo(table(found, True) if json_wanted else "\n".join([*parts, verdict]))
    sys.exit(0 if found["ok"] else 1)
