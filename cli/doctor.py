"""`endorender doctor`: what is installed, and on what it will run."""

from __future__ import annotations

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show versions, devices and extras."""
    from cli._checkup import checkup
    from cli._show import table

    click.echo(table(checkup(), as_json))
