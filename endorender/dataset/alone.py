"""Rendering on one device: this process traces, and a second one develops what is traced meanwhile.

A running kernel holds the interpreter's lock, so a thread would wait for each launch to end; a process does not. It
denoises, exposes, compresses: half as long as tracing sixteen samples takes two cores, and far longer than a card
takes for it.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from endorender.dataset.negative import Negative
from endorender.dataset.patient import Report
from endorender.dataset.work import Failed, Outcome, Renderer, Unit, Work, developed
from endorender.errors import Notice

WORTH = 64  # frames; for fewer a process is not worth its start of a second
MOST = 24  # frames under way: what an interruption may lose


def alone(work: Work, report: Report) -> Generator[Outcome, None, None]:
    """Render everything on one device."""
    renderer = Renderer(work.config, work.known, partial(_started, work.config.device))
    with Darkroom(work.left * len(work.config.columns)) as darkroom:
        while unit := work.take("alone"):
            for found in renderer.render(unit, report):
                if isinstance(found, Failed):
                    yield from darkroom.rest()  # which of the view's frames are there tells which have failed
                    yield found
                else:
                    yield from darkroom.put(unit, found)
        yield from darkroom.rest()


def _started(device: str) -> None:
    from endorender.render import init

    init(device)


class Darkroom:
    """Where frames are developed: in a process of its own or, where there are few or that has died, at once.

    frames: how many there will be. The order stays.
    """

    def __init__(self, frames: int):
        self._under_way: deque[tuple[Unit, Negative]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        if frames >= WORTH and sys.executable:
            self._start()

    def _start(self) -> None:
        self._line, there = Pipe()
        root = str(Path(__file__).parents[2])
        code = (
            "import sys; sys.path[0] = sys.argv[1]\n"  # not the working directory, which may hold anything
            "from endorender.dataset.alone import develop\ndevelop(int(sys.argv[2]))"
        )
        with there, contextlib.suppress(OSError):
            # In a session of its own: Ctrl-C is this process's matter.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, root, str(there.fileno())], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[there.fileno()],
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Darkroom:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process is not None:
            self._line.close()
            self._process.kill()
            self._process.wait()

    def put(self, unit: Unit, negative: Negative) -> Iterator[Outcome]:
        """Takes a frame; gives those that are ready, and waits for some where many are under way."""
        self._under_way.append((unit, negative))
        if self._process is not None:
            try:
                self._line.send((unit, negative))
            except OSError:
                self._died()
        while self._under_way and (len(self._under_way) > MOST or self._ready()):
            yield self._next()

    def rest(self) -> Iterator[Outcome]:
        """All that are still under way."""
        while self._under_way:
            yield self._next()

    def _ready(self) -> bool:
        try:
            return self._process is None or self._line.poll()
        except OSError:
            self._died()
            return True

    def _next(self) -> Outcome:
        if self._process is not None:
            try:
                outcome, notices = self._line.recv()
            except (EOFError, OSError):
                self._died()
            else:
                self._under_way.popleft()
                for text in notices:
                    warnings.warn(text, Notice, stacklevel=2)
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome
        unit, negative = self._under_way.popleft()
        return developed(unit, negative)

    def _died(self) -> None:
        """Ended from outside, for want of memory perhaps: what it had is developed here."""
        self.__exit__()
        self._process = None


def develop(line: int) -> None:
    """The process: frames from the file descriptor, and back with all bytes of their files.

    Two threads carry, so that neither side ever waits for the other to take something.
    """
    from endorender.dataset.worker import packed, portable

    connection: Connection[Any, Any] = Connection(line)
    come: queue.SimpleQueue[Any] = queue.SimpleQueue()
    go: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def carry_in() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                come.put(connection.recv())
        come.put(None)

    def carry_out() -> None:
        with contextlib.suppress(OSError):
            while (found := go.get()) is not None:
                connection.send(found)

    threads = [threading.Thread(target=carry, daemon=True) for carry in (carry_in, carry_out)]
    for thread in threads:
        thread.start()
    while (found := come.get()) is not None:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", Notice)
            outcome: Outcome | Exception
            try:
                outcome = packed(developed(*found))
            except Exception as error:
                outcome = portable(error)
        go.put((outcome, [str(w.message) for w in heard if issubclass(w.category, Notice)]))
    go.put(None)
    threads[1].join()
