"""`endorender report`: evaluations side by side on one page."""

from __future__ import annotations

import click


@click.command("report")
@click.argument("evaluations", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder of the report.")
def command(evaluations: tuple[str, ...], out: str) -> None:
    """Write one HTML page and its figures; the first of the EVALUATIONS is what the others are compared with.

    Example: endorender report evaluations/plain evaluations/fine-tuned --out report
    """
    from training.report import report

    click.echo(f"report: {report(evaluations, out)}")
