"""Figures of the experiments: error against what an experiment varies."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from training import figures
from training.compare import Section
from training.figures import COLOURS, LEGEND, style_axes


def frame_by_frame(section: Section, protocol: str) -> Figure:
    """Every frame's error, the baseline's across and each other arm's upwards."""
    return figures.paired(section, protocol)


def against_depth(section: Section, protocol: str) -> Figure:
    """Error against true depth."""
    return figures.against(section, protocol)


def against_count(rows: list[list[Any]]) -> Figure:
    """abs_rel and its interval against the number of training images. rows: images, arm, mean, low, high, …"""
    return _lines(
        "training images", {arm: [r[:1] + r[2:5] for r in rows if r[1] == arm] for arm in _unique(rows)}, log=True
    )


def against_conditions(rows: list[list[Any]]) -> Figure:
    """abs_rel on seen and on unseen patients against K. rows: K, seen, low, high, unseen, low, high, …"""
    return _lines(
        "conditions for each view, K",
        {
            "patients trained on, other views": [r[:4] for r in rows],
            "patients never seen": [r[:1] + r[4:7] for r in rows],
        },
    )


def _unique(rows: list[list[Any]]) -> list[str]:
    return list(dict.fromkeys(row[1] for row in rows))


def _lines(x: str, lines: dict[str, list[list[float]]], log: bool = False) -> Figure:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, x, "abs_rel (median), mean and 95 % interval")
    for (label, points), colour in zip(lines.items(), COLOURS):
        at, mean, low, high = np.array(points, float).T
        axes.errorbar(at, mean, yerr=[mean - low, high - mean], fmt="o-", color=colour, label=label, capsize=3)
        axes.set_xticks(at, [f"{value:g}" for value in at])
    if log:
        axes.set_xscale("log", base=2)
        axes.set_xticks(at, [f"{value:g}" for value in at])
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    figure.legend(*axes.get_legend_handles_labels(), **LEGEND, ncols=2)
    return figure
