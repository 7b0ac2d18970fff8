"""What a command writes: whole or not there, begun again after a kill, never over what it reads or anybody else's.

What is being written is called `.NAME.PID.part` beside its place (`.STEM.PID.part.ENDING` where the ending tells its
writer the format), and renamed. A process that was killed leaves it; the next run that writes to the same place sweeps
it away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from endorender.errors import UserError

PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.part(?P<ending>\.[^.]+)?")


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
    for path in paths:
        sweep(path)
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


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the file, which comes and goes with it, for this process alone; the system lets go when the process dies,
    however it dies. Errors (UserError): LOCKED where another process holds it, NO_LOCKS where none can be held."""
    import fcntl  # not on Windows

    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder removes the file: a lock on a removed file protects nothing.
            if _inode(path) == os.fstat(fd).st_ino:
                break
        except BlockingIOError:
            os.close(fd)
            raise UserError(f"another process is writing {path.parent}: wait for it to end", "LOCKED") from None
        except OSError as error:
            os.close(fd)
            path.unlink(missing_ok=True)
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise UserError(
                f"the disk of {path.parent} keeps no locks (Lustre and NFS may be mounted without): "
                "choose an output folder on another",
                "NO_LOCKS",
            ) from None
        os.close(fd)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _inode(path: Path) -> int | None:
    """None where nothing is there, or is no more."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def sweep(path: Path) -> None:
    """Remove what dead processes left of `path`, beside it and, where it is a folder, in it."""
    beside = path.parent.glob(".*.part*") if path.parent.is_dir() else ()
    inside = path.rglob(".*.part*") if path.is_dir() else ()
    for part in [*beside, *inside]:
        found = PART.fullmatch(part.name)
        if (
            found is None
            or _lives(int(found["pid"]))
            or (part.parent == path.parent and found["name"] + (found["ending"] or "") != path.name)
        ):
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
