"""`endorender average`: the mean of several runs' weights as a run."""

from __future__ import annotations

import click


@click.command("average")
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Folder of the run that is their mean.")
def command(runs: tuple[str, ...], out: str) -> None:
    """Average the weights of RUNS of one architecture, such as a network and what it was fine-tuned to.

    Example: endorender average runs/plain runs/tuned --out runs/mean
    """
    from training.averaging import average

    click.echo(f"run: {average(runs, out)}")
