"""`endorender check-geometry`: do depth, poses and cameras of a dataset fit together?"""

from __future__ import annotations

import sys

import click


@click.command("check-geometry")
@click.argument("dataset", type=click.Path())
@click.option("--ct", multiple=True, metavar="PATH|sample|phantom:SEED", help="Compare every view with its CT, too.")
@click.option("--label", multiple=True, metavar="MASK", help="The mask of an organ under which a CT was rendered.")
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--views", type=click.IntRange(min=1), help="Of a patient, compared with the CT at most.  [all]")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Of pairs, or with --ct of views, that must have been checked before a dataset is called sound.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def command(
    dataset: str,
    ct: tuple[str, ...],
    label: tuple[str, ...],
    series: str | None,
    phase: str | None,
    views: int | None,
    share: float,
    json_wanted: bool,
) -> None:
    """Reproject frames of a DATASET into their neighbours and show what is left of depth and colour.

    Example: endorender check-geometry frames --ct phantom:1
    """
    from cli._check import compared, told
    from cli._show import table

    found = compared(dataset, ct, label, series, phase, views, share)
    click.echo(table(found, True) if json_wanted else told(found))
    sys.exit(0 if found["ok"] else 1)
