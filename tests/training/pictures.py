"""What the tests of `predict` show a network, and how they read what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.training.conftest import TubeFrame

WORD = "MUELLER_HANS"


def view(number: int, size=(48, 64)) -> np.ndarray:
    return TubeFrame("p9", number, "pale_pink", size=size).image()


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def arrays(out: Path, number: int = 0) -> dict[str, np.ndarray]:
    with np.load(out / f"npz/frame_{number:06d}.npz") as held:
        return {key: held[key] for key in held.files}
