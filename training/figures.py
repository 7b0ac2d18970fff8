"""The report's figures. Each function returns a matplotlib Figure and touches no global state."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training import curves, statistics
from training.compare import Arm, Section

# Okabe & Ito (2008), told apart by colour-blind readers; the baseline is grey.
COLOURS = ("#6e6e6e", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, FAINT = "#1f2328", "#d0d7de"
STYLE: dict[str, Any] = {"fontsize": 9, "color": INK}
NOTE: dict[str, Any] = {
    "fontsize": 6.5,
    "color": INK,
    "bbox": {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
}
LEGEND: dict[str, Any] = {"loc": "outside lower center", "fontsize": 8, "frameon": False}
INVALID = "#c8c8c8"


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as a PNG file, without a date or a program in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF file, without a date or a program in it. To be called after `png`, whose layout it keeps."""
    figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", facecolor="white", metadata={"CreationDate": None, "Producer": None})
    return buffer.getvalue()


def style_axes(axes: Axes, x: str = "", y: str = "") -> None:
    """The look that all figures share."""
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#8c959f")
    axes.tick_params(labelsize=8, colors=INK, length=3)
    axes.set_xlabel(x, **STYLE)
    axes.set_ylabel(y, **STYLE)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def wrapped(arm: Arm, width: int = 46) -> str:
    """The arm's label on lines of at most so many characters."""
    return textwrap.fill(literal(arm.label), width)


def literal(text: str) -> str:
    """Text as it stands: a dollar begins no formula."""
    return text.replace("$", r"\$")


def pictures(section: Section, protocol: str, ids: Sequence[str]) -> Figure:
    """Rows image, truth, then prediction and error of every arm; one colour scale in mm for each row's depths.

    Predictions are shown as the protocol aligns them. Errors (prediction − truth) share one symmetric
    scale over the whole figure: its end is the 98th percentile of all errors shown.
    """
    stored: dict[str, np.ndarray] = {}
    for evaluation in (e for arm in section.arms for e in arm.evaluations[:1]):
        stored |= evaluation.arrays("shown.npz")
    scales = [_scales(arm, protocol) for arm in section.arms]
    depths = [arm.evaluations[0].arrays("predictions.npz") for arm in section.arms]
    predictions = [[d[i] * s[i][0] + s[i][1] for i in ids] for d, s in zip(depths, scales)]
    truths = [stored[f"{i}/z_depth"] for i in ids]
    errors = [[p - t for p, t in zip(row, truths)] for row in predictions]
    end = max(1.0, float(np.nanpercentile(np.abs([e for row in errors for e in row]), 98)))

    height, width = truths[0].shape
    columns, side = 2 + 2 * len(section.arms), 1.7
    tall = side * height / width
    lines = max(wrapped(arm, 24).count("\n") for arm in section.arms)
    above = 0.35 + 0.14 * lines
    figure = Figure(figsize=(columns * side + 0.95, len(ids) * (tall + 0.06) + 0.55 + above))
    inches = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(ids), columns + 1, width_ratios=[1] * columns + [0.05], wspace=0.04, hspace=0.05,
        left=0.28 / inches[0], right=1 - 0.5 / inches[0], top=1 - above / inches[1], bottom=0.55 / inches[1],
    )  # fmt: skip
    depth_map, error_map = _map("viridis"), _map("RdBu_r")
    for row, (name, truth) in enumerate(zip(ids, truths)):
        axes = [figure.add_subplot(grid[row, k]) for k in range(columns)]
        low, high = np.nanpercentile(truth, [0.5, 99.5])
        axes[0].imshow(stored[f"{name}/image"])
        depth_image = axes[1].imshow(truth, cmap=depth_map, vmin=low, vmax=high)
        for k, arm in enumerate(section.arms):
            masked = np.where(np.isnan(truth), np.nan, predictions[k][row])
            axes[2 + 2 * k].imshow(masked, cmap=depth_map, vmin=low, vmax=high)
            error_image = axes[3 + 2 * k].imshow(errors[k][row], cmap=error_map, vmin=-end, vmax=end)
            value = arm.evaluations[0].values(protocol, "abs_rel")[section.ids().index(name)]
            axes[3 + 2 * k].text(0.03, 0.05, f"abs_rel {value:.3f}", transform=axes[3 + 2 * k].transAxes, **NOTE)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(name, fontsize=6.5, color=INK)
        if row == 0:
            heads = ["image", "true depth"] + [h for arm in section.arms for h in (wrapped(arm, 24), "error")]
            for axis, head in zip(axes, heads):
                axis.set_title(head, fontsize=8, color=INK, pad=4)
        _bar(figure, depth_image, figure.add_subplot(grid[row, columns]), "depth, mm" if row == 0 else "")
    box = (0.5 - 1.6 / inches[0], 0.3 / inches[1], 3.2 / inches[0], 0.1 / inches[1])
    _bar(figure, error_image, figure.add_axes(box), "prediction − truth, mm", "horizontal")
    return figure


def _map(name: str) -> Any:
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=INVALID)


def _bar(figure: Figure, image: Any, axes: Axes, label: str, orientation: Any = "vertical") -> None:
    bar = figure.colorbar(image, cax=axes, orientation=orientation)
    bar.outline.set_linewidth(0)
    axes.tick_params(labelsize=6.5, length=2, colors=INK)
    if orientation == "horizontal":
        axes.set_title(label, fontsize=7, color=INK, pad=3)
    else:
        axes.set_title(label, fontsize=6.5, color=INK, pad=4, loc="left")


def _scales(arm: Arm, protocol: str) -> dict[str, tuple[float, float]]:
    """What the protocol multiplied each frame's prediction by, and added to it (first seed)."""
    rows = arm.evaluations[0].frames
    return {row["frame"]: (float(row["scale"]), float(row["shift"])) for row in rows if row["protocol"] == protocol}


AXES = {
    "depth": "true depth, mm",
    "radius": "radius / half diagonal",
    "incidence": "angle of incidence, degrees",
}


def against(section: Section, protocol: str, quantity: str = "depth") -> Figure:
    """Mean |error| in mm, relative error and bias against a quantity of AXES, and how many pixels lie there."""
    figure = Figure(figsize=(9.2, 3.0), layout="constrained")
    panels = figure.subplots(1, 3)
    tables = [arm.by(quantity, protocol) for arm in section.arms]
    low, share = tables[0]["low"], tables[0]["pixels"] / tables[0]["pixels"].sum()
    high = np.where(np.isfinite(tables[0]["high"]), tables[0]["high"], 1.3 * low)  # the last bin is open
    names = (("error_mm", "mean |error|, mm"), ("abs_rel", "mean |error| / depth"), ("bias_mm", "mean error, mm"))
    for axes, (key, label) in zip(panels, names):
        style_axes(axes, AXES[quantity], label)
        back = axes.twinx()
        back.bar(low, share, high - low, align="edge", color="#eef1f4", edgecolor="white", linewidth=0.8)
        back.set(ylim=(0, 2.2 * share.max()), yticks=[])
        back.spines[:].set_visible(False)
        axes.set_zorder(2)
        axes.patch.set_visible(False)
        for table, arm, colour in zip(tables, section.arms, COLOURS):
            axes.plot(
                (low + high) / 2, table[key], "o-", color=colour, label=wrapped(arm), linewidth=1.6, markersize=3.5
            )
        if key == "bias_mm":
            axes.axhline(0, color=INK, linewidth=0.8)
        else:
            axes.set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND, ncols=min(len(tables), 3))
    return figure


def by_condition(section: Section, protocol: str, metric: str = "abs_rel", column: str = "variation") -> Figure:
    """A metric's mean and interval for every value of a column, every arm beside the others."""
    names = list(dict.fromkeys(section.column(column)))
    where, units = np.array(section.column(column)), section.units()
    if column == "patient":
        units = section.views()
    count = len(section.arms)
    figure = Figure(figsize=(6.4, 0.9 + len(names) * (0.16 + 0.17 * count)), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, f"{metric} ({protocol}), mean and 95 % interval")
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    for k, (arm, colour) in enumerate(zip(section.arms, COLOURS)):
        values = arm.by_seed(protocol, metric)
        found = [
            statistics.mean(values[:, where == name], [u for u, there in zip(units, where == name) if there])
            for name in names
        ]
        y = np.arange(len(names)) + (k - (count - 1) / 2) * 0.6 / max(count, 2)
        x = np.array([f.value for f in found])
        reach = np.array([[f.value - f.low for f in found], [f.high - f.value for f in found]])
        axes.errorbar(
            x, y, xerr=np.nan_to_num(reach), fmt="o", color=colour, label=wrapped(arm), markersize=5, capsize=2.5
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    figure.legend(*axes.get_legend_handles_labels(), **LEGEND, ncols=min(count, 3))
    return figure


def without_network(section: Section, protocol: str, metric: str = "abs_rel") -> Figure:
    """Every arm's error beside that of the baselines of its own training frames, with intervals."""
    count, names = len(section.arms), [*section.baselines(), "network"]
    figure = Figure(figsize=(6.8, 1.0 + len(names) * (0.14 + 0.17 * count)), layout="constrained")
    axes = figure.subplots()
    style_axes(axes, f"{metric} ({protocol}), mean and 95 % interval")
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    ends = [0.0]
    for k, (arm, colour) in enumerate(zip(section.arms, COLOURS)):
        found = section.without_network(arm, protocol, metric) | {"network": section.mean(arm, protocol, metric)}
        shown = [(n, found[name]) for n, name in enumerate(names) if name in found]
        y = np.array([n for n, _ in shown]) + (k - (count - 1) / 2) * 0.6 / max(count, 2)
        x = np.array([f.value for _, f in shown])
        reach = np.nan_to_num(np.array([[f.value - f.low for _, f in shown], [f.high - f.value for _, f in shown]]))
        axes.errorbar(x, y, xerr=reach, fmt="o", color=colour, label=wrapped(arm), markersize=5, capsize=2.5)
        ends.append(float(x.max()))
    axes.axhline(len(names) - 1.5, color="#8c959f", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, min(axes.get_xlim()[1], 1.6 * max(ends)))
    figure.legend(*axes.get_legend_handles_labels(), **LEGEND, ncols=min(count, 3))
    return figure


def paired(section: Section, protocol: str, metric: str = "abs_rel") -> Figure:
    """Every frame's error, the baseline's across and each other arm's upwards; below the diagonal is better."""
    others = section.arms[1:]
    figure = Figure(figsize=(3.3 * len(others) + 0.6, 3.4), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(others), squeeze=False))
    names, looks = list(dict.fromkeys(section.column("variation"))), np.array(section.column("variation"))
    before = section.arms[0].values(protocol, metric)
    for axes, arm in zip(panels, others):
        after = arm.values(protocol, metric)
        end = 1.08 * max(before.max(), after.max())
        style_axes(axes, f"{metric}\n{wrapped(section.arms[0], 34)}", f"{wrapped(arm, 34)}\n{metric}")
        axes.plot([0, end], [0, end], color="#8c959f", linewidth=0.9)
        for name, colour in zip(names, (COLOURS[1:] + COLOURS[:1]) * len(names)):
            at = looks == name
            axes.scatter(before[at], after[at], s=16, color=colour, alpha=0.75, linewidths=0, label=literal(name))
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    figure.legend(*panels[0].get_legend_handles_labels(), **LEGEND, ncols=min(len(names), 4))
    return figure


def convergence(section: Section) -> Figure:
    """Training loss (thin: each step, thick: mean of the last 20) and validation error of every arm's runs: of several
    their mean, in the band from the least to the greatest."""
    figure = Figure(figsize=(9.2, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    style_axes(left, "step", "training loss")
    style_axes(right, "step", "validation abs_rel (median)")
    for arm, colour in zip(section.arms, COLOURS):
        for number, evaluation in enumerate(arm.evaluations):
            trained = [row for row in evaluation.log if row["loss"]]
            if not trained:  # a mean of runs took no step of its own
                continue
            step = np.array([int(row["step"]) for row in trained])
            loss = np.array([float(row["loss"]) for row in trained])
            window = min(20, len(loss))
            smooth = np.convolve(loss, np.ones(window) / window, "valid")
            left.plot(step, loss, color=colour, linewidth=0.5, alpha=0.25)
            left.plot(step[window - 1 :], smooth, color=colour, linewidth=1.6, label="" if number else wrapped(arm))
        curves.draw(right, [curves.of_log(evaluation.log) for evaluation in arm.evaluations], colour)
    left.set_yscale("log")
    right.set_ylim(bottom=0)
    figure.legend(*left.get_legend_handles_labels(), **LEGEND, ncols=min(len(section.arms), 3))
    return figure
