"""Files that a command writes: whole or not at all, and never over what it reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from endorender.errors import UserError


def refuse_over(outputs: Sequence[str | Path | None], inputs: Sequence[str | Path | None]) -> None:
    """Raise UserError OVERWRITES where an output is one of the inputs, by whatever name, or a file in a folder that is
    one. None is passed over, and so is what is not there yet. Nothing of an input's path is said."""
    given = [path for path in map(_there, inputs) if path is not None]
    for output in outputs:
        target = _there(output)
        if target is not None and any(target == path or path in target.parents for path in given):
            raise UserError("the output would be written over what is read: choose another file", "OVERWRITES")


def _there(path: str | Path | None) -> Path | None:
    """With links followed; None where nothing is there."""
    if path is None:
        return None
    try:
        return Path(path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None


@contextlib.contextmanager
def whole(*paths: Path) -> Iterator[list[Path]]:
    """Places beside `paths`, with their endings, to write to: once all are written they get their names, else nothing
    is left. What was there before stays until then."""
    parts = [path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}") for path in paths]
    try:
        yield parts
        for part in parts:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        for part, path in zip(parts, paths):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
