"""One page that says what was gained: self-contained HTML; figures as PNG and PDF and tables as CSV beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from endorender.outputs import claim
from endorender.pages import inlined, template
from training import baselines, curves, figures
from training.compare import Arm, Difference, Section, Shape, in_family, load_evaluation, sections
from training.files import command, versions, write_atomic, write_csv

PAGE = "report.html"
ROWS, WORST = 4, 4
LEAD = ("median", "metric")  # which protocol leads, if it is there


def report(evaluations: Sequence[str | Path], out: str | Path, title: str | None = None) -> Path:
    """Writes OUT/report.html, OUT/figures/*.png and *.pdf, OUT/tables/*.csv, and returns the page.

    evaluations: folders that `evaluate` wrote. Those of the same frames form a section, in the order
    given; in it the first label is the baseline that the others are compared with, and evaluations with
    one label are seeds of one way of training. Frames of another dataset make a section of their own.

    Errors (UserError): an evaluation that cannot be read, evaluations that cannot be compared, an output
    folder that holds anything but a report.
    """
    out = Path(out)
    found = sections([load_evaluation(path) for path in evaluations])
    claim(out, lambda name: name in (PAGE, "figures", "tables"), "a report")
    for folder in ("figures", "tables"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    shown = [_section(section, out, number) for number, section in enumerate(found, 1)]
    _judge_together(shown)
    page = template("training", "report.html").render(
        title=title or "Depth from one endoscope image",
        sections=shown,
        sources=list(_sources(found)),
        versions=versions(),
        command=command(),
        margin=baselines.MARGIN,
        protocols=sorted({name for section in found for name in section.protocols}),
    )
    write_atomic(out / PAGE, page)
    return out / PAGE


def evaluation_html(summary: dict[str, Any]) -> str:
    """A table of what `evaluate` wrote into summary.json: metrics under protocols, intervals over patients where there
    are several, and what a lookup from brightness and place reaches."""
    several = len(summary["data"]["patients"]) > 1
    blind = summary.get("baselines", {}).get("protocols", {})
    lookup = {name: p["mean"][baselines.LOOKUP] for name, p in blind.items() if baselines.LOOKUP in p["mean"]}
    unit = "mean_over_patients" if several else "mean"
    known = any(i[1] is not None for p in summary["protocols"].values() for i in p[unit].values())
    return str(template("training", "evaluation.html").render(e=summary, unit=unit, lookup=lookup, known=known))


def _section(section: Section, out: Path, number: int) -> dict[str, Any]:
    """What the template shows of a section; its figures are written on the way."""
    lead = next((name for name in LEAD if name in section.protocols), section.protocols[0])
    ordered = [lead, *(name for name in section.protocols if name != lead)]

    def save(name: str, figure: Any) -> str:
        data = figures.png(figure)
        write_atomic(out / "figures" / f"{number}_{name}.png", data)
        write_atomic(out / "figures" / f"{number}_{name}.pdf", figures.pdf(figure))
        return inlined(data)

    stored = [i for i in section.ids() if i in _stored(section)]
    best = section.arms[-1]
    errors = dict(zip(section.ids(), best.values(lead, "abs_rel")))
    worst = sorted(stored, key=lambda name: -errors[name])[:WORST]
    usual = [name for name in stored if name not in worst] or stored
    rows = [usual[(2 * k + 1) * len(usual) // (2 * min(ROWS, len(usual)))] for k in range(min(ROWS, len(usual)))]
    compared = len(section.arms) > 1
    write_csv(out / "tables" / f"{number}_metrics.csv", TABLE, _rows(section, ordered))
    blind = [p for p in ordered if any(section.without_network(arm, p, "abs_rel") for arm in section.arms)]
    write_csv(out / "tables" / f"{number}_baselines.csv", BLIND, _blind_rows(section, blind))
    return {
        "section": section,
        "lead": lead,
        "headlines": [_headline(section, arm, lead) for arm in section.arms[1:]],
        "shapes": [
            {
                "arm": arm,
                "error": section.mean(arm, lead, "abs_rel"),
                "shape": section.shape(arm, lead),
                "nearest": min(
                    section.without_network(arm, lead, "abs_rel").items(), key=lambda x: x[1].value, default=None
                ),
            }
            for arm in section.arms
        ],
        "blind": [{"protocol": p, "arms": _blind(section, p)} for p in blind],
        "baselines": save("baselines", figures.without_network(section, lead)) if lead in blind else None,
        "several": len(section.data["patients"]) > 1,
        "once": [arm.label for arm in section.arms if len(arm.evaluations) == 1],
        "tables": [{"protocol": p, "rows": list(_table(section, p))} for p in ordered],
        "pictures": {p: save(f"pictures_{p}", figures.pictures(section, p, rows)) for p in ordered},
        "worst": save("worst", figures.pictures(section, lead, worst)),
        "worst_of": best.label,
        "against_depth": {p: save(f"error_against_depth_{p}", figures.against(section, p)) for p in ordered},
        "against": {
            q: save(f"error_against_{q}", figures.against(section, lead, q))
            for q in ("radius", "incidence")
            if section.knows(q)
        },
        "by_condition": save("by_condition", figures.by_condition(section, lead)),
        "by_patient": save("by_patient", figures.by_condition(section, lead, column="patient"))
        if len(section.data["patients"]) > 1
        else None,
        "paired": save("frame_by_frame", figures.paired(section, lead)) if compared else None,
        "convergence": save("convergence", figures.convergence(section)) if number == 1 else None,
        "ends": [(arm.label, curves.words([curves.of_log(e.log) for e in arm.evaluations])) for arm in section.arms],
    }


TABLE = (
    "protocol", "metric", "unit", "arm", "seeds", "mean", "low", "high", "pooled", "difference", "low_over_frames",
    "high_over_frames", "low_over_views", "high_over_views", "low_over_patients", "high_over_patients", "p",
)  # fmt: skip


def _rows(section: Section, protocols: Sequence[str]) -> Iterator[list[Any]]:
    """The metrics' table; differences are to the first arm: percent less error, percentage points for shares."""
    for protocol in protocols:
        for metric, about in section.metrics().items():
            for k, arm in enumerate(section.arms):
                row = [protocol, metric, about["unit"], arm.label, len(arm.evaluations)]
                row += [*section.mean(arm, protocol, metric), arm.pooled(protocol, metric)]
                if k:
                    d = section.difference(arm, protocol, metric)
                    row += [d.by_frame.value, *d.by_frame[1:], *d.by_view[1:]]
                    row += [*(d.by_patient[1:] if d.by_patient else ("", "")), d.p]
                yield row + [""] * (len(TABLE) - len(row))


BLIND = ("protocol", "arm", "baseline", "metric", "unit", "mean", "low", "high")


def _blind_rows(section: Section, protocols: Sequence[str]) -> Iterator[list[Any]]:
    """What the baselines reach, fitted on each arm's training frames."""
    for protocol in protocols:
        for arm in section.arms:
            for metric, about in section.metrics().items():
                for name, mean in section.without_network(arm, protocol, metric).items():
                    yield [protocol, arm.label, name, metric, about["unit"], *mean]


def _blind(section: Section, protocol: str) -> list[dict[str, Any]]:
    """abs_rel and δ1 of every arm and of its baselines."""
    return [
        {
            "arm": arm,
            "own": {m: section.mean(arm, protocol, m) for m in ("abs_rel", "delta1")},
            "without": {
                name: {m: section.without_network(arm, protocol, m)[name] for m in ("abs_rel", "delta1")}
                for name in section.without_network(arm, protocol, "abs_rel")
            },
        }
        for arm in section.arms
    ]


def _judge_together(shown: Sequence[dict[str, Any]]) -> None:
    """Holm's adjustment over the page: the gains of all sections are one family, what reads shape is another."""
    gains: list[tuple[dict[str, Any], Difference]] = [(h, h["difference"]) for s in shown for h in s["headlines"]]
    shapes: list[tuple[dict[str, Any], Shape]] = [(h, h["shape"]) for s in shown for h in s["shapes"] if h["shape"]]
    for (place, _), gain in zip(gains, in_family([gain for _, gain in gains])):
        place["difference"] = gain
    for (place, _), shape in zip(shapes, in_family([shape for _, shape in shapes])):
        place["shape"] = shape


def _stored(section: Section) -> set[str]:
    """Frames whose image and truth some evaluation keeps."""
    keys = {key for arm in section.arms for e in arm.evaluations[:1] for key in e.arrays("shown.npz")}
    return {key.removesuffix("/image") for key in keys if key.endswith("/image")}


def _headline(section: Section, arm: Arm, protocol: str) -> dict[str, Any]:
    return {
        "arm": arm,
        "before": section.mean(section.arms[0], protocol, "abs_rel"),
        "after": section.mean(arm, protocol, "abs_rel"),
        "difference": section.difference(arm, protocol, "abs_rel"),
    }


def _table(section: Section, protocol: str) -> Iterator[dict[str, Any]]:
    for metric, about in section.metrics().items():
        yield {
            "metric": metric,
            "unit": about["unit"],
            "higher": about["higher_is_better"],
            "arms": [
                {
                    "mean": section.mean(arm, protocol, metric),
                    "pooled": arm.pooled(protocol, metric),
                    "seeds": arm.per_seed(protocol, metric),
                    "difference": section.difference(arm, protocol, metric) if k else None,
                }
                for k, arm in enumerate(section.arms)
            ],
        }


def _sources(found: Sequence[Section]) -> Iterator[dict[str, Any]]:
    """Of every evaluation: how it came about, in words that can be typed again."""
    for section in found:
        for arm in section.arms:
            for evaluation in arm.evaluations:
                yield {
                    "title": f"{arm.label} · seed {evaluation.summary['network']['seed']} · {section.title}",
                    "command": evaluation.summary["command"],
                    "train_command": evaluation.run["command"],
                    "summary": json.dumps(
                        {key: evaluation.summary[key] for key in ("data", "network", "versions")}, indent=2
                    ),
                    "run": json.dumps({k: v for k, v in evaluation.run.items() if k != "seen"}, indent=2),
                }
