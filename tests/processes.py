"""Processes that a test talks to, and those below this one."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def started(command: list[str], **how: Any) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the block. `with Popen` alone would wait for it after a failure, for ever."""
    with subprocess.Popen(command, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def below(title):
    """Ids of the processes that this one started, or that those did, whose command begins with `title`."""
    parents, commands = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                commands[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):  # ended meanwhile
                continue
    return [pid for pid, command in commands.items() if command.startswith(title) and _is_ours(pid, parents)]


def _is_ours(pid, parents):
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False
