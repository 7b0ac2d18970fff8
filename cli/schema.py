"""`endorender schema`: what may stand in a configuration file, as JSON Schema."""

from __future__ import annotations

import click

from cli import _completing as completing

KINDS = ("render", "train")


@click.command("schema")
@click.argument("kind", metavar="render|train", shell_complete=completing.words(*KINDS))
def command(kind: str) -> None:
    """Print the JSON Schema of the files that `render --config` or `train --config` read, with all that is registered
    here. An editor completes and checks a YAML file whose first line is `# yaml-language-server: $schema=FILE`.

    Example: endorender schema render > render.schema.json
    """
    import json

    from endorender.errors import UserError, unknown

    if kind not in KINDS:
        raise UserError(unknown("kind of file", kind, KINDS), "UNKNOWN_NAME")
    if kind == "render":
        from endorender.dataset.schema import render as made
    else:
        from training.schema import train as made
    click.echo(json.dumps(made(), indent=1, ensure_ascii=False))
