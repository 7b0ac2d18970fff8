"""Where compiled kernels are kept between runs: in a folder that no other living process writes into.

Two processes that write into one spoil it for each other (Taichi 1.7.4), a lock file that a killed one left behind
turns a folder off for good, and so does an entry that was cut off or lost: it is compiled at every start, in silence.
So each process locks a folder by the system's means, which end with it, and checks it against a list of contents.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from endorender import engine

LIST = "contents.json"


def folder() -> Path | None:
    """This process's folder: the first that nobody has, so that the next run finds it. None: nowhere can be written.

    Below TI_OFFLINE_CACHE_FILE_PATH, or else the user's cache folder, or else one that ends with the process.
    """
    for base in _bases():
        with contextlib.suppress(OSError, ImportError):
            return _first_free(base)
    with contextlib.suppress(OSError):
        private = Path(tempfile.mkdtemp(prefix="endorender-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return private
    return None


def seal(folder: Path) -> None:
    """Note what the folder holds, once everything is written."""
    with contextlib.suppress(OSError):
        part = folder / f"{LIST}.part"
        part.write_text(json.dumps(_contents(folder)), encoding="utf-8")
        part.replace(folder / LIST)


def _bases() -> Iterator[Path]:
    kind = f"{engine.NAME}-{engine.VERSION}"
    if own := os.environ.get("TI_OFFLINE_CACHE_FILE_PATH"):
        yield Path(own).absolute() / kind
    if own := os.environ.get("XDG_CACHE_HOME"):
        yield Path(own).absolute() / "endorender" / "kernels" / kind
    else:
        with contextlib.suppress(RuntimeError):  # nobody knows of a home
            yield Path.home() / ".cache" / "endorender" / "kernels" / kind


def _first_free(base: Path) -> Path:
    import fcntl  # not on Windows

    for number in itertools.count():
        found = base / str(number)
        found.mkdir(parents=True, exist_ok=True)
        fd = os.open(found / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        # The lock is held until the process ends.
        if not (found / LIST).exists() and number:
            _take_over(base / "0", found)
        if not _sound(found):
            _clear(found)
        return found
    raise AssertionError("unreachable")


def _take_over(other: Path, found: Path) -> None:
    """Begin with what another folder holds. Its process may be writing: what does not fit its list is found out."""
    with contextlib.suppress(OSError):
        listed = (other / LIST).read_bytes()
        for name in json.loads(listed):
            (found / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(other / name, found / name)
        (found / LIST).write_bytes(listed)


def _sound(folder: Path) -> bool:
    """Whether the folder holds what its list says, to the byte."""
    try:
        return bool(json.loads((folder / LIST).read_text(encoding="utf-8")) == _contents(folder))
    except (OSError, ValueError):
        return False


def _contents(folder: Path) -> dict[str, int]:
    """Checksums by name."""
    ours = {LIST, f"{LIST}.part", ".lock"}
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in ours]
    return {str(p.relative_to(folder)): zlib.crc32(p.read_bytes()) for p in files}


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
