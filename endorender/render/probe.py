"""Which devices work here, found out by running something on them. Does not load Taichi itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEVICES = ("cpu", "cuda", "vulkan", "metal")


def probe(names: tuple[str, ...] = DEVICES, timeout: float = 120.0) -> dict[str, str]:
    """For each device `works`, or why it does not. Each runs in a process of its own: a bad driver may crash it."""
    root = str(Path(__file__).parents[2])
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"  # not the working directory, which may hold anything
        "from endorender.errors import UserError\nfrom endorender.render.devices import try_out\n"
        "try:\n    try_out(sys.argv[2])\nexcept UserError as error:\n    sys.exit(f'error: {error}')"
    )
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", code, root, name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name in names
    }
    return {name: _verdict(name, process, timeout) for name, process in started.items()}


def _verdict(device: str, process: subprocess.Popen[str], timeout: float) -> str:
    try:
        _, told = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"does not answer within {timeout:.0f} s"
    if process.returncode == 0:
        return "works"
    if process.returncode < 0:
        return f"crashes (signal {-process.returncode})"
    last = (told.strip().splitlines() or ["no reason given"])[-1]
    return last.removeprefix("error: ").removeprefix(f"device {device!r} ").split(";")[0]
