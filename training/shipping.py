"""The network that comes with the package: where it lies, and how a run becomes it.

training/shipped/model.safetensors, run.json   a run, as `train` or `average` wrote it
training/shipped/log.csv                       its validations, and every hundredth step
training/shipped/CARD.md                       what it is and what it can do, made of the run and of its evaluations

Its name is `shipped`, wherever a run is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from endorender.errors import UserError
from endorender.pages import template

NAME, CARD = "shipped", "CARD.md"
FILES = ("model.safetensors", "run.json", "log.csv", CARD)
LARGEST = 10_000_000  # bytes of the weights
SHOWN = ("abs_rel", "rmse", "delta1")
EVERY = 100  # steps of the log


def folder() -> Path:
    """Where the shipped network lies, or would."""
    return Path(str(resources.files("training"))) / NAME


def ships() -> bool:
    """Whether this version has a network."""
    return all((folder() / name).is_file() for name in FILES)


def run_folder(run: str | Path | None) -> Path:
    """The folder or file that was named; None and `shipped` (where nothing here is called so) name the network of the
    package. UserError NOT_FOUND where none ships."""
    if run is not None and (str(run) != NAME or Path(run).exists()):
        return Path(run)
    if not ships():
        raise UserError(
            "no network ships with this version: give the folder of a run (endorender train) or an ONNX file",
            "NOT_FOUND",
        )
    return folder()


def card() -> str:
    """The shipped network's card, Markdown."""
    return (run_folder(None) / CARD).read_text(encoding="utf-8")


def ship(run: str | Path, evaluations: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Makes the folder of a shipped network of a run and its evaluations; returns it. out: `folder()` by default.

    Errors (UserError): an unfinished run, weights above LARGEST bytes, no evaluation or one of other weights, a folder
    that holds anything else.
    """
    from endorender.outputs import claim
    from training.checkpoint import LOG, RUN, WEIGHTS, load_run
    from training.compare import load_evaluation
    from training.files import write_atomic

    out = folder() if out is None else Path(out)
    found = load_run(run)
    if not found.info.get("finished"):
        raise UserError("the run is not finished: finish it with --resume", "INVALID_VALUE")
    weights = (found.path / WEIGHTS).read_bytes()
    if len(weights) > LARGEST:
        raise UserError(
            f"the weights have {len(weights)} bytes, at most {LARGEST} ship: train a smaller network", "SIZE"
        )
    judged = [load_evaluation(path) for path in evaluations]
    if not judged:
        raise UserError("a network ships with figures: name evaluations of it", "NOT_FOUND")
    for evaluation in judged:
        if evaluation.summary["network"]["weights"] != found.weights:
            title = evaluation.summary["data"]["title"]
            raise UserError(f"the evaluation on {title} is of another network: evaluate this one", "CHANGED")
        if seen := evaluation.summary["data"]["seen_in_training"]:
            raise UserError(
                f"the network was trained on {', '.join(seen)} of its test set: a card tells of patients never seen",
                "PATIENT_SEEN",
            )
    text = _card(found.info, found.weights, len(weights), [evaluation.summary for evaluation in judged])
    claim(out, lambda name: name in FILES, "a shipped network")
    write_atomic(out / WEIGHTS, weights)
    write_atomic(out / LOG, "\n".join(_thinned((found.path / LOG).read_text(encoding="utf-8").splitlines())) + "\n")
    write_atomic(out / RUN, (found.path / RUN).read_bytes())
    write_atomic(out / CARD, text)
    return out


def _thinned(lines: Sequence[str]) -> Iterator[str]:
    yield lines[0]
    for line in lines[1:]:
        cells = line.split(",")
        if any(cells[3:]) or int(cells[0]) % EVERY == 0:
            yield line


def _card(info: dict[str, Any], weights: str, size: int, summaries: Sequence[dict[str, Any]]) -> str:
    sets = [_figures(summary) for summary in summaries]
    about = metadata.metadata("endorender")
    return template("training", "card.md").render(
        info=info, weights=weights, size=size, sets=sets, stages=list(stages(info)), shown=SHOWN,
        model=json.dumps(info["config"]["model"]), people=len(info["seen"]),
        metrics=summaries[0]["metrics"], licence=about["License-Expression"] or about["License"],
        version=info["versions"]["endorender"],
        worst=max((row for s in sets for row in s["rows"]), key=lambda row: row["values"]["abs_rel"][0]),
        unread=[f"{s['title']} ({row['protocol']}: {row['verdict']})" for s in sets for row in s["rows"]
                if row["verdict"] not in (None, "reads shape")],
    )  # fmt: skip


def stages(info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the weights were trained on, in order: frames, patients, variations, and the configuration's keys."""
    if parents := info.get("average_of"):
        for parent in parents:
            yield from stages(parent)
        return
    if info["init_from"] is not None:
        yield from stages(info["init_from"])
    config, data = info["config"], info["data"]["train"]
    yield {
        "frames": data["frames"],
        "patients": len(data["patients"]),
        "variations": data["variations"],
        "augment": json.dumps(
            {key: value for key, value in config["augment"].items() if value and value != [1.0, 1.0]}
        ),
        **{key: config.get(key) for key in ("steps", "batch", "learning_rate", "fine_tune", "ema", "seed")},
        "loss": json.dumps(config["loss"]),
    }


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    """A row for each protocol: [value, low, high] over patients, or over frames of one patient."""
    data, several = summary["data"], len(summary["data"]["patients"]) > 1
    rows = []
    for name, found in summary["protocols"].items():
        blind = summary["baselines"]["protocols"].get(name, {"mean": {}})
        below = blind.get("abs_rel_below_lookup", {})
        lookup = blind["mean"].get("lookup")
        values = found["mean_over_patients" if several else "mean"]
        rows.append(
            {
                "protocol": name,
                "title": data["title"],
                "values": {metric: values[metric] for metric in SHOWN},
                "lookup": lookup["abs_rel"][0] if lookup else None,
                "verdict": below.get("verdict"),
            }
        )
    return {**data, "several": several, "rows": rows}
