"""A progress bar with the time left, on stderr; silent where nobody watches."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Ctrl-C that is not lost. Gives a function that raises KeyboardInterrupt if it was pressed before.

    Taichi 1.7.4 swallows whatever is raised while it reads a kernel's source (bare `except:`), Ctrl-C too.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_if_asked
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield stop_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    hidden = not console.is_terminal
    with interruptible() as stop_if_asked, Progress(*columns, console=console, disable=hidden) as shown:
        task = shown.add_task(title, total=None, text="")

        def progress(done: float, total: int, text: str) -> None:
            stop_if_asked()
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
