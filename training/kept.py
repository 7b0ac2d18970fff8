"""What lasts of a network judged on a test: a small table, of which alone an experiment's answer is made.

OUT/errors/TEST/SETTING-NETWORK.json   every frame's error, and that of every baseline fitted on the network's images
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from endorender.errors import UserError
from training.baselines import LOOKUP
from training.curves import ERROR, Curve, of_log
from training.files import Progress, read_json, write_atomic
from training.presets import LEAD

if TYPE_CHECKING:
    from jaxtyping import Float64

COLUMNS = {"abs_rel": (LEAD, "abs_rel"), "delta_105": (LEAD, "delta_105"), "boundary_f1": (LEAD, "boundary_f1")}
COLUMNS |= {"abs_rel_metric": ("metric", "abs_rel")}


class Errors(NamedTuple):
    """abs_rel of one arm on one test. values: (S, N) of seeds × frames; blind: baseline -> (S, N); frames, patients:
    (N,) names. logs: of each seed the rows of its log that validate."""

    values: Float64[np.ndarray, "S N"]
    blind: dict[str, Float64[np.ndarray, "S N"]]
    frames: Sequence[str]
    patients: Sequence[str]
    logs: Sequence[list[dict[str, str]]] = ()

    def units(self) -> list[str]:
        """What counts as one: patients, or views where there is one patient."""
        if len(set(self.patients)) > 1:
            return list(self.patients)
        return [frame.rsplit("/", 1)[0] for frame in self.frames]

    def over(self) -> str:
        """What `units` are."""
        return "patients" if len(set(self.patients)) > 1 else "views"

    def curves(self) -> list[Curve]:
        """Of each seed; none of networks that were not validated."""
        return [curve for curve in map(of_log, self.logs) if len(curve.steps)]

    @property
    def lookup(self) -> Float64[np.ndarray, "S N"]:
        """(S, N), of the fitted lookup."""
        return self.blind[LOOKUP]


def judge(
    run: Path, frames: Sequence[Any], title: str, label: str, unseen: bool, path: Path, progress: Progress
) -> None:
    """Judges a run on frames and keeps the table at `path`. unseen: a patient that it was trained on is refused."""
    from training.compare import load_evaluation
    from training.data import FrameSet
    from training.evaluate import evaluate

    with tempfile.TemporaryDirectory() as folder:
        found = load_evaluation(
            evaluate(
                run,
                FrameSet(test=frames),
                Path(folder) / "evaluation",
                (LEAD, "metric"),
                "test" if unseen else None,
                label=label,
                title=title,
                progress=progress,
            )
        )
    rows = [row for row in found.frames if row["protocol"] == LEAD]
    blind = dict.fromkeys(row["baseline"] for row in found.blind)
    table = {
        "test": title,
        "arm": label,
        "data": found.summary["data"]["sha256"],
        **{key: found.summary["network"][key] for key in ("seed", "weights")},
        "frames": [row["frame"] for row in rows],
        "patients": [row["patient"] for row in rows],
        **{name: _short(found.values(*column)) for name, column in COLUMNS.items()},
        "baselines": {name: _short(found.without_network(name, LEAD, "abs_rel")) for name in blind},
        "log": [{key: row[key] for key in ("step", ERROR)} for row in found.log if row.get(ERROR)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(table, separators=(",", ":"), allow_nan=False) + "\n")


def _short(values: np.ndarray) -> list[float]:
    """Six digits are more than any answer tells."""
    return [float(f"{value:.6g}") for value in values]


def gathered(paths: Sequence[Path]) -> Errors:
    """The tables of an arm's seeds on one test. Errors (UserError): they are not of the same frames."""
    tables = [read_json(path, "an evaluation of an experiment") for path in paths]
    try:
        of = {(t["data"], *t["frames"]) for t in tables}
        blind = {name: np.array([t["baselines"][name] for t in tables]) for name in tables[0]["baselines"]}
        values = np.array([t["abs_rel"] for t in tables], float)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{paths[0].parent} holds no whole tables of errors: evaluate again", "TRUNCATED") from None
    if len(of) > 1:
        raise UserError(
            f"{paths[0].parent} holds errors on different frames: remove those of the data that is not wanted",
            "MIXED_DATA",
        )
    return Errors(values, blind, tables[0]["frames"], tables[0]["patients"], [t.get("log", []) for t in tables])
