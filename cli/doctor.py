"""`endorender doctor`: what is installed, and on what it will run."""

from __future__ import annotations

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", metavar="NAME", help="Render on this device and on the CPU, and compare.")
def command(as_json: bool, device: str | None) -> None:
    """Show versions, extras, and the devices that work: each has rendered, previewed and fitted.

    Example: endorender doctor --device vulkan
    """
    from cli._checkup import checkup, devices_agree
    from cli._show import table

    if device is None:
        click.echo(table(checkup(), as_json))
        return
    found = devices_agree(device)
    click.echo(table(found, as_json))
    if not found["agrees"]:
        raise click.ClickException(f"device {device!r} does not compute what the CPU computes: use another")
