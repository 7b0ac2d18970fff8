"""Whether several conditions for each view narrow the gap to unseen patients (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training import claim_figures, statistics
from training.claims import add_arms, best_lookup, shape
from training.data import FrameSet
from training.files import derive
from training.kept import Errors
from training.presets import KNOWN_LOOKS, NEW_LOOK
from training.statistics import Interval
from training.study import Answer, Key, Network, Plan, Rendered, Study

if TYPE_CHECKING:
    from jaxtyping import Float64

LOOKS = (*KNOWN_LOOKS, NEW_LOOK)
OWN, PARTNERS = "own appearance", "the partner's appearance"  # the tests
PARTNER = "partner"  # the variation of a patient's frames that wears the partner's appearance


def variety(study: Study, foreign: Sequence[str] = ()) -> Plan:
    """Several conditions for each view narrow the gap between patients that were trained on and others."""
    p, folds = study.preset, list(study.patients().values())
    partner = {a["alias"]: b["alias"] for one, other in (folds, folds[::-1]) for a, b in zip(one, other)}
    total, most = p.variety_views + p.unseen_views, max(p.conditions)
    learnt, left_out = places(p.variety_views, p.unseen_views)
    datasets = {}
    for who in (who for fold in folds for who in fold):
        worn = appearances(who["alias"], most) + [appearances(partner[who["alias"]], 1)[0] | {"name": PARTNER}]
        values = {"variations": worn, "splits": {"train": [who["alias"]]}}
        datasets[who["alias"]] = Rendered(f"variety-{who['alias']}", (who,), total, values)

    def training(fold: int, k: int) -> FrameSet:
        kept, names = set(learnt[::k]), {f"c{n + 1}" for n in range(k)}
        frames = [f for who in folds[fold] for f in study.frames(datasets[who["alias"]])]
        return FrameSet([f for f in frames if f.view in kept and f.variation in names])

    def tested(name: str) -> list[Any]:
        frames = [f for dataset in datasets.values() for f in study.frames(dataset)]
        return [f for f in frames if f.view in left_out and f.variation == name]

    networks: dict[Key, Network] = {}
    images = {}
    for fold in range(len(folds)):
        for k in p.conditions:
            images[f"fold {fold}, K = {k}"] = lambda fold=fold, k=k: training(fold, k)
            for name, setting in study.settings().items():
                networks[name, k, fold] = Network(
                    name, f"k{k}-fold{fold}", 0, f"fold {fold}, K = {k}", setting.variety_steps, (setting.rate,)
                )

    def answer(tables: Mapping[tuple[Key, str], Errors]) -> Answer:
        first = [who["alias"] for who in folds[0]]
        return variety_answer(tables, {name: s.title for name, s in study.settings().items()}, p.conditions, first)

    tests = {OWN: lambda: tested("c1"), PARTNERS: lambda: tested(PARTNER)}
    sizes = dict.fromkeys(tests, len(datasets) * p.unseen_views)
    return Plan(tuple(datasets.values()), images, tests, networks, sizes, answer, seen=True)


class Gaps(NamedTuple):
    """Errors (S, N) at one K of the networks to which patient and appearance are: new_new, seen_seen on the frames in
    the patients' own appearance, new_seen (a new patient in an appearance that was trained on), seen_new on those in
    the partner's."""

    new_new: Float64[np.ndarray, "S N"]
    seen_seen: Float64[np.ndarray, "S N"]
    new_seen: Float64[np.ndarray, "S N"]
    seen_new: Float64[np.ndarray, "S N"]

    def whole(self) -> Float64[np.ndarray, "S N"]:
        """New patient in a new appearance against both seen, frame by frame: a frame's difficulty cancels."""
        return self.new_new - self.seen_seen

    def geometry(self) -> Float64[np.ndarray, "S N"]:
        """What a new patient costs, whatever it wears."""
        return 0.5 * (self.whole() + self.new_seen - self.seen_new)

    def appearance(self) -> Float64[np.ndarray, "S N"]:
        """What a new appearance costs, whoever wears it."""
        return 0.5 * (self.whole() - self.new_seen + self.seen_new)


def gaps(tables: Mapping[tuple[Key, str], Errors], setting: str, k: int, first: Sequence[str]) -> Gaps:
    """first: patients of the first fold. Each frame is judged by both folds' networks: to one of them its patient is
    seen; in the partner's appearance a frame wears what the other has seen."""
    own, partners = ([tables[(setting, k, fold), test] for fold in (0, 1)] for test in (OWN, PARTNERS))
    if list(own[0].patients) != list(partners[0].patients):
        raise ValueError("both tests show the same patients from the same views")
    of_first = np.isin(own[0].patients, list(first))

    def split(pair: Sequence[Errors]) -> tuple[np.ndarray, np.ndarray]:
        a, b = (table.values for table in pair)
        return np.where(of_first, b, a), np.where(of_first, a, b)  # by the other fold's network, by the own

    return Gaps(*split(own), *split(partners))


COLUMNS = ("setting", "conditions") + tuple(
    f"{name}{limit}"
    for name in ("seen_seen", "seen_new", "new_seen", "new_new", "gap", "of_geometry", "of_appearance")
    for limit in ("", "_low", "_high")
)


def variety_answer(
    tables: Mapping[tuple[Key, str], Errors], titles: Mapping[str, str], conditions: Sequence[int], first: Sequence[str]
) -> Answer:
    """Of the errors by (setting, K, fold) and test. first: patients of the first fold. Columns name patient, then
    appearance."""
    answer = Answer()
    rows: list[list[Any]] = []
    for setting, title in titles.items():
        table = tables[(setting, conditions[0], 0), OWN]
        units = table.units()
        found = {k: gaps(tables, setting, k, first) for k in conditions}
        for k, g in found.items():
            cells = (g.seen_seen, g.seen_new, g.new_seen, g.new_new, g.whole(), g.geometry(), g.appearance())
            rows.append([setting, k, *(x for cell in cells for x in statistics.mean(cell, units))])
        few, many = conditions[0], conditions[-1]
        whole = statistics.mean(found[few].whole(), units)
        half = statistics.mean(found[many].whole() - 0.5 * found[few].whole(), units)
        known = shape(table._replace(values=found[few].new_new), best_lookup(tables, setting, OWN)).verdict()
        word = verdict(whole, half, few) if known == "reads shape" else f"is not tested: against the lookup: {known}"
        answer.claims.append(
            f"{title}: gap at K = {few}: {signed(whole)} of abs_rel (interval over seeds and {table.over()}); gap at "
            f"K = {many} less half of it: {signed(half)}. That the gap is at most half {word}."
        )
        lines = {
            label: [[k, *statistics.mean(table, units)] for k, table in ((k, pick(g)) for k, g in found.items())]
            for label, pick in (
                ("patient and appearance new (the gap)", Gaps.whole),
                ("a new patient", Gaps.geometry),
                ("a new appearance", Gaps.appearance),
            )
        }
        answer.figures[f"gap against conditions {title}"] = claim_figures.against_conditions(lines)
    answer.tables["variety"] = (COLUMNS, rows)
    add_arms(answer, tables, {key: f"K = {key[1]}, trained on fold {key[2] + 1}" for key, _ in tables})
    return answer


def verdict(whole: Interval, half: Interval, few: int) -> str:
    """Whether the gap is at most half. whole: at the smallest K; half: at the largest, less half of that."""
    if not whole.low > 0:  # one patient has no interval
        return f"is undecided, for at K = {few} there is no gap that excludes zero"
    return "holds" if half.high <= 0 else "does not hold" if half.low > 0 else "is undecided"


def places(learnt: int, left_out: int) -> tuple[list[int], set[int]]:
    """Views of a patient that may be trained on, and those that are left out; both all along the way."""
    total = learnt + left_out
    apart = {(2 * n + 1) * total // (2 * left_out) for n in range(left_out)}
    return [v for v in range(total) if v not in apart], apart


def appearances(alias: str, count: int) -> list[dict[str, Any]]:
    """Conditions c1, c2, … of a patient: tissue of a look, gloss, mottling, beam and a camera of its own; c1 is the
    patient's own.

    Drawn from the alias: no two patients have one appearance, and looks take turns.
    """
    number, found = int(alias.lstrip("p")), []
    for n in range(count):
        rng = np.random.default_rng(derive("appearance", alias, n))

        def draw(low: float, high: float, rng: np.random.Generator = rng) -> float:
            return round(float(rng.uniform(low, high)), 4)

        response = {
            "white_balance": [draw(0.75, 1.3) for _ in range(3)],
            "target": draw(80, 170),
            "contrast": draw(1.2, 2.0),
        }
        found.append(
            {
                "name": f"c{n + 1}",
                "look": LOOKS[(number + n) % len(LOOKS)],
                "tissue": {"roughness": draw(0.05, 0.25), "specular": draw(0.4, 0.9)},
                "light": {"mu": draw(0.0, 3.0)},
                "mucosa": {"redness": draw(0.1, 0.6), "mottling": draw(0.1, 0.6)},
                "response": response,
            }
        )
    return found


def signed(i: Interval) -> str:
    """`+0.0123 [-0.0010, +0.0256]`."""
    limits = f"[{i.low:+.4f}, {i.high:+.4f}]" if i.known() else "(one patient: no interval)"
    return f"{i.value:+.4f} {limits}"
