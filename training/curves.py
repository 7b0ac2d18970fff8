"""Learning curves: validation error against steps, and whether it was flat at its end."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training import statistics
from training.statistics import Interval

if TYPE_CHECKING:
    from jaxtyping import Float64, Real

ERROR = "val_abs_rel_median"  # of log.csv
LAST = 0.2  # of the steps are looked at
FLAT = 1.0  # percent of change over them
FEWEST = 8  # validations that make a curve worth drawing beside a run


class Curve(NamedTuple):
    """steps, errors: (N,) of a training's validations, in order; the error is abs_rel under the protocol `median`."""

    steps: Real[np.ndarray, " N"]
    errors: Float64[np.ndarray, " N"]


def of_log(rows: Sequence[dict[str, str]]) -> Curve:
    """The validations of log.csv's rows; empty where there are none."""
    held = [row for row in rows if row.get(ERROR)]
    return Curve(np.array([int(r["step"]) for r in held]), np.array([float(r[ERROR]) for r in held]))


def change(curves: Sequence[Curve]) -> Interval | None:
    """Percent by which the error changed over the last fifth of the steps, and its 95 % interval; None if unknown.

    Of each training: the slope of ln(error) against the step, least squares over the validations of the last fifth of
    the steps, times a fifth of the steps. One training: Student's t of the slope, which takes the scatter of its
    validations for independent. Several, of one length: Student's t over the trainings. Three validations are needed.
    """
    found = [_slope(curve) for curve in curves]
    if not found or any(one is None for one in found):
        return None
    if len(found) == 1:
        assert found[0] is not None
        value, reach = found[0]
        return Interval(*(100 * (exp(x) - 1) for x in (value, value - reach, value + reach)))
    return statistics.mean([100 * (exp(one[0]) - 1) for one in found if one is not None])


def _slope(curve: Curve) -> tuple[float, float] | None:
    """Change of ln(error) over the last fifth of the steps, and half the width of its interval."""
    from scipy.stats import t

    if not len(curve.steps):
        return None
    span = LAST * float(curve.steps[-1])
    last = curve.steps >= curve.steps[-1] - span * (1 + 1e-9)
    x, y = curve.steps[last].astype(float), np.log(curve.errors[last])
    n = len(x)
    if n < 3 or not np.isfinite(y).all():
        return None
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = sqrt(float(rest @ rest) / (n - 2) / float(x @ x))
    return slope * span, float(t.isf((1 - statistics.LEVEL) / 2, n - 2)) * error * span


def verdict(found: Interval | None) -> str:
    """flat: the whole interval lies within FLAT percent of none; falling, rising: beside zero; else undecided."""
    if found is None or not found.known():
        return "unknown"
    if found.low > -FLAT and found.high < FLAT:
        return "flat"
    if found.high < 0:
        return "still falling"
    return "rising" if found.low > 0 else "undecided"


def words(curves: Sequence[Curve]) -> str:
    """One sentence on the end of one or several trainings' curves."""
    found = change(curves)
    if found is None or not found.known():
        return "too few validations at the end to say whether the curve is flat"
    return (
        f"over the last fifth of the steps the validation error changed by {found.value:+.1f} % "
        f"[{found.low:+.1f}, {found.high:+.1f}]: {verdict(found)}"
    ).replace("-", "−")


def draw(axes: Axes, curves: Sequence[Curve], colour: str, label: str = "") -> None:
    """One training as a line with its validations; several as their mean, in the band from the least to the greatest,
    where they were validated at the same steps."""
    curves = [curve for curve in curves if len(curve.steps)]
    if len(curves) > 1 and all(np.array_equal(c.steps, curves[0].steps) for c in curves):
        errors = np.stack([c.errors for c in curves])
        axes.fill_between(curves[0].steps, errors.min(0), errors.max(0), color=colour, alpha=0.2, linewidth=0)
        curves = [Curve(curves[0].steps, errors.mean(0))]
    for number, curve in enumerate(curves):
        axes.plot(*curve, "o-", color=colour, linewidth=1.6, markersize=3.5, label="" if number else label)


def figure(curve: Curve) -> Figure:
    """A run's own: error against step, the last fifth shaded, and what is said of it."""
    from training.figures import COLOURS, FAINT, NOTE, style_axes

    drawn = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = drawn.subplots()
    style_axes(axes, "step", "validation abs_rel (median)")
    end = float(curve.steps[-1])
    axes.axvspan((1 - LAST) * end, end, color=FAINT, alpha=0.5, linewidth=0)
    draw(axes, [curve], COLOURS[1])
    axes.set_ylim(bottom=0)
    axes.set_title(fill(words([curve]), 66), fontsize=NOTE["fontsize"] + 0.5, color=NOTE["color"])
    return drawn


def write(run: Path, rows: Sequence[dict[str, str]]) -> dict[str, Any] | None:
    """Writes RUN/curve.png and curve.pdf where there are FEWEST validations; returns what run.json keeps of it."""
    from training.figures import pdf, png
    from training.files import write_atomic

    curve = of_log(rows)
    if len(curve.steps) < FEWEST:
        return None
    drawn = figure(curve)
    write_atomic(run / "curve.png", png(drawn))
    write_atomic(run / "curve.pdf", pdf(drawn))
    found = change([curve])
    return {
        "abs_rel_median": float(curve.errors[-1]),
        "change_percent_over_last_fifth": None if found is None else found.plain(),
        "verdict": verdict(found),
        "words": words([curve]),
    }
