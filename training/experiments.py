"""The paper's three claims, each an experiment under a protocol that was fixed beforehand (docs/protocol.md).

OUT/experiment.json   what was asked for, and the protocol's fingerprint
OUT/data, OUT/runs, OUT/evaluations   what was made on the way: a repeated call goes on from there
OUT/tables, OUT/figures, OUT/index.html   the answer
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from endorender.errors import UserError
from training import claim_figures, statistics
from training.compare import Arm, Section, load_evaluation, sections
from training.data import FrameSet
from training.files import Progress, write_csv
from training.statistics import Interval
from training.study import LOOKS, PRESETS, Stage, Study, begin, log_of

PAPER = {"views of unseen patients": 56.87, "foreign data": 27.49}  # percent less error, Mahmood et al. 2018
LEAD = "median"
BASELINE, LAST, FULL = "plain images only", "last layer fine-tuned", "all layers fine-tuned"


@dataclass
class Answer:
    """claims: sentences with their figures. tables: name -> (header, rows). figures: name -> matplotlib Figure."""

    claims: list[str] = field(default_factory=list)
    tables: dict[str, tuple[Sequence[str], list[list[Any]]]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def experiment(
    name: str,
    out: str | Path,
    preset: str = "small",
    stage: Stage | None = None,
    cts: Sequence[str] = (),
    foreign: Sequence[str | Path] = (),
    device: str = "cpu",
) -> Path:
    """Runs one of EXPERIMENTS and returns its page. A repeated call goes on where the last one stopped.

    cts: CTs instead of the preset's phantoms, at least three. foreign: datasets to judge on too.
    stage: title -> a context that gives that stage's progress. device: what renders.

    Errors (UserError): an unknown name, a folder with something else or with another experiment.
    """
    from training.experiment_page import write_answer

    for what, given, known in (("experiment", name, EXPERIMENTS), ("preset", preset, PRESETS)):
        if given not in known:
            raise UserError(f"no {what} is called {given!r}; there are: {', '.join(known)}", "UNKNOWN_NAME")
    folders = tuple(str(path) for path in foreign)
    study = Study(Path(out), name, PRESETS[preset], tuple(cts), folders, stage or _silent, device)
    info = begin(study, preset)
    return write_answer(study, info, EXPERIMENTS[name](study))


def _silent(title: str) -> Any:
    from contextlib import nullcontext

    nothing: Progress = lambda done, total, text: None  # noqa: E731
    return nullcontext(nothing)


def adapt(study: Study) -> Answer:
    """Fine-tuning on cinematic images lowers the error on views of patients never seen, and on foreign data."""
    answer, plain, cinematic = Answer(), *_both(study)
    arms = _arms(study, plain, cinematic, "adapt")
    judged: dict[str, list[Any]] = {"views of unseen patients": cinematic["test"], "shipped airway": _airway(study)}
    judged |= study.foreign_frames()
    rows = []
    for title, frames in judged.items():
        section = _section(study, frames, title, arms)
        for arm in section.arms[1:]:
            d = section.difference(arm, LEAD, "abs_rel")
            before, after = (section.mean(a, LEAD, "abs_rel").value for a in (section.arms[0], arm))
            paper = PAPER["views of unseen patients" if title == "views of unseen patients" else "foreign data"]
            patients = d.by_patient or ("", "", "")
            rows.append([title, arm.label, before, after, *d.by_frame, *d.by_view[1:], *patients[1:], d.p, paper])
            answer.claims.append(
                f"{title}, {arm.label}: {_interval(d.by_view)} % less error than {BASELINE} ({before:.3f} → "
                f"{after:.3f}, interval over views; paper: {paper} %): {d.verdict()}."
            )
        answer.figures[f"frame by frame, {title}"] = claim_figures.frame_by_frame(section, LEAD)
        answer.figures[f"error against depth, {title}"] = claim_figures.against_depth(section, LEAD)
    answer.tables["adapt"] = (
        ("test", "arm", "e_no", "e_ft", "reduction_percent", "low_frames", "high_frames", "low_views", "high_views",
         "low_patients", "high_patients", "p", "paper_percent"), rows,
    )  # fmt: skip
    return answer


def data(study: Study) -> Answer:
    """With cinematic fine-tuning, half the images suffice."""
    answer, plain, cinematic = Answer(), *_both(study)
    counts, curves, rows = study.preset.counts, {}, []
    most = f"data-{counts[-1]}"
    rates = _rates(study, plain, cinematic, most, images=counts[-1], modes=(BASELINE, FULL))
    for count in counts:
        arms = _arms(study, plain, cinematic, f"data-{count}", count, (BASELINE, FULL), rates)
        curves[count] = _section(study, cinematic["test"], "views of unseen patients", arms)
        target = min(
            float(row["val_abs_rel_median"])
            for run in arms[BASELINE]
            for row in log_of(run)
            if row["val_abs_rel_median"]
        )
        for arm in curves[count].arms:
            mean = statistics.mean(arm.values(LEAD, "abs_rel"), curves[count].column("patient"))
            steps = [_steps_to(run, target) for run in arms[arm.label]]
            reached = [s for s in steps if s is not None]
            rows.append([count, arm.label, *mean, target, len(reached), np.mean(reached) if reached else ""])
    answer.tables["data"] = (
        ("images", "arm", "abs_rel", "low_patients", "high_patients", "target_val_abs_rel", "seeds_that_reach_it",
         "further_steps_to_it"), rows,
    )  # fmt: skip
    for half, whole in pairwise(counts):
        before, after = curves[whole].arms[0], curves[half].arms[1]
        d = statistics.reduction(
            before.values(LEAD, "abs_rel"), after.values(LEAD, "abs_rel"), curves[whole].views()
        )  # fmt: skip
        verdict = "holds" if d.low >= 0 else "does not hold" if d.high < 0 else "undecided"
        answer.claims.append(
            f"{half} images with cinematic fine-tuning against {whole} without: {_interval(d)} % less error "
            f"(interval over views): {verdict}."
        )
    answer.figures["error against images"] = claim_figures.against_count(rows)
    return answer


def variety(study: Study) -> Answer:
    """Several conditions for each view narrow the gap between patients that were trained on and others."""
    p, answer = study.preset, Answer()
    frames: dict[str, dict[str, list[Any]]] = {}
    for split, people in study.patients().items():
        views = p.variety_views + p.unseen_views if split == "train" else p.unseen_views
        names = max(p.conditions) if split == "train" else 1
        frames[split] = {
            who["alias"]: study.render(
                f"variety-{who['alias']}", [who], views, variations=appearances(who["alias"], names)
            )
            for who in people
        }
    own = {split: [f for fs in found.values() for f in fs if f.variation == "c1"] for split, found in frames.items()}
    learnt, left_out = _places(p.variety_views, p.unseen_views)
    seen = [f for f in own["train"] if f.view in left_out]
    judged = {"unseen patients": own["test"], "seen patients, other views": seen}
    found: dict[str, dict[int, Arm]] = {title: {} for title in judged}
    tables: dict[str, Section] = {}
    for k in p.conditions:
        chosen = {f"c{n + 1}" for n in range(k)}
        places = set(learnt[::k])
        train = [f for fs in frames["train"].values() for f in fs if f.variation in chosen and f.view in places]
        sets = FrameSet(train, own["val"])
        runs = [study.train(f"variety-k{k}-seed{s}", sets, seed=s, learning_rate=p.rate) for s in range(p.seeds)]
        for title, test in judged.items():
            tables[title] = _section(study, test, title, {f"K = {k}": runs})
            found[title][k] = tables[title].arms[0]
    unseen, known = (found[title] for title in judged)
    units = [tables[title].column("patient") for title in judged]
    errors = {k: (unseen[k].values(LEAD, "abs_rel"), known[k].values(LEAD, "abs_rel")) for k in p.conditions}
    rows = []
    for k, (u, s) in errors.items():
        gap = statistics.gap(u, s, units[0], units[1])
        rows.append([k, *statistics.mean(s, units[1]), *statistics.mean(u, units[0]), *gap])
    answer.tables["variety"] = (
        (
            "conditions",
            "seen",
            "seen_low",
            "seen_high",
            "unseen",
            "unseen_low",
            "unseen_high",
            "gap",
            "gap_low",
            "gap_high",
        ),
        rows,
    )
    first, last = p.conditions[0], p.conditions[-1]
    # gap(K) − ½ gap(1) is a gap itself, of errors on the same frames: what they have in common cancels.
    half = statistics.gap(
        errors[last][0] - 0.5 * errors[first][0], errors[last][1] - 0.5 * errors[first][1], units[0], units[1]
    )
    verdict = "holds" if half.high <= 0 else "does not hold" if half.low > 0 else "is undecided"
    whole = statistics.gap(*errors[first], units[0], units[1])
    if whole.low <= 0:
        verdict = f"is undecided, for at K = {first} there is no gap that excludes zero"
    answer.claims.append(
        f"Gap at K = {first}: {_signed(whole)} of abs_rel (interval over patients). Gap at K = {last} less half of it: "
        f"{_signed(half)}. That the gap is at most half {verdict}."
    )
    answer.figures["gap against conditions"] = claim_figures.against_conditions(rows)
    return answer


def _places(learnt: int, left_out: int) -> tuple[list[int], set[int]]:
    """Views of a training patient that may be trained on, and those that are left out; both all along the way."""
    total = learnt + left_out
    apart = {(2 * n + 1) * total // (2 * left_out) for n in range(left_out)}
    return [v for v in range(total) if v not in apart], apart


EXPERIMENTS: dict[str, Callable[[Study], Answer]] = {"adapt": adapt, "data": data, "variety": variety}


def appearances(alias: str, count: int) -> list[dict[str, Any]]:
    """Conditions c1, c2, … of a patient: tissue of a look, and a camera of its own; c1 is the patient's own.

    Drawn from the alias: no two patients have one appearance, and looks take turns.
    """
    from training.files import derive

    number = int(alias.lstrip("p"))
    found = []
    for n in range(count):
        rng = np.random.default_rng(derive("appearance", alias, n))
        gains = [float(g) for g in rng.uniform(0.75, 1.3, 3).round(4)]
        response = {
            "white_balance": gains,
            "target": round(float(rng.uniform(80, 170)), 2),
            "contrast": round(float(rng.uniform(1.2, 2.0)), 4),
        }
        found.append({"name": f"c{n + 1}", "look": LOOKS[(number + n) % len(LOOKS)], "response": response})
    return found


def _both(study: Study) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Plain and cinematic frames by split."""
    people, found = study.patients(), []
    splits = {split: [p["alias"] for p in members] for split, members in people.items()}
    everyone = [p for members in people.values() for p in members]
    learners = [p for split in ("train", "val") for p in people[split]]
    p = study.preset
    asked = (("plain", learners, p.views, "synthetic"), ("cinematic", everyone, p.cinematic_views, "paper4"))
    for name, who, views, preset in asked:
        given = {split: [a for a in splits[split] if any(p["alias"] == a for p in who)] for split in splits}
        frames = study.render(name, who, views, preset=preset, splits=given)
        found.append(
            {
                s: [f for f in frames if f.patient in splits[s] and (f.variation in LOOKS or name == "plain")]
                for s in splits
            }
        )
    return found[0], found[1]


def _airway(study: Study) -> list[Any]:
    frames = study.render(
        "airway", [{"ct": "sample", "alias": "airway"}], study.preset.cinematic_views, splits={"test": ["airway"]}
    )
    return [f for f in frames if f.variation in LOOKS]


def _sets(plain: dict[str, list[Any]], cinematic: dict[str, list[Any]]) -> dict[str, tuple[FrameSet, str]]:
    """Arm -> what it is trained on after plain training, and how; all are validated on the same cinematic frames."""
    tuned = FrameSet(cinematic["train"], cinematic["val"])
    return {
        BASELINE: (FrameSet(plain["train"], cinematic["val"]), "full"),
        LAST: (tuned, "last-layer"),
        FULL: (tuned, "full"),
    }


def _rates(
    study: Study, plain: Any, cinematic: Any, name: str, images: int | None, modes: Sequence[str]
) -> dict[str, float]:
    """Each arm's own learning rate, chosen on validation patients with the first seed."""
    base, sets = _base(study, plain, cinematic, name, images, 0), _sets(plain, cinematic)
    more = {"steps": study.preset.further_steps, "images": images, "seed": 0}
    return {
        arm: study.tuned(f"{name}-{_short(arm)}", sets[arm][0], base, fine_tune=sets[arm][1], **more) for arm in modes
    }  # fmt: skip


def _arms(
    study: Study,
    plain: dict[str, list[Any]],
    cinematic: dict[str, list[Any]],
    name: str,
    images: int | None = None,
    modes: Sequence[str] = (BASELINE, LAST, FULL),
    rates: dict[str, float] | None = None,
) -> dict[str, list[Path]]:
    """Runs of every arm, one for each seed: plain training, then as many further steps for each."""
    rates = rates or _rates(study, plain, cinematic, name, images, modes)
    found: dict[str, list[Path]] = {arm: [] for arm in modes}
    for seed in range(study.preset.seeds):
        base = _base(study, plain, cinematic, name, images, seed)
        for arm in modes:
            frames, mode = _sets(plain, cinematic)[arm]
            found[arm].append(
                study.train(
                    f"{name}-{_short(arm)}-seed{seed}", frames, base, fine_tune=mode, learning_rate=rates[arm],
                    steps=study.preset.further_steps, images=images, seed=seed,
                )
            )  # fmt: skip
    return found


def _base(study: Study, plain: Any, cinematic: Any, name: str, images: int | None, seed: int) -> Path:
    frames = _sets(plain, cinematic)[BASELINE][0]
    return study.train(f"{name}-base-seed{seed}", frames, learning_rate=study.preset.rate, images=images, seed=seed)


def _section(study: Study, frames: list[Any], title: str, arms: dict[str, list[Path]]) -> Section:
    folders = [study.evaluate(run, frames, title, label) for label, runs in arms.items() for run in runs]
    return sections([load_evaluation(folder) for folder in folders])[0]


def _steps_to(run: Path, target: float) -> int | None:
    """Further steps after which validation first reached the target."""
    reached = (
        int(r["step"]) for r in log_of(run) if r["val_abs_rel_median"] and float(r["val_abs_rel_median"]) <= target
    )
    return next(reached, None)


def _short(arm: str) -> str:
    return {BASELINE: "baseline", LAST: "last-layer", FULL: "full"}[arm]


def _interval(i: Interval) -> str:
    return f"{i.value:+.1f} [{i.low:+.1f}, {i.high:+.1f}]"


def _signed(i: Interval) -> str:
    return f"{i.value:+.4f} [{i.low:+.4f}, {i.high:+.4f}]"


def tables_of(study: Study, info: dict[str, Any], answer: Answer) -> None:
    """Writes OUT/tables/*.csv, the protocol's fingerprint in every row."""
    for name, (header, rows) in answer.tables.items():
        write_csv(
            study.out / "tables" / f"{name}.csv", [*header, "preset", "protocol"],
            [[*row, info["preset"], info["protocol"]] for row in rows],
        )  # fmt: skip
