"""Processes below this one, by what they call themselves."""

import os
from pathlib import Path


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
