"""`endorender verify`: can a dataset be trusted?"""

from __future__ import annotations

import sys

import click


@click.command("verify")
@click.argument("dataset", type=click.Path())
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def command(dataset: str, json_wanted: bool) -> None:
    """Find every changed byte, missing or foreign file and implausible value of a DATASET; exit code 1 if any.

    Example: endorender verify frames
    """
    from cli.progress import bar
    from endorender.dataset.verify import as_json, verify

    with bar("verifying") as progress:
        found = verify(dataset, progress)
    lines = [str(f) for f in found] or ["no fault found"]
    click.echo(as_json(found) if json_wanted else "\n".join(lines))
    sys.exit(1 if found else 0)
