"""Where the scans behind a dataset lie, told to its owner alone, so that `--resume` need not ask again.

Paths of scans are patient data and stand in no dataset. They are kept in the user's own state folder (on Linux
~/.local/state/endorender, or below XDG_STATE_HOME), in files that nobody else may read, under names that tell nothing.
Where that folder cannot be written nothing is kept, and the paths are asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endorender.dataset.given import parted
from endorender.outputs import temporary

if TYPE_CHECKING:
    from endorender.dataset.config import RenderConfig

KINDS = ("ct", "labels", "label", "poses", "series")


def keep(root: Path, config: RenderConfig, given: Mapping[str, Any]) -> None:
    """Remember for the dataset in `root` the files that a configuration reads. given: the options as typed."""
    known: dict[str, Any] = {
        "ct": [_absolute(p.ct) if p.source == "file" else p.ct for p in config.ct],
        "labels": [_absolute(path) for path in config.labels],
        "label": [_absolute(path) for path in config.label],
        "poses": [_of_poses(spec) for spec in given.get("poses") or ()],
        "series": given.get("series"),
    }
    with contextlib.suppress(OSError, RuntimeError):
        path = _place(root)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = temporary(path)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(known, file)
        part.replace(path)


def recall(root: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, with what was kept for the dataset in `root` in the place of the files that were not given."""
    try:
        known = json.loads(_place(root).read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):
        return dict(given)
    there = {key: known[key] for key in KINDS if isinstance(known, dict) and known.get(key) and not given.get(key)}
    return {**given, **there}


def _place(root: Path) -> Path:
    from platformdirs import user_state_path

    name = hashlib.sha256(str(root.absolute()).encode(errors="surrogateescape")).hexdigest()[:32]
    return user_state_path("endorender") / "scans" / f"{name}.json"


def _of_poses(spec: str) -> str:
    form, file = parted(spec)
    return f"{form}@{_absolute(file)}" if form else _absolute(file)


def _absolute(path: str) -> str:
    return os.path.abspath(path)
