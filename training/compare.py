"""Evaluations read back, put side by side, and compared honestly."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from endorender.dataset.arrays import opened
from endorender.errors import UserError
from training import baselines, statistics
from training.files import SUMMARY, digests, read_csv, read_json
from training.statistics import Interval

if TYPE_CHECKING:
    from jaxtyping import Float64, Shaped

Table = list[dict[str, str]]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation's folder. frames, blind, by_…, log: rows of the CSV files; summary, run: the JSON files.

    blind: of the baselines, empty in evaluations that were made before there were any.
    """

    path: Path
    summary: dict[str, Any]
    run: dict[str, Any]
    frames: Table
    by_depth: Table
    by_radius: Table
    by_incidence: Table
    log: Table
    blind: Table

    def __repr__(self) -> str:
        data = self.summary["data"]
        errors = (f"{name} {p['mean']['abs_rel'][0]:.3g}" for name, p in self.summary["protocols"].items())
        what = f"{self.summary['label']} on {data['title']}, {data['frames']} frames"
        return f"Evaluation({what}, abs_rel: {', '.join(errors)})"

    def _repr_html_(self) -> str:
        """Its metrics under its protocols as a table, for notebooks."""
        from training.report import evaluation_html

        return evaluation_html(self.summary)

    def values(self, protocol: str, metric: str) -> Float64[np.ndarray, " N"]:
        """One metric of every frame, (N,), in the order of the frames."""
        return np.array([float(row[metric]) for row in self.frames if row["protocol"] == protocol])

    def without_network(self, baseline: str, protocol: str, metric: str) -> Float64[np.ndarray, " N"]:
        """One metric of every frame, (N,), of a baseline; (0,) where it was not judged."""
        rows = [row for row in self.blind if (row["protocol"], row["baseline"]) == (protocol, baseline)]
        return np.array([float(row[metric]) for row in rows])

    def arrays(self, name: str) -> dict[str, Shaped[np.ndarray, " ..."]]:
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
    blind = _rows(path / "baselines.csv") if "baselines" in summary else []
    return Evaluation(path, summary, run, blind=blind, **{name: _rows(path / f"{name}.csv") for name in names})


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

    def values(self, protocol: str, metric: str) -> Float64[np.ndarray, " N"]:
        """One metric of every frame, (N,), averaged over seeds: to be shown. Intervals need `by_seed`."""
        return self.by_seed(protocol, metric).mean(0)

    def by_seed(self, protocol: str, metric: str) -> Float64[np.ndarray, "S N"]:
        """One metric of every frame for each seed, (S, N)."""
        return np.stack([e.values(protocol, metric) for e in self.evaluations])

    def seeds(self) -> list[int]:
        """The seed of each training."""
        return [e.summary["network"]["seed"] for e in self.evaluations]

    def without_network(self, baseline: str, protocol: str, metric: str) -> Float64[np.ndarray, "S N"] | None:
        """As `by_seed`, of a baseline fitted on each training's own frames; None where some evaluation lacks it."""
        found = [e.without_network(baseline, protocol, metric) for e in self.evaluations]
        return np.stack(found) if all(map(len, found)) else None

    def per_seed(self, protocol: str, metric: str) -> list[float]:
        """The mean over frames, for each seed."""
        return [float(e.values(protocol, metric).mean()) for e in self.evaluations]

    def pooled(self, protocol: str, metric: str) -> float:
        """The value over all pixels at once, averaged over seeds."""
        return float(np.mean([e.summary["protocols"][protocol]["pooled"][metric] for e in self.evaluations]))

    def by(self, quantity: str, protocol: str) -> dict[str, Float64[np.ndarray, " bins"]]:
        """Bins of "depth" (mm), "radius" or "incidence": low, high, pixels, abs_rel, error_mm, bias_mm; over seeds."""
        rows = [getattr(e, f"by_{quantity}") for e in self.evaluations]
        tables = [[row for row in table if row["protocol"] == protocol] for table in rows]
        numbers = np.array([[[float(row[key]) for key in row if key != "protocol"] for row in t] for t in tables])
        return dict(zip(("low", "high", "pixels", "abs_rel", "error_mm", "bias_mm"), numbers.mean(0).T))


class Difference(NamedTuple):
    """An arm against the baseline, in one metric.

    by_frame, by_view: percent less error than the baseline (percentage points more for shares), with intervals over
    seeds and over frames, or whole views: the conditions of a view share one geometry, so the second is the more
    careful one. by_patient: over seeds and whole patients, None of one alone. p: two-sided, of patients where there are
    several, of views otherwise; family_p: adjusted for all claims of the page, where it is one of them (`in_family`).
    """

    metric: str
    by_frame: Interval
    by_view: Interval
    by_patient: Interval | None
    p: float
    family_p: float | None = None

    def decisive(self) -> Interval:
        """Over patients where there are several, else over views."""
        return self.by_patient or self.by_view

    def verdict(self) -> str:
        """better, worse, or undecided: by the decisive interval, and p < 0.05, adjusted if there are several claims."""
        p = self.p if self.family_p is None else self.family_p
        if not (self.decisive().excludes_zero() and p < 0.05):
            return "undecided"
        return "better" if self.by_frame.value > 0 else "worse"


class Shape(NamedTuple):
    """What a network knows beyond the lookup of its own training frames.

    gain: percent less abs_rel, over seeds and patients (views of one patient). p: that it is `baselines.MARGIN`;
    family_p: adjusted for all such claims of the page.
    """

    gain: Interval
    p: float
    family_p: float | None = None

    def verdict(self) -> str:
        """reads shape, does not beat the lookup, or undecided: `baselines.verdict`."""
        return baselines.verdict(self.gain.low, self.gain.high, self.p if self.family_p is None else self.family_p)


Claim = TypeVar("Claim", Difference, Shape)


def in_family(claims: Sequence[Claim]) -> list[Claim]:
    """Claims of one page, told of each other: Holm's adjustment."""
    return [claim._replace(family_p=p) for claim, p in zip(claims, statistics.holm([claim.p for claim in claims]))]


@dataclass(frozen=True)
class Section:
    """Everything that was judged on the same frames. arms[0] is the baseline."""

    title: str
    data: dict[str, Any]
    protocols: tuple[str, ...]
    arms: tuple[Arm, ...]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """`unit` and `higher_is_better` of every metric that all evaluations have: old ones have fewer."""
        every = [e.summary["metrics"] for arm in self.arms for e in arm.evaluations]
        return {name: about for name, about in every[0].items() if all(name in one for one in every)}

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

    def units(self) -> list[Any]:
        """What counts as one frame's unit: its patient, or its view where there is one patient."""
        patients = self.column("patient")
        return patients if len(set(patients)) > 1 else self.views()

    def mean(self, arm: Arm, protocol: str, metric: str) -> Interval:
        """Mean of the images' values, with its interval over seeds and patients (views of one patient)."""
        return statistics.mean(arm.by_seed(protocol, metric), self.units())

    def difference(self, arm: Arm, protocol: str, metric: str) -> Difference:
        """The honest difference of an arm to the baseline: 100 (e_no − e_ft) / e_no. Equal seeds are taken in pairs."""
        before, after, paired = self._in_pairs(arm, protocol, metric)
        patients = self.column("patient")
        every: list[Any] = [None, self.views(), *([patients] if len(set(patients)) > 1 else [])]
        share = self.metrics()[metric]["higher_is_better"]
        test = statistics.points_test if share else statistics.reduction_test
        size = 100 if share else 1
        found = [test(size * before, size * after, units, paired) for units in every]
        by_patient = found[2].interval if len(found) > 2 else None
        return Difference(metric, found[0].interval, found[1].interval, by_patient, found[-1].p)

    def shape(self, arm: Arm, protocol: str) -> Shape | None:
        """An arm's abs_rel against that of the lookups of its own trainings; None where none was fitted."""
        blind = arm.without_network(baselines.LOOKUP, protocol, "abs_rel")
        if blind is None:
            return None
        after = arm.by_seed(protocol, "abs_rel")
        return Shape(*statistics.reduction_test(blind, after, self.units(), against=baselines.MARGIN))

    def without_network(self, arm: Arm, protocol: str, metric: str) -> dict[str, Interval]:
        """Mean and interval of every baseline that was judged for this arm."""
        found = {name: arm.without_network(name, protocol, metric) for name in self.baselines()}
        return {n: statistics.mean(values, self.units()) for n, values in found.items() if values is not None}

    def baselines(self) -> list[str]:
        """Names of the baselines that some evaluation judged, in their order."""
        return list(dict.fromkeys(row["baseline"] for arm in self.arms for e in arm.evaluations for row in e.blind))

    def _in_pairs(self, arm: Arm, protocol: str, metric: str) -> tuple[np.ndarray, np.ndarray, bool]:
        """Errors (S, N) of the baseline and of an arm, and whether row k of both is the same seed."""
        first = self.arms[0]
        before, after = first.by_seed(protocol, metric), arm.by_seed(protocol, metric)
        if sorted(first.seeds()) != sorted(arm.seeds()) or len(set(arm.seeds())) < len(arm.seeds()):
            return before, after, False
        return before[np.argsort(first.seeds())], after[np.argsort(arm.seeds())], True


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
