"""Scans of every kind that a reader meets: small, made here, each with the outcome it must have.

`python -m tests.ct.corpus` prints the counts of cases by outcome, and what SimpleITK and dcm2niix do with them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LOADS = "loads"


class Case(NamedTuple):
    """make(folder) writes the files and returns what is given to `load`. outcome: LOADS, or the code of the refusal.
    field: whether the HU are those of `made.truth` at every patient point."""

    name: str
    make: Callable[[Path], Path]
    outcome: str
    field: bool


CASES: list[Case] = []


def case(name: str, outcome: str = LOADS, field: bool = True) -> Callable[[Callable[[Path], object]], None]:
    """Registers a function that writes into a folder; it may return another path than that folder."""

    def register(make: Callable[[Path], object]) -> None:
        def made(folder: Path) -> Path:
            folder.mkdir(parents=True, exist_ok=True)
            path = make(folder)
            return path if isinstance(path, Path) else folder

        assert all(c.name != name for c in CASES), name
        CASES.append(Case(name, made, outcome, field))

    return register


def cases() -> list[Case]:
    """All of them, in a fixed order."""
    for part in ("corpus_dicom", "corpus_refused", "corpus_series", "corpus_files", "corpus_nifti", "corpus_formats"):
        importlib.import_module(f"tests.ct.{part}")
    return CASES


def main() -> None:
    """Prints counts and the comparison with other readers."""
    import tempfile
    from collections import Counter

    from tests.ct import oracles

    rows, counts = [], Counter()
    for c in cases():
        with tempfile.TemporaryDirectory() as folder:
            path = c.make(Path(folder) / "in")
            ours = oracles.ours(path)
            counts[ours] += 1
            rows.append((c.name, ours, *(oracles.verdict(tool, path, ours) for tool in oracles.TOOLS)))
    for outcome, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        print(f"{count:4} {outcome}")
    print(f"{sum(counts.values()):4} cases\n")
    width = max(len(row[0]) for row in rows)
    print(f"{'case':{width}}  {'endorender':20} " + " ".join(f"{tool:14}" for tool in oracles.TOOLS))
    for name, *verdicts in rows:
        print(f"{name:{width}}  {verdicts[0]:20} " + " ".join(f"{v:14}" for v in verdicts[1:]))
    for n, tool in enumerate(oracles.TOOLS, 2):
        print(f"{tool}: {dict(Counter(('loads' if r[1] == 'loads' else 'refused by us', r[n]) for r in rows))}")


if __name__ == "__main__":
    import sys

    from tests.ct.corpus import main as run  # the module that the cases register with, not __main__

    sys.exit(run())
