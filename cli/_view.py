"""How `endorender view` comes up and ends."""

from __future__ import annotations

import os
import sys
from typing import Any

import click


def looked_at(what: str, port: int, evaluation: str | None, device: str, **reading: Any) -> None:
    """Load with a bar, serve, and end with code 0 on Ctrl-C: that is how one leaves."""
    from cli.progress import bar
    from endorender.dataset.spec import regions
    from endorender.viewer.page import opened, serve

    with bar("reading") as progress:
        reading["region"] = regions(reading["region"])
        page = opened(what, port, evaluation, device, progress, **reading)
    if not serve(page, port, lambda address: click.echo(f"view: {address}  (Ctrl-C ends it)")):
        # A kernel that is being compiled cannot be cut off, and the interpreter cannot shut down under it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
