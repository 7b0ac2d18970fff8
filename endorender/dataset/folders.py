"""Folders and files that a command fills: whole or not there, begun again after a kill, never anybody else's.

What is being written is called `.NAME.PID.part` beside its place, and renamed. A process that was killed leaves it; the
next run that writes to the same place sweeps it away.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from endorender.errors import UserError

PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.part")


def temporary(path: Path) -> Path:
    """Where this process writes what will be called `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def into_place(part: Path, out: Path) -> None:
    """A whole folder to where it belongs, in one move. Errors (UserError): EXISTS where another process was faster."""
    try:
        part.replace(out)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise UserError(f"another process has filled {out} meanwhile: choose another --out", "EXISTS") from None


def sweep(path: Path) -> None:
    """Remove what dead processes left of `path`, beside it and, where it is a folder, in it."""
    beside = path.parent.glob(".*.part") if path.parent.is_dir() else ()
    inside = path.rglob(".*.part") if path.is_dir() else ()
    for part in [*beside, *inside]:
        found = PART.fullmatch(part.name)
        if found is None or _lives(int(found["pid"])) or (part.parent == path.parent and found["name"] != path.name):
            continue
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a number used again: this process has begun nothing yet
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def claim(out: Path, mine: Callable[[str], bool], what: str) -> None:
    """Make the folder, or take it up where an earlier run of the same command left it.

    mine: whether a name in the folder is one that this command writes. Errors (UserError): FOREIGN_FOLDER.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: choose another output folder", "FOREIGN_FOLDER")
    sweep(out)
    if out.is_dir() and any(not mine(path.name) for path in out.iterdir()):
        raise UserError(f"{out} holds something other than {what}: choose another output folder", "FOREIGN_FOLDER")
    out.mkdir(parents=True, exist_ok=True)
