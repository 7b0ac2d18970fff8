"""A call in a process of its own, while this one starts the renderer: Python runs one thread at a time."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from endorender.errors import UserError

T = TypeVar("T")
Call = Callable[[Callable[[float, str], None]], T]  # gets what reports its progress
REPORT, RESULT, ERROR = range(3)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def possible() -> bool:
    """Whether a process can be forked: only on Linux, and not once Taichi has its threads."""
    return sys.platform == "linux" and not {"taichi", "quadrants"} & set(sys.modules)


class Background(Generic[T]):
    """Begins the call. Its result is a copy."""

    def __init__(self, call: Call[T]):
        context = multiprocessing.get_context("fork")
        self._heard, there = context.Pipe(duplex=False)
        # A daemon: it ends with this process.
        self._process = context.Process(target=_run, args=(there, call), daemon=True)
        self._process.start()
        there.close()

    def result(self, report: Callable[[float, str], None]) -> T:
        """Waits. What the call reports and warns of is passed on, what it raises is raised here."""
        while True:
            try:
                kind, *said = self._heard.recv()
            except EOFError:
                raise MemoryError("the process that read the CT was ended from outside") from None
            if kind == REPORT:
                report(*said)
                continue
            for message, category in said.pop():
                warnings.warn(message, category, stacklevel=2)
            self._process.join()
            if kind == ERROR:
                raise said[0]
            found: T = said[0]
            return found


def _run(there: Connection, call: Call[T]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Ends with its parent even if that is killed: else it would hold the dataset's lock until it is done.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError), warnings.catch_warnings(record=True) as heard:
        said: Any
        try:
            kind, said = RESULT, call(lambda done, text: there.send((REPORT, done, text)))
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()  # a bug: what is raised in the other process has lost its place
            kind, said = ERROR, error
        there.send((kind, said, [(w.message, w.category) for w in heard]))
