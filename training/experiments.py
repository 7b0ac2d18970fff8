"""The paper's three claims and one of ours, each an experiment under a protocol fixed beforehand (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from endorender.dataset.variation import PLAIN as SYNTHETIC_ALONE
from endorender.dataset.variation import RANDOMIZED, SYNTHETIC, Variation
from endorender.errors import UserError, unknown
from training import claim_figures
from training.claims import add_arms, add_claims, add_curves, compared
from training.data import FrameSet
from training.files import Progress
from training.kept import Errors
from training.label_efficiency import data_answer
from training.presets import (
    ARMS,
    CAMERA,
    COMPARISONS,
    DATA_ARMS,
    KNOWN_LOOKS,
    MIX_ARMS,
    MIX_COMPARISONS,
    NEW_LOOK,
    PRESETS,
    ArmSpec,
    Comparison,
    Setting,
    preset_of,
)
from training.study import GIVEN, PHANTOMS, Answer, Key, Network, Plan, Rendered, Stage, Study, begin
from training.study_parts import errors, work
from training.variety import variety

Until = Literal["render", "train", "evaluate", "answer"]
UNSEEN = "unseen patients"  # in looks that networks are trained on
UNSEEN_LOOK = "unseen patients in an unseen look"
AIRWAY = "shipped airway"
OWN_TISSUE = "unseen patients, a tissue for each view"
PLAIN = "unseen patients in plain pictures"


def experiment(
    name: str,
    out: str | Path,
    preset: str = "small",
    stage: Stage | None = None,
    cts: Sequence[str] = (),
    foreign: Mapping[str, str | Path] | None = None,
    device: str = "cpu",
    data: str | Path | None = None,
    settings: Sequence[str] = (),
    seeds: Sequence[int] = (),
    until: Until = "answer",
    workers: int | None = None,
) -> Path | None:
    """Runs one of EXPERIMENTS, or a part of it, and returns its page, or None while networks are still to be judged.

    A repeated call goes on where the last one stopped; nothing that is no longer needed is rendered or trained.
    cts: CTs instead of the preset's phantoms. foreign: name -> dataset to judge on too. stage: title -> a context that
    gives that stage's progress. device: what renders and trains. data: where frames are rendered to, OUT/data by
    default; `adapt` and `data` can share it. settings, seeds: only these; until: no further than this. workers:
    processes that render.

    Errors (UserError): an unknown name, a folder with something else or with another experiment.
    """
    if until not in get_args(Until):
        raise UserError(unknown("stage", until, get_args(Until)), "UNKNOWN_NAME")
    study, info, plan = prepared(name, out, preset, stage, cts, foreign, device, data, settings, seeds, workers)
    if work(study, plan, until, settings, seeds) or until != "answer":
        return None
    from training.experiment_page import write_answer

    return write_answer(study, info, plan.answer(errors(study, plan)), EXPERIMENTS[name].__doc__ or "")


def prepared(
    name: str,
    out: str | Path,
    preset: str,
    stage: Stage | None = None,
    cts: Sequence[str] = (),
    foreign: Mapping[str, str | Path] | None = None,
    device: str = "cpu",
    data: str | Path | None = None,
    settings: Sequence[str] = (),
    seeds: Sequence[int] = (),
    workers: int | None = None,
    write: bool = True,
) -> tuple[Study, dict[str, Any], Plan]:
    """The study in its folder, what its experiment.json says, and what is to be done. Arguments as of `experiment`.
    write: that file."""
    for what, given, known in (("experiment", name, EXPERIMENTS), ("preset", preset, PRESETS)):
        if given not in known:
            raise UserError(unknown(what, given, known), "UNKNOWN_NAME")
    out, chosen = Path(out), preset_of(name, preset)
    for setting in settings:
        if setting not in chosen.settings_of(name):
            raise UserError(unknown("setting", setting, chosen.settings_of(name)), "UNKNOWN_NAME")
    if seeds and not set(seeds) <= set(range(chosen.seeds)):
        raise UserError(f"the seeds of {preset} are 0 to {chosen.seeds - 1}")
    named = {key: str(path) for key, path in (foreign or {}).items()}
    where = Path(data) if data is not None else out / "data"
    study = Study(out, name, chosen, where, stage or _silent, tuple(cts), named, device, workers)
    info = begin(study, preset, write)
    return study, info, EXPERIMENTS[name](study, info["foreign"])


def _silent(title: str) -> Any:
    from contextlib import nullcontext

    nothing: Progress = lambda done, total, text: None  # noqa: E731
    return nullcontext(nothing)


def adapt(study: Study, foreign: Sequence[str] = ()) -> Plan:
    """Fine-tuning on cinematic images lowers the error on views of patients never seen, and on foreign data."""
    networks: dict[Key, Network] = {}
    for name, setting in study.settings().items():
        found = arms_of(name, setting, ARMS, first="much plain")
        networks |= {(name, arm): network for arm, network in found.items()}
    plain = _many_plain(study)

    def answer(tables: Mapping[tuple[Key, str], Errors]) -> Answer:
        return adapt_answer(tables, {name: s.title for name, s in study.settings().items()})

    plan = _on_both(study, networks, "cinematic", answer, foreign)

    def first() -> FrameSet:
        frames = [f for f in study.frames(plain) if f.variation == "synthetic"]
        return FrameSet(frames, plan.images["plain"]().val)

    return replace(plan, datasets=(plain, *plan.datasets), images={**plan.images, "much plain": first})


def _many_plain(study: Study) -> Rendered:
    """Views of phantoms that are seen in plain pictures alone."""
    many, views = study.preset.plain
    aliases = [f"q{n:03d}" for n in range(1, many + 1)]
    patients = tuple(
        {"ct": f"phantom:{PHANTOMS['plain alone'] + n}", "alias": alias} for n, alias in enumerate(aliases, 1)
    )
    return Rendered("plain", patients, views, {"preset": "synthetic", "splits": {"train": aliases}})


def data(study: Study, foreign: Sequence[str] = ()) -> Plan:
    """With cinematic fine-tuning, half the images suffice."""
    networks: dict[Key, Network] = {}
    wanted = {arm: ARMS[arm] for arm in DATA_ARMS}
    for name, setting in study.settings().items():
        for count in study.preset.counts:
            found = arms_of(name, setting, wanted, count)
            networks |= {(name, arm, count): network for arm, network in found.items()}

    def answer(tables: Mapping[tuple[Key, str], Errors]) -> Answer:
        return data_answer(tables, {name: s.title for name, s in study.settings().items()}, study.preset.counts)

    return _on_both(study, networks, "cinematic in turn", answer, foreign)


def arms_of(
    name: str, setting: Setting, arms: Mapping[str, Any], count: int | None = None, first: str = "plain"
) -> dict[str, Network]:
    """The arms' networks in a setting, of the first seed: as many steps in each, at the same viewpoints. first: the
    images that are trained on before."""
    suffix = "" if count is None else f"-{count}"
    before = setting.steps if count is None else setting.data_steps
    base = Network(name, f"base{suffix}", 0, first, before, (setting.rate,), count)
    found: dict[str, Network] = {}
    for arm, spec in arms.items():
        if spec.mean_of:
            found[arm] = Network(name, f"{arm}{suffix}", 0, mean_of=tuple(found[one] for one in spec.mean_of))
            continue
        steps = setting.further_steps + (0 if spec.after_plain else before)
        found[arm] = Network(
            name, f"{arm}{suffix}", 0, spec.images, steps, setting.rates, count, base if spec.after_plain else None,
            setting.last if spec.part == "last" else "full", spec.drawn, "tissue" if spec.images == "plain" else "",
        )  # fmt: skip
    return found


def _on_both(
    study: Study,
    networks: Mapping[Key, Network],
    cinematic: str,
    answer: Callable[[Any], Answer],
    foreign: Sequence[str],
) -> Plan:
    """Plain and cinematic frames of the same viewpoints, and the tests. cinematic: the set that stands for it."""
    p, people = study.preset, study.patients()
    splits = {name: [who["alias"] for who in members] for name, members in people.items()}
    learners = {name: splits[name] for name in ("train", "val")}
    learn = Rendered("learn", tuple(people["train"] + people["val"]), p.views, {"splits": learners})
    test = Rendered("test", tuple(people["test"]), p.test_views, {"splits": {"test": splits["test"]}})
    airway = _airway(study)

    def images(kind: str) -> FrameSet:
        frames = study.frames(learn)
        val = [f for f in frames if f.patient in splits["val"] and f.variation in KNOWN_LOOKS]
        train = [f for f in frames if f.patient in splits["train"]]
        if kind == "cinematic in turn":
            turn = {alias: n for n, alias in enumerate(splits["train"])}
            known = len(KNOWN_LOOKS)
            return FrameSet([f for f in train if f.variation == KNOWN_LOOKS[(turn[f.patient] + f.view) % known]], val)
        looks = ("synthetic",) if kind == "plain" else KNOWN_LOOKS
        return FrameSet([f for f in train if f.variation in looks], val)

    seen_in = partial(_seen_in, study)
    tests: dict[str, Callable[[], Sequence[Any]]] = {
        UNSEEN: partial(seen_in, test, KNOWN_LOOKS),
        UNSEEN_LOOK: partial(seen_in, test, (NEW_LOOK,)),
        AIRWAY: partial(seen_in, airway, KNOWN_LOOKS),
    }
    tests |= {GIVEN + name: partial(study.given, name) for name in foreign}
    sets = {"plain": partial(images, "plain"), "cinematic": partial(images, cinematic)}
    shown = len(splits["test"]) * p.test_views
    sizes = {UNSEEN: len(KNOWN_LOOKS) * shown, UNSEEN_LOOK: shown, AIRWAY: len(KNOWN_LOOKS) * p.airway_views}
    return Plan((learn, test, airway), sets, tests, networks, sizes, answer)


def _airway(study: Study) -> Rendered:
    who = {"ct": "sample", "alias": "airway"}
    return Rendered("airway", (who,), study.preset.airway_views, {"splits": {"test": ["airway"]}})


def _seen_in(study: Study, dataset: Rendered, looks: Sequence[str]) -> list[Any]:
    return [f for f in study.frames(dataset) if f.variation in looks]


def mix(study: Study, foreign: Sequence[str] = ()) -> Plan:
    """Path-traced pictures beside plain ones, from the first step on, lower the error."""
    p, more, people = study.preset, study.preset.mix, study.patients()
    assert more is not None
    splits = {name: [who["alias"] for who in members] for name, members in people.items()}
    plain, airway = _many_plain(study), _airway(study)
    own = Rendered(
        "tissues", tuple(people["own tissues"] + people["val"]), more.tissues[1],
        {"preset": "training", "camera": CAMERA, "splits": {"train": splits["own tissues"], "val": splits["val"]}},
    )  # fmt: skip
    shown = [SYNTHETIC_ALONE, RANDOMIZED, Variation(name=NEW_LOOK, look=NEW_LOOK)]
    columns = [variation.model_dump(mode="json", exclude_unset=True) for variation in shown]
    test = Rendered(
        "mix-test", tuple(people["unseen"]), more.tests[1],
        {"variations": columns, "splits": {"test": splits["unseen"]}},
    )  # fmt: skip

    def images(traced: bool) -> FrameSet:
        grey, coloured = (_seen_in(study, own, (name,)) for name in (SYNTHETIC, RANDOMIZED.name))
        train = _seen_in(study, plain, (SYNTHETIC,)) + [f for f in grey if f.patient in splits["own tissues"]]
        if traced:
            train += [f for f in coloured if f.patient in splits["own tissues"]] * more.times
        return FrameSet(train, [f for f in coloured if f.patient in splits["val"]])

    networks: dict[Key, Network] = {}
    for name, setting in study.settings().items():
        for arm in MIX_ARMS:
            networks[name, arm] = Network(
                name, arm, 0, arm, setting.steps, (setting.rate,), drawn=True, tints="grey to red"
            )
    tests: dict[str, Callable[[], Sequence[Any]]] = {
        OWN_TISSUE: partial(_seen_in, study, test, (RANDOMIZED.name,)),
        UNSEEN_LOOK: partial(_seen_in, study, test, (NEW_LOOK,)),
        PLAIN: partial(_seen_in, study, test, (SYNTHETIC,)),
        AIRWAY: partial(_seen_in, study, airway, KNOWN_LOOKS),
    }
    sizes = dict.fromkeys(tests, len(splits["unseen"]) * more.tests[1]) | {AIRWAY: len(KNOWN_LOOKS) * p.airway_views}
    tests |= {GIVEN + given: partial(study.given, given) for given in foreign}

    def answer(tables: Mapping[tuple[Key, str], Errors]) -> Answer:
        titles = {name: setting.title for name, setting in study.settings().items()}
        return adapt_answer(tables, titles, MIX_ARMS, MIX_COMPARISONS)

    sets = {arm: partial(images, spec.images == "both") for arm, spec in MIX_ARMS.items()}
    return Plan((plain, own, test, airway), sets, tests, networks, sizes, answer)


def adapt_answer(
    tables: Mapping[tuple[Key, str], Errors],
    titles: Mapping[str, str],
    specs: Mapping[str, ArmSpec] = ARMS,
    comparisons: Sequence[Comparison] = COMPARISONS,
) -> Answer:
    """Of the errors by (setting, arm) and test. titles: of the settings. specs: the arms."""
    answer, tests = Answer(), list(dict.fromkeys(test for _, test in tables))
    claims = compared(tables, list(titles), tests, comparisons)
    add_claims(answer, claims, tables, titles, specs)
    add_arms(answer, tables, {key: specs[key[1]].title for key, _ in tables})
    add_curves(answer, tables, tests[0], titles, specs)
    for setting, title in titles.items():
        answer.figures[f"gains {title}"] = claim_figures.gains([c for c in claims if c.setting == setting])
        answer.figures[f"arms {title}"] = claim_figures.arms([r for r in answer.tables["arms"][1] if r[0] == setting])
    return answer


EXPERIMENTS: dict[str, Callable[..., Plan]] = {"adapt": adapt, "data": data, "variety": variety, "mix": mix}
