"""Rendering on one device: this process traces, and a second one develops what is traced meanwhile.

A running kernel holds the interpreter's lock, so a thread would wait for each launch to end; a process does not. It
denoises, exposes, compresses. docs/performance.md has what that gains.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from functools import partial
from multiprocessing.connection import Connection, Pipe
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any

from endorender.dataset.negative import Negative
from endorender.dataset.patient import Report
from endorender.dataset.work import Failed, Outcome, Renderer, Unit, Work, developed
from endorender.errors import Notice

WORTH = 64  # frames; for fewer a process is not worth its start of a second
MOST = 24  # frames under way: what an end from outside may lose
MOST_PIXELS = 6_000_000  # of frames under way: some 95 bytes each, here and there; two frames always
PATIENCE_S = 30  # for a process that starts
# What multiprocessing calls an interpreter need not be one, within another program: it is talked to once it answers.
# Isolated, and with this process's places of modules: the same ones are found, not what lies in a working directory.
CODE = """
import sys
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[1]))
sys.path[:] = line.recv()
from endorender.dataset.alone import develop
develop(line)
"""


def alone(work: Work, report: Report) -> Generator[Outcome, None, None]:
    """Render everything on one device. What was traced before an error is developed before that is raised; before
    Ctrl-C too, as far as whoever waits for the end has patience."""
    renderer = Renderer(work.config, work.known, partial(_started, work.config.device))
    with Darkroom(work.left * len(work.config.columns)) as darkroom:
        for unit, found in _traced(renderer, work, report):
            if isinstance(found, Negative):
                yield from darkroom.put(unit, found)
                continue
            yield from darkroom.rest()  # which of the view's frames are there tells which have failed
            if isinstance(found, BaseException):
                raise found
            yield found
        yield from darkroom.rest()


def _traced(
    renderer: Renderer, work: Work, report: Report
) -> Iterator[tuple[Unit, Negative | Failed | Exception | KeyboardInterrupt]]:
    """Everything in its turn. What ends the run is the last."""
    while unit := work.take("alone"):
        frames = renderer.render(unit, report)
        while True:
            try:
                found = next(frames, None)
            except (Exception, KeyboardInterrupt) as error:
                yield unit, error
                return
            if found is None:
                break
            yield unit, found


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
        self._answered = False
        if frames >= WORTH and get_executable() and not hasattr(sys, "frozen"):  # a program that would begin anew
            self._start()

    def _start(self) -> None:
        with contextlib.suppress(OSError):
            self._line, there = Pipe()
            with there:
                # In a session of its own: Ctrl-C is this process's matter.
                self._process = subprocess.Popen(
                    [get_executable(), "-I", "-c", CODE, str(there.fileno())], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[there.fileno()],
                    start_new_session=True,
                )  # fmt: skip
            # Not as arguments, which all users of a machine can read. The last is for what an import hook has found.
            self._line.send([*sys.path, str(Path(__file__).parents[2])])

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
                if not self._answered:
                    self._answered = self._line.poll(PATIENCE_S) and self._line.recv()
                if self._answered:
                    self._line.send((unit, negative))
                else:
                    self._died()
            except (EOFError, OSError):
                self._died()
        most = min(MOST, max(2, MOST_PIXELS // negative.mask.size))
        while self._under_way and (len(self._under_way) > most or self._ready()):
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
                found: Outcome = outcome
                return found
        unit, negative = self._under_way.popleft()
        return developed(unit, negative)

    def _died(self) -> None:
        """It did not start, or for want of memory or disk it did not go on: what it had is developed here."""
        self.__exit__()
        self._process = None


def develop(line: Connection[Any, Any]) -> None:
    """The process: frames from the line, and back with all bytes of their files, until there is nobody at its end.

    It dies of what is no matter of single frames. Two threads carry, so that neither side ever waits for the other to
    take something.
    """
    from endorender.dataset.worker import packed

    come: queue.SimpleQueue[Any] = queue.SimpleQueue()
    go: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def carry_in() -> None:
        try:
            while True:
                come.put(line.recv())
        finally:
            os._exit(0)

    def carry_out() -> None:
        try:
            while True:
                line.send(go.get())
        finally:
            os._exit(0)

    for carry in (carry_in, carry_out):
        threading.Thread(target=carry, daemon=True).start()
    go.put(True)  # it is there
    while True:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", Notice)
            outcome = packed(developed(*come.get()))
        go.put((outcome, [str(w.message) for w in heard if issubclass(w.category, Notice)]))
