"""Mappings as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def table(values: Mapping[str, Any], as_json: bool = False) -> str:
    """Aligned `key  value` lines, or JSON."""
    if as_json:
        return json.dumps(values, indent=2, ensure_ascii=False, default=str)
    width = max(map(len, values), default=0)
    return "\n".join(f"{key.replace('_', ' '):{width}}  {_text(value)}" for key, value in values.items())


def said(values: Mapping[str, Any], as_json: bool = False) -> str:
    """`key: value` lines, where things are, or JSON."""
    if as_json:
        return table(values, True)
    lists = {key: ", ".join(map(str, v)) if isinstance(v, list) else v for key, v in values.items()}
    return "\n".join(f"{key}: {value}" for key, value in lists.items())


def held(file: Path) -> str:
    """What a JSON file holds that a command has written."""
    return table(json.loads(file.read_text(encoding="utf-8")), True)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ("; " if any(isinstance(v, (str, Mapping)) for v in value) else " x ").join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def scores(evaluation: Path) -> str:
    """A table of an evaluation's means with their intervals, one row per protocol."""
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    shown = ("abs_rel", "rmse", "delta1")
    lines = ["protocol  " + "".join(f"{name:>26}" for name in shown)]
    for protocol, found in summary["protocols"].items():
        cells = (found["mean"][name] for name in shown)
        lines.append(f"{protocol:10}" + "".join(_with_limits(*cell) for cell in cells))
    blind = summary["baselines"]
    for protocol, found in blind["protocols"].items():
        errors = ", ".join(f"{name} {mean['abs_rel'][0]:.3f}" for name, mean in found["mean"].items())
        word = found.get("abs_rel_below_lookup", {}).get("verdict")
        lines.append(f"{protocol}: without a network abs_rel is {errors}" + (f"; the network: {word}" if word else ""))
    if not blind["fitted_on_training_frames"]:
        lines.append("this run keeps no lookup fitted on its training frames: train it again to hold it against one")
    data = summary["data"]
    lines += [
        f"{protocol}: depth runs backwards or is flat in {found['scale_at_bound']} of {data['frames']} frames"
        for protocol, found in summary["protocols"].items()
        if found.get("scale_at_bound")
    ]
    if data["input_sizes"] != [data["size"]]:
        lines.append(f"pictures of {data['size']} were seen at {', '.join(data['input_sizes'])}")
    if not data["training_scale_known"]:
        lines.append("this run does not say at which scale it was trained: pictures were seen as they are")
    return "\n".join(lines)


def _with_limits(value: float, low: float | None, high: float | None) -> str:
    """A mean with its interval, in a column; one frame alone has none."""
    return (f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]").rjust(26)
