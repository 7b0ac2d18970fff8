"""Compressed frames, decoded where a damaged stream can do no harm: gdcm ends the whole process on some of them.

Child processes (decoder_child.py) decode for as long as a series is read; if one dies, that frame was damaged and the
next one gets another child. They are run as programs of their own, so nothing depends on how this process was started,
and load neither Taichi nor torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.dicom.decoder_child import send

if TYPE_CHECKING:
    from jaxtyping import Integer

CHILD = Path(__file__).with_name("decoder_child.py")
IDLE_S = 60.0  # an idle child ends by itself, when a busy machine lets it
_lock = threading.Lock()
_users = 0
_idle: list[_Child] = []


class Damaged(Exception):
    """A frame that cannot be decoded; the text is the kind of the failure, no header text."""


@contextmanager
def kept() -> Iterator[None]:
    """Children live as long as anybody is in here; to start one takes half a second."""
    global _users
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            over = _idle[:] if _users == 0 else []
            del _idle[: len(over)]
        for child in over:
            child.end(IDLE_S)


def decode(
    frame: bytes, syntax: str, rows: int, cols: int, allocated: int, stored: int, signed: bool
) -> Integer[np.ndarray, "{rows} {cols}"]:
    """(rows, cols) integers of one encoded frame, as they are stored. Raises Damaged.

    Call it within `kept()`, from as many threads as children are wanted.
    """
    options = {
        "syntax": syntax,
        "rows": rows,
        "columns": cols,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "pixel_representation": int(signed),
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
        "size": len(frame),
    }
    with _lock:
        child = _idle.pop() if _idle else None
    if child is None or child.owner != os.getpid():  # pipes that a fork shares would mix two conversations
        child = _Child()
    try:
        return child.ask(options, frame)
    except Damaged:
        raise
    except BaseException as error:  # dead, or interrupted in the middle of an answer
        child.end()
        child = None
        if isinstance(error, (OSError, EOFError, ValueError)):
            raise Damaged("the decoder died") from None
        raise
    finally:
        if child is not None:
            with _lock:
                _idle.append(child)


class _Child:
    """The process and its pipes."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Isolated: no environment of this process, and no package of the current folder, changes what is imported.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._started = False

    def ask(self, options: dict[str, Any], frame: bytes) -> np.ndarray:
        """Raises Damaged if the child says so, OSError or EOFError if it died."""
        if not self._started:
            send(self._to, {"path": [p for p in sys.path if p]})
            self._started = True
        send(self._to, options, frame)
        head = json.loads(self._bytes(int.from_bytes(self._bytes(4), "little")))
        if "error" in head:
            raise Damaged(head["error"])
        out = np.empty(head["shape"], np.dtype(head["dtype"]))
        if self._from.readinto(out.reshape(-1).view(np.uint8).data) != out.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return out

    def _bytes(self, count: int) -> bytes:
        data = self._from.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def end(self, patience_s: float = 0.5) -> None:
        """Closes the pipes, which ends the child; kills it if it computes for longer."""
        for pipe in (self._to, self._from):
            with suppress(OSError):  # what was not written yet has no reader
                pipe.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
