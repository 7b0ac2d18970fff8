"""`endorender check-geometry`: do depth, poses and cameras of a dataset fit together?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from cli import _completing as completing


@click.command("check-geometry")
@click.argument("dataset", type=click.Path())
@click.option(
    "--ct",
    multiple=True,
    metavar="PATH|sample|phantom:SEED",
    help="Compare every view with its CT, too.",
    shell_complete=completing.scans,
)
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
    from cli._show import table

    found = compared(dataset, ct, label, series, phase, views, share)
    click.echo(table(found, True) if json_wanted else told(found))
    sys.exit(0 if found["ok"] else 1)


VERDICTS = {
    "fits": "depth, poses and cameras fit together",
    "does not fit": "DEPTH, POSES AND CAMERAS DO NOT FIT TOGETHER",
    "undecided": "TOO LITTLE COULD BE CHECKED: give the CT with --ct, or render more views of a patient",
}


def compared(
    root: str,
    cts: Sequence[str],
    label: Sequence[str],
    series: str | None,
    phase: str | None,
    views: int | None,
    share: float,
) -> dict[str, Any]:
    """The check of a dataset, with its CTs where they are given."""
    from cli.progress import bar
    from endorender.dataset import open_dataset
    from endorender.dataset.configuring import each_ct
    from endorender.dataset.consistency import check_geometry

    dataset = open_dataset(root)
    if not cts:
        return check_geometry(dataset, share=share)
    from endorender.dataset.against_ct import against

    with bar("checking") as progress:
        done = against(
            dataset, cts if series else each_ct(list(cts)), label, series, phase, views,
            lambda part, text: progress(part, 1, text),
        )  # fmt: skip
        return check_geometry(dataset, share=share, against=done)


def told(found: dict[str, Any]) -> str:
    """For people."""
    from cli._show import table

    parts = [f"{name}\n{table(figures)}" for name, figures in found["patients"].items()]
    counts = (
        f"{found['checked']} of {found['pairs']} pairs of views were checked, {found['unchecked']} see too little of "
    )
    counts += "each other"
    if "checked_against_ct" in found:
        counts += f"; {found['checked_against_ct']} of {found['views']} views were compared with the CT"
    return "\n".join([*parts, f"{counts} ({found['share_needed']:.0%} are needed)", VERDICTS[found["verdict"]]])
