"""Frames per second of two worker processes beside one, in turn: `python tests/benchmarks/workers.py`.

One worker is held on one core, two have one each. Counted from the second view of every worker on, so that neither
Ray's start nor the CT, the lumen and the kernels are in it. Goal: 1.85.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
ROUNDS, VIEWS, SETTLED = 3, 14, 2  # views in all; views after which all is warm, and as many before the end, when
# one worker may have nothing left


def one(workers: int) -> None:
    """In a process of its own: prints frames per second."""
    from endorender.dataset import configure, generate

    config = configure(ct="phantom:1", views=VIEWS, size="192x144", spp=16, preset="paper4")
    per_view = len(config.columns)
    at: dict[int, float] = {}

    def progress(done: float, total: int, text: str) -> None:
        at.setdefault(int(done), time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        generate(config, Path(folder) / "data", progress=progress, workers=workers)
    first, last = (
        min((n for n in at if n >= wanted), default=max(at))
        for wanted in (SETTLED * workers * per_view, (VIEWS - SETTLED) * per_view)
    )
    print(json.dumps((last - first) / (at[last] - at[first])))


def main() -> None:
    """Alternate, and print the ratio of medians."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, rates in found.items():
            cores = set(sorted(os.sched_getaffinity(0))[:workers])
            done = subprocess.run(
                [sys.executable, __file__, str(workers)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
                preexec_fn=lambda cores=cores: os.sched_setaffinity(0, cores),
            )
            rates.append(float(done.stdout.splitlines()[-1]))
            print(f"{workers} workers: {rates[-1]:.3f} frames a second", flush=True)
    print(f"two over one: {statistics.median(found[2]) / statistics.median(found[1]):.2f}")


if __name__ == "__main__":
    one(int(sys.argv[1])) if len(sys.argv) > 1 else main()
