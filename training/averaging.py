"""Averaged weights: of one run's steps while it trains, and of several runs' networks.

The mean of weights along a training (Polyak & Juditsky 1992), or of networks that started from the same one (Wortsman
2022, model soups; 2022, robust fine-tuning), is one network again and costs nothing when it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from endorender.errors import UserError
from training.checkpoint import LOG, RUN, Run, load_run, save_tensors
from training.files import command, fingerprint, versions, write_atomic, write_json

SPLITS = ("train", "val")


def moving(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights: after step n (from 0) it moves towards them by 1 − min(decay,
    (1 + n) / (10 + n)), so that the first steps are soon forgotten. In evaluation mode; running statistics are
    averaged, too."""

    def move(averages: Any, current: Any, count: Any) -> None:
        n = float(count)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for average, now in zip(averages, current):
            if average.is_floating_point():
                average.lerp_(now, share)
            else:
                average.copy_(now)

    average = AveragedModel(network, multi_avg_fn=move, use_buffers=True)
    average.requires_grad_(False)
    return average.eval()


def average(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Writes a run whose weights are the mean of several runs' and returns its folder.

    runs: of one architecture, each counting alike; such as a network and what it was fine-tuned to. run.json keeps
    every person whom any of them was trained on, and of what they were made (`average_of`); configuration and baselines
    are those of the last. Networks of separate beginnings have nothing in common weight by weight: there the mean is
    worse than each, which its evaluation shows.

    Errors (UserError): fewer than two, one given twice, several architectures, a folder that is not empty.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("the output is not an empty folder: choose another output folder", "EXISTS")
    parents = [load_run(run) for run in runs]
    if len(parents) < 2:
        raise UserError("an average is of two runs or more: name them", "INVALID_VALUE")
    if len({parent.weights for parent in parents}) < len(parents):
        raise UserError("two of the runs hold the same weights: give each once", "INVALID_VALUE")
    first = parents[0].info["config"]["model"]
    if any(parent.info["config"]["model"] != first for parent in parents):
        raise UserError("the runs are of several architectures: average those of one", "ARCHITECTURE")
    info = _describe(parents)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / LOG, "step,loss,learning_rate\n")
    write_json(out / RUN, info)
    save_tensors(out, mean([parent.network.state_dict() for parent in parents]), 0)
    return out


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Name by name; what counts (integers) is the last one's."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(last.dtype)
        if last.is_floating_point()
        else last
        for name, last in states[-1].items()
    }


def _describe(parents: Sequence[Run]) -> dict[str, Any]:
    infos = [parent.info for parent in parents]
    last = infos[-1]
    return {
        "schema": 1,
        "config": last["config"],
        "data": {split: _together([info["data"][split] for info in infos]) for split in SPLITS},
        "scale": _scale([info.get("scale") for info in infos]),
        "baselines": last.get("baselines"),
        "seen": {person: alias for info in infos for person, alias in info["seen"].items()},
        "weights": last["weights"],
        "frozen": [],
        "init_from": None,
        "average_of": [
            {"weights": parent.weights}
            | {key: parent.info.get(key) for key in ("config", "data", "init_from", "average_of", "pretrained")}
            for parent in parents
        ],
        "versions": versions(),
        "command": command(),
        "pretrained": None,
        "finished": True,
    }


def _together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Data of several runs; frames of sets that differ are added."""
    sets = {part["sha256"]: part for part in parts}
    if len(sets) == 1:
        return dict(parts[0])
    return {
        "frames": sum(part["frames"] for part in sets.values()),
        "patients": sorted({name for part in parts for name in part["patients"]}),
        "variations": sorted({name for part in parts for name in part["variations"]}),
        "sha256": fingerprint(sorted(sets)),
    }


def _scale(scales: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The last one's, with every focal length that some parent was trained at."""
    last = scales[-1]
    if last is None or not last["focal_px"]:
        return last
    known = [s["focal_px"] for s in scales if s and s["focal_px"]]
    return last | {"focal_px": [min(f[0] for f in known), last["focal_px"][1], max(f[2] for f in known)]}
