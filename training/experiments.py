"""The paper's three claims, each an experiment under a protocol that was fixed beforehand (docs/protocol.md).

OUT/experiment.json   what was asked for, and the protocol's fingerprint
OUT/data, OUT/runs, OUT/evaluations   what was made on the way: a repeated call goes on from there
OUT/tables, OUT/figures, OUT/index.html   the answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from endorender.errors import UserError, unknown
from training import claim_figures, statistics
from training.compare import Claim, Section, in_family
from training.data import FrameSet
from training.files import Progress, write_csv
from training.study import GIVEN, LEAD, LOOKS, PRESETS, Answer, Stage, Study, begin, log_of
from training.variety import variety

PAPER = {"views of unseen patients": 56.87, "foreign data": 27.49}  # percent less error, Mahmood et al. 2018
BASELINE, LAST, FULL = "plain images only", "last layer fine-tuned", "all layers fine-tuned"


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
            raise UserError(unknown(what, given, known), "UNKNOWN_NAME")
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
    sections = {title: study.section(frames, title, arms) for title, frames in judged.items()}
    compared = [(title, section, arm) for title, section in sections.items() for arm in section.arms[1:]]
    gains = _in_families([t for t, _, _ in compared], [s.difference(arm, LEAD, "abs_rel") for _, s, arm in compared])
    rows = []
    for (title, section, arm), d in zip(compared, gains):
        before, after = (section.mean(a, LEAD, "abs_rel").value for a in (section.arms[0], arm))
        paper = PAPER["views of unseen patients" if title == "views of unseen patients" else "foreign data"]
        patients = d.by_patient or ("", "", "")
        rows.append(
            [title, arm.label, before, after, *d.by_frame, *d.by_view[1:], *patients[1:], d.p, d.family_p, paper]
        )
        over = "patients" if d.by_patient else "views"
        answer.claims.append(
            f"{title}, {arm.label}: {statistics.in_words(d.decisive())} than {BASELINE} ({before:.3f} → "
            f"{after:.3f}, interval over seeds and {over}; paper: {paper} %): {d.verdict()}."
        )
    for title, section in sections.items():
        answer.figures[f"frame by frame, {title}"] = claim_figures.frame_by_frame(section, LEAD)
        answer.figures[f"error against depth, {title}"] = claim_figures.against_depth(section, LEAD)
    _beside_baselines(answer, sections)
    answer.tables["adapt"] = (
        ("test", "arm", "e_no", "e_ft", "reduction_percent", "low_frames", "high_frames", "low_views", "high_views",
         "low_patients", "high_patients", "p", "p_holm", "paper_percent"), rows,
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
        curves[count] = study.section(cinematic["test"], "views of unseen patients", arms)
        target = min(
            float(row["val_abs_rel_median"])
            for run in arms[BASELINE]
            for row in log_of(run)
            if row["val_abs_rel_median"]
        )
        for arm in curves[count].arms:
            mean = curves[count].mean(arm, LEAD, "abs_rel")
            steps = [_steps_to(run, target) for run in arms[arm.label]]
            reached = [s for s in steps if s is not None]
            rows.append([count, arm.label, *mean, target, len(reached), np.mean(reached) if reached else ""])
    answer.tables["data"] = (
        ("images", "arm", "abs_rel", "low_patients", "high_patients", "target_val_abs_rel", "seeds_that_reach_it",
         "further_steps_to_it"), rows,
    )  # fmt: skip
    doubled = list(pairwise(counts))
    gains = []
    for half, whole in doubled:
        before, after = (arm.by_seed(LEAD, "abs_rel") for arm in (curves[whole].arms[0], curves[half].arms[1]))
        gains.append(statistics.reduction_test(before, after, curves[whole].units()))
    over = "patients" if len(curves[counts[0]].data["patients"]) > 1 else "views"
    for (half, whole), (d, _), p in zip(doubled, gains, statistics.holm([gain.p for gain in gains])):
        verdict = "undecided" if p >= 0.05 or not d.excludes_zero() else "holds" if d.low > 0 else "does not hold"
        answer.claims.append(
            f"{half} images with cinematic fine-tuning against {whole} without: {statistics.in_words(d)} "
            f"(interval over seeds and {over}): {verdict}."
        )
    _beside_baselines(answer, {f"views of unseen patients, {n} images": section for n, section in curves.items()})
    answer.figures["error against images"] = claim_figures.against_count(rows)
    return answer


def _in_families(titles: Sequence[str], claims: Sequence[Claim]) -> list[Claim]:
    """Holm's adjustment: the protocol's own tests are one family, datasets that were given another, so that to judge
    on one more changes no answer about the others."""
    given = [title.startswith(GIVEN) for title in titles]
    families = {kind: iter(in_family([c for c, g in zip(claims, given) if g == kind])) for kind in (False, True)}
    return [next(families[kind]) for kind in given]


def _beside_baselines(answer: Answer, sections: Mapping[str, Section]) -> None:
    """Adds, for every test and arm, what the baselines reach and whether the network reads shape."""
    judged = [(title, section, arm) for title, section in sections.items() for arm in section.arms]
    found = [section.shape(arm, LEAD) for _, section, arm in judged]
    told = iter(_in_families([t for (t, _, _), known in zip(judged, found) if known], [k for k in found if k]))
    rows: list[list[Any]] = []
    for (title, section, arm), known in zip(judged, found):
        for name, mean in section.without_network(arm, LEAD, "abs_rel").items():
            rows.append([title, arm.label, name, *mean, "", "", "", ""])
        row: list[Any] = [title, arm.label, "network", *section.mean(arm, LEAD, "abs_rel")]
        if known:
            shape = next(told)
            row += [*shape.gain, shape.verdict()]
            answer.claims.append(
                f"{title}, {arm.label}: {statistics.in_words(shape.gain)} than the lookup of its own training frames: "
                f"{shape.verdict()}."
            )
        rows.append(row + [""] * (10 - len(row)))
    answer.tables["baselines"] = (
        ("test", "arm", "judged", "abs_rel", "low", "high", "percent_below_lookup", "percent_low", "percent_high",
         "verdict"), rows,
    )  # fmt: skip


EXPERIMENTS: dict[str, Callable[[Study], Answer]] = {"adapt": adapt, "data": data, "variety": variety}


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


def _steps_to(run: Path, target: float) -> int | None:
    """Further steps after which validation first reached the target."""
    reached = (
        int(r["step"]) for r in log_of(run) if r["val_abs_rel_median"] and float(r["val_abs_rel_median"]) <= target
    )
    return next(reached, None)


def _short(arm: str) -> str:
    return {BASELINE: "baseline", LAST: "last-layer", FULL: "full"}[arm]


def tables_of(study: Study, info: dict[str, Any], answer: Answer) -> None:
    """Writes OUT/tables/*.csv, the protocol's fingerprint in every row."""
    for name, (header, rows) in answer.tables.items():
        write_csv(
            study.out / "tables" / f"{name}.csv", [*header, "preset", "protocol"],
            [[*row, info["preset"], info["protocol"]] for row in rows],
        )  # fmt: skip
