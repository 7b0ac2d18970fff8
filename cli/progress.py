"""A progress bar with the time left, on stderr; silent where nobody watches."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def interruptible(patience: float | None = None) -> Iterator[Callable[[], None]]:
    """Ctrl-C that is not lost. Gives a function that raises KeyboardInterrupt if it was pressed before.

    Taichi 1.7.4 swallows whatever is raised while it reads a kernel's source (bare `except:`), Ctrl-C too.
    patience: seconds after which the process ends all the same, for work that may be cut off anywhere.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)  # first: a second signal may strike while the timer starts
        if patience is not None and len(asked) == 1:
            last.start()
        raise KeyboardInterrupt

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    last = threading.Timer(patience or 0, _leave)
    last.daemon = True
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_if_asked
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield stop_if_asked
    finally:
        last.cancel()
        if last.is_alive():
            last.join()  # it has begun to speak, and ends the process: two must not say it
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave() -> None:
    """End the process at once, with the words and the code that an interruption ends with."""
    from cli.main import CONTINUES, INTERRUPTED

    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the cursor, which the bar has hidden
    sys.stderr.write(f"error: {CONTINUES}\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


SEEN = 600.0  # seconds of the past by which the time left is told: a step may take minutes


@contextlib.contextmanager
def bar(title: str, patience: float | None = None) -> Iterator[Callable[[float, int, str], None]]:
    """Gives `progress(done, total, text)`. patience: see `interruptible`."""
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
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[text]}"),
    )
    hidden = not console.is_terminal
    with (
        interruptible(patience) as stop_if_asked,
        Progress(
            *columns,
            console=console,
            disable=hidden,
            speed_estimate_period=SEEN,
        ) as shown,
    ):
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
