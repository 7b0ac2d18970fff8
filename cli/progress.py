"""A progress bar with the time left, on stderr; silent where nobody watches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def bar(title: str) -> Iterator[Callable[[float, int, str], None]]:
    """Gives `progress(done, total, text)`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=None, text="")

        def progress(done: float, total: int, text: str) -> None:
            shown.update(task, completed=done, total=total, text=text)

        yield progress


@contextlib.contextmanager
def stages() -> Iterator[Callable[[str], contextlib.AbstractContextManager[Callable[[float, int, str], None]]]]:
    """Gives `stage(title)`, a bar for each stage of a long task; without a terminal, a line when a stage ends."""
    started = time.monotonic()

    @contextlib.contextmanager
    def stage(title: str) -> Iterator[Callable[[float, int, str], None]]:
        begun = time.monotonic()
        with bar(title) as progress:
            yield progress
        now = time.monotonic()
        click.echo(f"{title}: {now - begun:.0f} s (in all {now - started:.0f} s)", err=True)

    yield stage
