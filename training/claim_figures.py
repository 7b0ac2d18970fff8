"""Figures of the experiments: what arms gain, and error against what an experiment varies."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from training.curves import Curve, draw
from training.figures import COLOURS, INK, LEGEND, STYLE, style_axes

if TYPE_CHECKING:
    from training.claims import Claim

Lines = Mapping[str, Sequence[Sequence[float]]]  # label -> points: x, mean, low, high


def gains(claims: Sequence[Claim]) -> Figure:
    """Percent less error and its interval, test by test; what is not tested is hollow."""
    tests = list(dict.fromkeys(c.test for c in claims))
    names = list(dict.fromkeys(c.comparison.title for c in claims))
    figure = Figure(figsize=(6.4, 0.9 + 0.24 * len(claims) + 0.3 * len(tests)), layout="constrained")
    axes, y, ticks = figure.subplots(), 0.0, []
    style_axes(axes, "percent less abs_rel than the other arm, 95 % interval")
    axes.grid(axis="x", color="#d0d7de", linewidth=0.6)
    for test in tests:
        axes.annotate(test, (0, y), xycoords=("axes fraction", "data"), fontweight="bold", va="center", **STYLE)
        for c in (c for c in claims if c.test == test):
            y += 1
            colour = COLOURS[names.index(c.comparison.title) % len(COLOURS)]
            far = [[c.gain.value - c.gain.low], [c.gain.high - c.gain.value]] if c.gain.known() else None
            fill = colour if c.family_p is not None else "white"
            axes.errorbar([c.gain.value], [y], xerr=far, fmt="o", color=colour, markerfacecolor=fill, capsize=3)
            ticks.append((y, c.comparison.title))
        y += 1.4
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(y - 0.6, -0.8)
    return figure


def arms(rows: Sequence[Sequence[Any]]) -> Figure:
    """abs_rel of every arm and baseline, test by test. rows: setting, test, arm, mean, low, high, …"""
    tests = list(dict.fromkeys(row[1] for row in rows))
    names = list(dict.fromkeys(row[2] for row in rows))
    figure = Figure(figsize=(2.8 + 1.4 * len(tests), 1.0 + 0.22 * len(names)), layout="constrained")
    every = np.atleast_1d(figure.subplots(1, len(tests), sharey=True))
    for axes, test in zip(every, tests):
        style_axes(axes, "abs_rel")
        axes.set_title(textwrap.fill(test, 16), **STYLE)
        for row in (row for row in rows if row[1] == test):
            y, (mean, low, high) = names.index(row[2]), row[3:6]
            far = [[mean - low], [high - mean]] if np.isfinite(low) and np.isfinite(high) else None
            axes.errorbar([mean], [y], xerr=far, fmt="o", color=COLOURS[0 if row[9] == "" else 1], capsize=2, ms=4)
        # The constant errs five times as much as the arms, which differ by tenths.
        axes.set_xscale("log")
        axes.set_xticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), names)
    every[0].invert_yaxis()
    return figure


def learning(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    """Validation error against step; an arm's seeds are a band."""
    figure = Figure(figsize=(5.6, 3.9), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, "step", "validation abs_rel (median)")
    for (label, seeds), colour in zip(curves.items(), COLOURS):
        draw(axes, seeds, colour, label)
    axes.set_yscale("log")  # a curve that has begun at random weights would leave the others a sliver
    low, high = axes.get_ylim()
    ticks = [at for at in (0.02, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0) if low <= at <= high]
    axes.set_yticks(ticks, [f"{at:g}" for at in ticks])
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), **LEGEND, ncols=2)
    return figure


def against_count(lines: Lines) -> Figure:
    """abs_rel and its interval against the number of training images."""
    figure = _lines("training images", "abs_rel (median), mean and 95 % interval", lines)
    figure.axes[0].set_ylim(bottom=0)
    return figure


def against_conditions(lines: Lines) -> Figure:
    """abs_rel that is added by what is new, against K."""
    figure = _lines("conditions for each view, K", "abs_rel added by what is new, 95 % interval", lines)
    figure.axes[0].axhline(0, color=INK, linewidth=0.8)
    return figure


def _lines(x: str, y: str, lines: Lines) -> Figure:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, x, y)
    for (label, points), colour in zip(lines.items(), COLOURS):
        at, mean, low, high = np.array(points, float).T
        axes.errorbar(at, mean, yerr=np.nan_to_num([mean - low, high - mean]), fmt="o-", color=colour, label=label,
                      capsize=3)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), **LEGEND, ncols=2)
    return figure
