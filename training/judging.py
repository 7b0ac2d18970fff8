"""Frames under protocols: what a network predicted, and what can be had without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from training import baselines, statistics
from training.data import DepthFrames, aliases, home, view_of
from training.metrics import METRICS, ImageResult, of_image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def judged(
    judge: Any,
    frames: Sequence[Any],
    predictions: list[Float[torch.Tensor, "1 _ _"]],
    truths: list[tuple[Float[torch.Tensor, "1 _ _"], Bool[torch.Tensor, "1 _ _"]]],
) -> list[ImageResult]:
    """Every frame under one protocol. truths: (z_depth, mask) of each."""
    scales: list[float | None] = [None] * len(frames)
    if judge.per_trajectory:
        paths: dict[tuple[str, ...], list[int]] = {}
        for index, frame in enumerate(frames):
            paths.setdefault((*home(frame), frame.variation), []).append(index)
        for members in paths.values():
            pixels = [(predictions[k][truths[k][1]].double(), truths[k][0][truths[k][1]].double()) for k in members]
            for k in members:
                scales[k] = judge.trajectory_scale(pixels)
    return [of_image(p, depth, mask, judge, s) for p, (depth, mask), s in zip(predictions, truths, scales)]


class Blind(NamedTuple):
    """What the baselines reach. rows: of baselines.csv; summary: of summary.json."""

    rows: list[list[Any]]
    summary: dict[str, Any]


BASELINE_COLUMNS = ("frame", "protocol", "baseline", *METRICS)


def without_network(
    info: dict[str, Any],
    frames: Sequence[Any],
    tensors: DepthFrames,
    truths: list[tuple[Float[torch.Tensor, "1 _ _"], Bool[torch.Tensor, "1 _ _"]]],
    judges: dict[str, Any],
    results: dict[str, list[ImageResult]],
) -> Blind:
    """The run's baselines on the same frames under the same protocols, and what the network gains over the lookup.

    Without a fit a depth has no unit: there only protocols count that give the scale away.
    """
    known, fitted = baselines.of_run(info)
    summary: dict[str, Any] = {
        "fitted_on_training_frames": fitted,
        "parameters": {name: baselines.baselines.dump(baseline) for name, baseline in known.items()} if fitted else {},
        "protocols": {name: {"mean": {}} for name, judge in judges.items() if fitted or judge.gives_scale},
    }
    rows: list[list[Any]] = []
    units = units_of(frames)
    for who, baseline in known.items():
        depths = baselines.predictions(baseline, tensors)
        for name, of_protocol in summary["protocols"].items():
            values = [result.values() for result in judged(judges[name], frames, depths, truths)]
            rows += [[frame.id, name, who, *each.values()] for frame, each in zip(frames, values)]
            of_protocol["mean"][who] = {m: statistics.mean([v[m] for v in values], units).plain() for m in METRICS}
            if who == baselines.LOOKUP:
                before = [v["abs_rel"] for v in values]
                after = [result.values()["abs_rel"] for result in results[name]]
                gain = statistics.reduction_test(before, after, units, against=baselines.MARGIN)
                of_protocol["abs_rel_below_lookup"] = {
                    "percent": gain.interval.plain(), "p": gain.p,
                    "verdict": baselines.verdict(gain.interval.low, gain.interval.high, gain.p),
                }  # fmt: skip
    return Blind(rows, summary)


def units_of(frames: Sequence[Any]) -> list[Any]:
    """What counts as one: patients, or views where there is one patient."""
    return [f.patient for f in frames] if len(aliases(frames)) > 1 else [view_of(f) for f in frames]
