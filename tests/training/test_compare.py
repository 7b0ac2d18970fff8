"""Evaluations side by side: seeds are not averaged away, patients decide, claims of a page are counted together."""

from pathlib import Path

import numpy as np
import pytest

from training.compare import Difference, Evaluation, Section, in_family, sections
from training.statistics import Interval

ABOUT = {"abs_rel": {"unit": "", "higher_is_better": False}, "delta1": {"unit": "", "higher_is_better": True}}


def evaluation(label, seed, errors, patients, blind=None, metrics=ABOUT):
    """errors: (N,), of one view each, of the patients' names (N,)."""
    ids = [(f"{p}/{n:04d}/red", p, n) for n, p in enumerate(patients)]
    frames = [
        {"frame": i, "patient": p, "view": str(n), "protocol": "median", "abs_rel": str(e), "delta1": str(1 - e)}
        for (i, p, n), e in zip(ids, errors)
    ]
    lookup = [
        {"frame": i, "protocol": "median", "baseline": "lookup", "abs_rel": str(e), "delta1": str(1 - e)}
        for (i, _, _), e in zip(ids, [] if blind is None else blind)
    ]
    summary = {
        "label": label, "network": {"seed": seed}, "metrics": metrics,
        "data": {"sha256": "f", "title": "t", "patients": sorted(set(patients))},
        "protocols": {"median": {"parameters": {}}},
    }  # fmt: skip
    return Evaluation(Path(), summary, {}, frames, [], [], [], [], lookup)


PATIENTS = [f"p{k}" for k in range(8) for _ in range(10)]


def arms(shifts, before=(0.103, 0.118, 0.127), **settings) -> Section:
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 0.01, len(PATIENTS))
    found = [evaluation("plain", s, b + frames, PATIENTS, **settings) for s, b in enumerate(before)]
    for seed, shift in enumerate(shifts):
        errors = before[seed] + shift + frames + rng.normal(0, 0.005, len(frames))
        found.append(evaluation("tuned", seed, errors, PATIENTS, **settings))
    return sections(found)[0]


def test_a_loss_that_one_seed_makes_is_undecided():
    section = arms((0.037, -0.004, -0.002))
    difference = section.difference(section.arms[1], "median", "abs_rel")
    assert difference.verdict() == "undecided"
    assert all(not i.excludes_zero() for i in (difference.by_frame, difference.by_view, difference.by_patient))
    one = arms((0.037,))  # against three of the baseline: no pairs
    assert one.difference(one.arms[1], "median", "abs_rel").by_view.known()


def test_a_gain_in_every_seed_is_decided():
    section = arms((-0.024, -0.026, -0.025))
    difference = section.difference(section.arms[1], "median", "abs_rel")
    assert difference.verdict() == "better"
    assert section.difference(section.arms[1], "median", "delta1").by_frame.value == pytest.approx(2.5, abs=0.2)


def test_seeds_are_paired_by_their_number_not_by_their_place():
    section = arms((-0.024, -0.026, -0.025))
    turned = section.arms[1].evaluations[::-1]
    other = Section("", section.data, section.protocols, (section.arms[0], type(section.arms[1])("tuned", turned)))
    one, two = (s.difference(s.arms[1], "median", "abs_rel") for s in (section, other))
    assert one.by_patient == pytest.approx(two.by_patient)
    alone = arms((-0.024, -0.026, -0.025))
    for e in alone.arms[1].evaluations:
        e.summary["network"]["seed"] += 10  # other seeds: nothing cancels
    apart = alone.difference(alone.arms[1], "median", "abs_rel").by_patient
    assert apart.high - apart.low > 3 * (one.by_patient.high - one.by_patient.low)


def test_patients_decide_where_there_are_several():
    rng = np.random.default_rng(1)
    gains = np.repeat([0.05, 0.04, -0.01, -0.02], 20)  # two patients gain, two lose
    names = [f"p{k}" for k in range(4) for _ in range(20)]
    before = 0.1 + rng.normal(0, 0.005, 80)
    section = sections([evaluation("a", 0, before, names), evaluation("b", 0, before - gains, names)])[0]
    difference = section.difference(section.arms[1], "median", "abs_rel")
    assert difference.by_view.excludes_zero()
    assert not difference.by_patient.excludes_zero()
    assert difference.verdict() == "undecided"


def test_claims_of_a_page_are_adjusted_together():
    sure = Interval(10.0, 2.0, 18.0)
    claims = [Difference("abs_rel", sure, sure, None, p) for p in (0.001, 0.03, 0.02)]
    assert [c.verdict() for c in claims] == ["better"] * 3
    together = in_family(claims)
    assert [c.family_p for c in together] == pytest.approx([0.003, 0.04, 0.04])
    assert [c.verdict() for c in in_family(claims + claims)] == ["better", *["undecided"] * 2] * 2


def test_shape_is_read_against_each_trainings_own_lookup():
    section = arms((-0.09, -0.09, -0.09), blind=np.full(80, 0.115))
    plain, tuned = (section.shape(arm, "median") for arm in section.arms)
    assert plain.verdict() == "does not beat the lookup"
    assert tuned.verdict() == "reads shape"
    assert tuned.gain.value == pytest.approx(100 * (1 - section.arms[1].values("median", "abs_rel").mean() / 0.115))
    assert arms((0.0,)).shape(section.arms[0], "median") is not None
    assert arms((0.0,)).shape(arms((0.0,)).arms[0], "median") is None  # no lookup was judged


def test_metrics_that_only_newer_evaluations_have_are_left_out():
    old, new = evaluation("a", 0, [0.1, 0.2], ["p1", "p2"]), evaluation("b", 0, [0.1, 0.2], ["p1", "p2"])
    new.summary["metrics"] = {**ABOUT, "boundary_f1": ABOUT["delta1"]}
    assert list(sections([new, old])[0].metrics()) == ["abs_rel", "delta1"]
