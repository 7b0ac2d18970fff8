"""Compressed frames, decoded where a damaged stream can do no harm: gdcm ends the whole process on some of them.

A child process (decoder_child.py) decodes for as long as a series is read; if it dies, that frame was damaged and the
next one gets another child. It is run as a program of its own, so nothing depends on how this process was started, and
it loads neither Taichi nor torch.
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
from typing import Any

import numpy as np

from endorender.ct.decoder_child import send

CHILD = Path(__file__).with_name("decoder_child.py")
_lock = threading.RLock()
_users = 0
_child: _Child | None = None


class Damaged(Exception):
    """A frame that cannot be decoded; the text is the kind of the failure, no header text."""


@contextmanager
def kept() -> Iterator[None]:
    """The child lives as long as anybody is in here; to start it takes half a second."""
    global _users, _child
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _child is not None:
                _child.end()
                _child = None


def decode(frame: bytes, syntax: str, rows: int, cols: int, allocated: int, stored: int, signed: bool) -> np.ndarray:
    """(rows, cols) integers of one encoded frame, as they are stored. Raises Damaged. Call it within `kept()`."""
    global _child
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
        if _child is None or _child.owner != os.getpid():  # pipes that a fork shares would mix two conversations
            _child = _Child()
        try:
            return _child.ask(options, frame)
        except (OSError, EOFError):
            _child.end()
            _child = None
            raise Damaged("the decoder died") from None


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

    def end(self) -> None:
        """Closes the pipes, which ends the child; kills it if it computes."""
        for pipe in (self._to, self._from):
            with suppress(OSError):  # what was not written yet has no reader
                pipe.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
