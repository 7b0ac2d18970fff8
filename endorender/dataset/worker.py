"""A process that renders for another one: what it says is picklable and holds nothing of a patient but pixels."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from endorender.dataset.config import RenderConfig
from endorender.dataset.patient import Hashes
from endorender.dataset.work import Failed, Outcome, Renderer, Unit, developed
from endorender.dataset.writer import Made
from endorender.errors import Notice, UserError
from endorender.generator import generator


class WorkerBug(RuntimeError):
    """A bug in a worker: its kind and its places in the code, without the message, which may hold anything."""


@dataclass(frozen=True)
class Said:
    """A notice that the user should see."""

    text: str


@dataclass(frozen=True)
class Stop:
    """What ends the whole run."""

    error: Exception


class Worker:
    """The actor. Nothing that it raises or prints reaches Ray's logs: those are no place for patient data."""

    def __init__(self, config: RenderConfig, known: dict[str, Hashes]):
        self._renderer = Renderer(config, known)
        self._notices: list[str] = []
        logging.disable(logging.CRITICAL)
        warnings.showwarning = self._note
        warnings.simplefilter("always", Notice)

    def _note(self, message: Any, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, Notice):
            self._notices.append(str(message))

    def start(self, threads: int | None, asks: dict[str, Any]) -> Stop | None:
        """Load and start the renderer. threads: of the CPU; None: all that there are. asks: `generator` of who asks."""
        try:
            os.environ["ENDORENDER_ENGINE"] = asks["engine"]["name"]
            if (here := generator()) != asks:
                told = f"a node of the cluster has {_named(here)}, here it is {_named(asks)}: install the same"
                return Stop(UserError(told, "VERSIONS"))
            from endorender.render import init

            init(self._renderer.config.device, threads)
        except Exception as error:
            return Stop(portable(error))
        return None

    def render(self, unit: Unit) -> Iterator[Outcome | Said | Stop]:
        """The frames of a view as they are finished, with all bytes of their files."""
        try:
            for found in self._renderer.render(unit, lambda fraction, text: None):
                outcome = packed(found if isinstance(found, Failed) else developed(unit, found))
                yield from self._said()
                yield outcome
            yield from self._said()
        except Exception as error:
            yield Stop(portable(error))

    def _said(self) -> Iterator[Said]:
        while self._notices:
            yield Said(self._notices.pop(0))

    def stop(self) -> None:
        """Save the compiled kernels for the next run."""
        from endorender.render.device.backend import close

        close()


def packed(outcome: Outcome) -> Outcome:
    """The same with bytes in the place of what would write them."""
    if isinstance(outcome, Failed):
        return dataclasses.replace(outcome, error=portable(outcome.error))
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (path, fill) in outcome.files.items():
            here = Path(folder, kind)
            fill(here)  # OpenEXR writes to files only
            files[kind] = path, partial(Path.write_bytes, data=here.read_bytes())
    return Made(outcome.row, files)


def _named(made: dict[str, Any]) -> str:
    return "{} {} on {} {}".format(made["name"], made["version"], *made["engine"].values())


def portable(error: Exception) -> Exception:
    """An error that can be sent, and that may be read by anybody."""
    if isinstance(error, UserError):
        return UserError(str(error), error.code)
    if isinstance(error, MemoryError):
        return UserError("a worker's memory is full: take fewer --workers", "OUT_OF_MEMORY")
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return UserError(f"a worker cannot read or write: {reason}; look at its temporary folder", "WORKER_DISK")
    where = "".join(traceback.format_tb(error.__traceback__))
    return WorkerBug(f"{type(error).__name__} in a worker, at\n{where}")
