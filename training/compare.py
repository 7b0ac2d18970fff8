"""Evaluations read back, put side by side, and compared honestly."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from endorender.dataset.arrays import opened
from endorender.errors import UserError
from training import statistics
from training.files import SUMMARY, digests, read_csv, read_json
from training.statistics import Interval

Table = list[dict[str, str]]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation's folder. frames, by_…, log: rows of the CSV files; summary, run: the JSON files."""

    path: Path
    summary: dict[str, Any]
    run: dict[str, Any]
    frames: Table
    by_depth: Table
    by_radius: Table
    by_incidence: Table
    log: Table

    def values(self, protocol: str, metric: str) -> np.ndarray:
        """One metric of every frame, (N,), in the order of the frames."""
        return np.array([float(row[metric]) for row in self.frames if row["protocol"] == protocol])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Contents of predictions.npz or shown.npz."""
        with opened(self.path / name) as arrays:
            return dict(arrays)


def load_evaluation(path: str | Path) -> Evaluation:
    """Opens an evaluation; UserError if there is none, or not as it was written."""
    path = Path(path)
    summary = read_json(path / SUMMARY, "an evaluation")
    if not {"label", "data", "protocols", "metrics"} <= set(summary):
        raise UserError(f"{path / SUMMARY} is not the summary of an evaluation: evaluate again", "TRUNCATED")
    # Evaluations of 0.1.0 do not say what their files were.
    there = digests(path)
    if damaged := [name for name, digest in summary.get("files", {}).items() if there.get(name) != digest]:
        raise UserError(
            f"{path / damaged[0]} is not what `evaluate` wrote (cut short or edited): evaluate again", "TRUNCATED"
        )
    run = read_json(path / "run.json", "an evaluation")
    names = ("frames", "by_depth", "by_radius", "by_incidence", "log")
    return Evaluation(path, summary, run, *(_rows(path / f"{name}.csv") for name in names))


def _rows(path: Path) -> Table:
    try:
        return read_csv(path)
    except (OSError, ValueError, csv.Error):
        raise UserError(f"{path} cannot be read: evaluate again", "TRUNCATED") from None


@dataclass(frozen=True)
class Arm:
    """One way of training, judged once per seed on the same frames."""

    label: str
    evaluations: tuple[Evaluation, ...]

    def values(self, protocol: str, metric: str) -> np.ndarray:
        """One metric of every frame, (N,), averaged over seeds."""
        return np.mean([e.values(protocol, metric) for e in self.evaluations], axis=0)

    def per_seed(self, protocol: str, metric: str) -> list[float]:
        """The mean over frames, for each seed."""
        return [float(e.values(protocol, metric).mean()) for e in self.evaluations]

    def pooled(self, protocol: str, metric: str) -> float:
        """The value over all pixels at once, averaged over seeds."""
        return float(np.mean([e.summary["protocols"][protocol]["pooled"][metric] for e in self.evaluations]))

    def by(self, quantity: str, protocol: str) -> dict[str, np.ndarray]:
        """Bins of "depth" (mm), "radius" or "incidence": low, high, pixels, abs_rel, error_mm, bias_mm; over seeds."""
        rows = [getattr(e, f"by_{quantity}") for e in self.evaluations]
        tables = [[row for row in table if row["protocol"] == protocol] for table in rows]
        numbers = np.array([[[float(row[key]) for key in row if key != "protocol"] for row in t] for t in tables])
        return dict(zip(("low", "high", "pixels", "abs_rel", "error_mm", "bias_mm"), numbers.mean(0).T))


class Difference(NamedTuple):
    """An arm against the baseline, in one metric.

    by_frame, by_view: percent less error than the baseline (percentage points more for the deltas), with
    intervals that resample frames, or whole views: the conditions of a view share one geometry, so the
    second is the more careful one. by_patient: whole patients, None of one alone. p: two-sided, of the
    paired test that flips whole views.
    """

    metric: str
    by_frame: Interval
    by_view: Interval
    by_patient: Interval | None
    p: float

    def verdict(self) -> str:
        """better, worse, or undecided: by both intervals, and by p < 0.05, which fewer than six views cannot reach."""
        if not (self.by_frame.excludes_zero() and self.by_view.excludes_zero() and self.p < 0.05):
            return "undecided"
        return "better" if self.by_frame.value > 0 else "worse"


@dataclass(frozen=True)
class Section:
    """Everything that was judged on the same frames. arms[0] is the baseline."""

    title: str
    data: dict[str, Any]
    protocols: tuple[str, ...]
    arms: tuple[Arm, ...]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Every metric's `unit` and `higher_is_better`."""
        return self.arms[0].evaluations[0].summary["metrics"]

    def ids(self) -> list[str]:
        """Names of the frames, in order."""
        return [row["frame"] for row in self._frames()]

    def column(self, name: str) -> list[str]:
        """A column of the frames' table that does not depend on the network: patient, view, variation."""
        return [row[name] for row in self._frames()]

    def knows(self, quantity: str) -> bool:
        """Whether the frames hold what error can be shown against: datasets of others may have no normals."""
        return all(getattr(e, f"by_{quantity}") for arm in self.arms for e in arm.evaluations)

    def _frames(self) -> Table:
        return [row for row in self.arms[0].evaluations[0].frames if row["protocol"] == self.protocols[0]]

    def views(self) -> list[tuple[str, str]]:
        """Which view each frame shows: what must be resampled together."""
        # By the patient's name in its dataset: who is in several goes by one name, and each has a first view.
        return list(zip([name.split("/")[0] for name in self.ids()], self.column("view")))

    def mean(self, arm: Arm, protocol: str, metric: str) -> Interval:
        """Mean of the images' values, with its interval over frames."""
        return statistics.mean(arm.values(protocol, metric))

    def difference(self, arm: Arm, protocol: str, metric: str) -> Difference:
        """The honest difference of an arm to the baseline: 100 (e_no − e_ft) / e_no."""
        before, after = self.arms[0].values(protocol, metric), arm.values(protocol, metric)
        patients = self.column("patient")
        units: list[Any] = [None, self.views(), *([patients] if len(set(patients)) > 1 else [])]
        if self.metrics()[metric]["higher_is_better"]:
            found = [statistics.mean(100 * (after - before), u) for u in units]
        else:
            found = [statistics.reduction(before, after, u) for u in units]
        p = statistics.paired_test(before, after, self.views())
        return Difference(metric, found[0], found[1], found[2] if len(found) > 2 else None, p)


def sections(evaluations: Sequence[Evaluation]) -> list[Section]:
    """Evaluations grouped by the frames that were judged, then by label (its seeds), in the order given.

    Errors (UserError): none given, or evaluations of the same frames without a protocol in common.
    """
    if not evaluations:
        raise UserError("no evaluation was given: name one or more folders that evaluate wrote", "NOT_FOUND")
    by_data: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        by_data.setdefault(evaluation.summary["data"]["sha256"], []).append(evaluation)
    found = []
    for group in by_data.values():
        first = group[0].summary
        shared = tuple(
            name
            for name, protocol in first["protocols"].items()
            if all(e.summary["protocols"].get(name, {}).get("parameters") == protocol["parameters"] for e in group)
        )
        if not shared:
            raise UserError(
                f"the evaluations of {first['data']['title']} have no protocol in common: evaluate them alike",
                "PROTOCOL",
            )
        arms: dict[str, list[Evaluation]] = {}
        for evaluation in group:
            arms.setdefault(evaluation.summary["label"], []).append(evaluation)
        found.append(
            Section(
                first["data"]["title"],
                first["data"],
                shared,
                tuple(Arm(label, tuple(members)) for label, members in arms.items()),
            )
        )
    return found
