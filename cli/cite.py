"""`endorender cite`: whom to cite."""

from __future__ import annotations

import click


@click.command("cite")
@click.argument("dataset", required=False, type=click.Path())
def command(dataset: str | None) -> None:
    """Print BibTeX of what a DATASET owes: endorender, the study that it follows, and the data it was rendered from.

    Example: endorender cite frames > sources.bib
    """
    from endorender.dataset.citing import cite

    click.echo("\n".join(cite(dataset)))
