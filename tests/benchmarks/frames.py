"""Finished training frames per hour, and what the time goes into.

    python tests/benchmarks/frames.py [--size 128x96] [--spp 16] [--views 24] [--rounds 2]

One phantom, `--preset paper4 --denoise`: four looks and the plain one, all files written; wall times from the second
view's tracing to the last file, so that neither the CT nor compiling counts, medians of rounds. Rows alternate between
developing at once and in a process of its own (`endorender.dataset.alone`). Needs an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def measured(size: str, spp: int, views: int, apart: bool) -> dict[str, float]:
    """Frames per hour, and the share of the time in which the device traces, or this process does something else."""
    from endorender.dataset import alone, configure, generate
    from endorender.dataset.generate import Writer
    from endorender.render.device import launches

    alone.WORTH = 1 if apart else sys.maxsize
    begins: list[tuple[float, float]] = []  # of each picture's tracing: when, and seconds traced before
    kept: list[float] = []
    trace, keep, traced = launches.trace, Writer.keep, 0.0

    def timed(*args: Any, **named: Any) -> None:
        nonlocal traced
        began = time.perf_counter()
        begins.append((began, traced))
        trace(*args, **named)
        traced += time.perf_counter() - began

    def noted(self: Writer, made: Any) -> None:
        keep(self, made)
        kept.append(time.perf_counter())

    launches.trace, Writer.keep = timed, noted  # type: ignore[method-assign]
    config = configure(ct="phantom:1", views=views, size=size, spp=spp, preset="paper4", denoise=True)
    with tempfile.TemporaryDirectory() as folder:
        generate(config, Path(folder, "frames"))
    launches.trace, Writer.keep = trace, keep  # type: ignore[method-assign]
    began, before = begins[1 - views]  # of the second view: the four looks are traced together
    seconds = kept[-1] - began
    return {"rate": 3600 * (views - 1) * len(config.columns) / seconds, "tracing": (traced - before) / seconds}


def asked_for(size: str, spp: int, views: int, apart: bool) -> dict[str, float]:
    """`measured` in a process of its own."""
    words = [sys.executable, str(Path(__file__)), "--one", json.dumps([size, spp, views, apart])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--spp", type=int, default=16)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(*json.loads(asked.one))))
        return
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for _ in range(asked.rounds):
        for apart, rows in found.items():
            rows.append(asked_for(asked.size, asked.spp, asked.views, apart))
    for apart, rows in found.items():
        told = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        name = "in a process of its own" if apart else "at once"
        print(f"developed {name}: {told['rate']:.0f} frames an hour, {told['tracing']:.1%} of it tracing")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
