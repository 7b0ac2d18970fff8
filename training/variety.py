"""Whether several conditions for each view narrow the gap to unseen patients (docs/protocol.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from training import claim_figures, statistics
from training.compare import Arm, Section
from training.data import FrameSet
from training.statistics import Interval
from training.study import LEAD, LOOKS, Answer, Study


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
    learnt, left_out = places(p.variety_views, p.unseen_views)
    seen = [f for f in own["train"] if f.view in left_out]
    judged = {"unseen patients": own["test"], "seen patients, other views": seen}
    found: dict[str, dict[int, Arm]] = {title: {} for title in judged}
    tables: dict[str, Section] = {}
    for k in p.conditions:
        chosen = {f"c{n + 1}" for n in range(k)}
        kept = set(learnt[::k])
        train = [f for fs in frames["train"].values() for f in fs if f.variation in chosen and f.view in kept]
        sets = FrameSet(train, own["val"])
        runs = [study.train(f"variety-k{k}-seed{s}", sets, seed=s, learning_rate=p.rate) for s in range(p.seeds)]
        for title, test in judged.items():
            tables[title] = study.section(test, title, {f"K = {k}": runs})
            found[title][k] = tables[title].arms[0]
    unseen, known = (found[title] for title in judged)
    units = [tables[title].column("patient") for title in judged]
    errors = {k: (unseen[k].by_seed(LEAD, "abs_rel"), known[k].by_seed(LEAD, "abs_rel")) for k in p.conditions}
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
    if not whole.low > 0:  # one patient has no interval
        verdict = f"is undecided, for at K = {first} there is no gap that excludes zero"
    answer.claims.append(
        f"Gap at K = {first}: {_signed(whole)} of abs_rel (interval over seeds and patients). "
        f"Gap at K = {last} less half of it: {_signed(half)}. That the gap is at most half {verdict}."
    )
    answer.figures["gap against conditions"] = claim_figures.against_conditions(rows)
    return answer


def places(learnt: int, left_out: int) -> tuple[list[int], set[int]]:
    """Views of a training patient that may be trained on, and those that are left out; both all along the way."""
    total = learnt + left_out
    apart = {(2 * n + 1) * total // (2 * left_out) for n in range(left_out)}
    return [v for v in range(total) if v not in apart], apart


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


def _signed(i: Interval) -> str:
    limits = f"[{i.low:+.4f}, {i.high:+.4f}]" if i.known() else "(one patient: no interval)"
    return f"{i.value:+.4f} {limits}"
