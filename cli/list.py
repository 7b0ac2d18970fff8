"""`endorender list`: what is registered, with its parameters."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: all that is known, with defaults and limits.")
def command(kind: str | None, as_json: bool) -> None:
    """Names of a KIND (camera, light, model, phase, preset, response, tissue ...) with their parameters.

    Example: endorender list tissue
    """
    import json

    from cli._catalogue import entries, kinds, lines

    if as_json:
        found = entries(kind) if kind else {name: entries(name) for name in kinds()}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if kind is None:
        click.echo("\n".join(kinds()))
        return
    found = entries(kind)
    if not found:
        click.echo(f"no {kind} ships with this version")
    for entry in found:
        click.echo(f"{click.style(entry['name'], bold=True)}  {entry['about']}")
        for line in lines(entry):
            click.echo(f"    {line}")
        if "card" in entry:
            click.echo(f"\n{entry['card']}")
