"""How long a person waits: for the help, and for the end after Ctrl-C. Tests wait for these without a limit.

    python tests/benchmarks/waiting.py

Prints medians over rounds, on this machine.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROUNDS = 5


def helped() -> float:
    """Seconds until the help has been shown."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "endorender", "--help"], cwd=REPOSITORY, capture_output=True, check=True)
    return time.perf_counter() - began


def interrupted(*more: str) -> float:
    """Seconds from Ctrl-C, pressed once a frame is there, to the end of a render."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        options = ["--ct", "sample", "--views", "8", "--size", "48x36", "--spp", "64", "--out", str(out), *more]
        process = subprocess.Popen(
            [sys.executable, "-m", "endorender", "render", *options],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        rows = out / "manifest.jsonl"
        while not (rows.exists() and rows.read_text(encoding="utf-8").count("\n")):
            if process.poll() is not None:
                raise SystemExit("the render ended before a frame was there")
            time.sleep(0.02)
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait()
        return time.perf_counter() - began


def main() -> None:
    for name, measure in (("help", helped), ("Ctrl-C", interrupted)):
        taken = [measure() for _ in range(ROUNDS)]
        print(f"{name:8} median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s of {ROUNDS}")


if __name__ == "__main__":
    main()
