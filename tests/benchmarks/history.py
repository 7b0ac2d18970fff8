"""What benchmarks found, by date and kind of machine: history.jsonl, a line for each time that one was kept.

    python tests/benchmarks/history.py [BENCHMARK ...]

prints it. `make bench` adds to it (`--keep`); a line is committed with the change that it is of. The kind of machine is
its processor and what else ran (load: processes that wanted a core over the last minute), never its name: figures of
different kinds are not compared, and those of a busy machine with care.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "history.jsonl"


def machine() -> str:
    """`AMD EPYC 9B45, 2 cores, Linux x86_64`."""
    try:
        said = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        said = None
    name = said[1].strip() if said else platform.processor() or "a processor"
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.machine()}"


def entry(benchmark: str, figures: Mapping[str, float]) -> dict[str, Any]:
    """A line: date (UTC), versions, machine, load, and the figures to four digits."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "endorender": metadata.version("endorender"),
        "taichi": metadata.version("taichi"),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "benchmark": benchmark,
        "figures": {name: float(f"{value:.4g}") for name, value in figures.items()},
    }


def keep(benchmark: str, figures: Mapping[str, float], file: Path = FILE) -> None:
    """Adds a line."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry(benchmark, figures), ensure_ascii=False) + "\n")


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """All lines, the oldest first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def main() -> None:
    """A block for each benchmark and kind of machine."""
    blocks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in read():
        if not sys.argv[1:] or row["benchmark"] in sys.argv[1:]:
            blocks.setdefault((row["benchmark"], row["machine"]), []).append(row)
    for (benchmark, kind), rows in sorted(blocks.items()):
        print(f"{benchmark} on {kind}")
        for row in rows:
            figures = "; ".join(f"{name}: {value:g}" for name, value in row["figures"].items())
            print(f"  {row['date']}  {row['endorender']}  load {row['load']:g}  {figures}")


if __name__ == "__main__":
    main()
