"""`endorender list`: what is registered, with its parameters."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """Names of a KIND (camera, light, model, phase, preset, tissue ...) with their parameters."""
    from cli._catalogue import entries, kinds

    if kind is None:
        click.echo("\n".join(kinds()))
        return
    for name, about, parameters in entries(kind):
        click.echo(f"{click.style(name, bold=True)}  {about}")
        for line in parameters:
            click.echo(f"    {line}")
