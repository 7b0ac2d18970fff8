"""The arithmetic of every claim, on tables of errors with an effect that was built in."""

from math import inf, log

import numpy as np
import pytest

from endorender.errors import UserError
from training.claims import compared
from training.experiments import adapt_answer
from training.kept import Errors
from training.label_efficiency import data_answer, in_words, needed, reached, verdict
from training.presets import ARMS
from training.statistics import Interval
from training.variety import OWN, PARTNERS, gaps, variety_answer

SEEDS, PATIENTS, VIEWS = 5, 12, 8
TITLES = {"today": "as one would today"}
TESTS = ("unseen patients", "shipped airway")


class World:
    """Frames of some difficulty, seeds of some luck: what arms have in common, and cancels where they are paired."""

    def __init__(self, seed=0, spread=0.02):
        self.rng = np.random.default_rng(seed)
        self.patients = [f"p{n:03d}" for n in range(PATIENTS) for _ in range(VIEWS)]
        self.frames = [f"{p}/{k % VIEWS:04d}/c1" for k, p in enumerate(self.patients)]
        of_patient = self.rng.normal(0, spread, PATIENTS).repeat(VIEWS)
        self.difficulty = of_patient + self.rng.normal(0, spread, len(self.frames))
        self.luck = self.rng.normal(0, 0.002, (SEEDS, 1))

    def table(self, error, lookup=0.2, noise=0.002):
        values = np.exp(self.difficulty) * (error + self.luck) + self.rng.normal(0, noise, (SEEDS, len(self.frames)))
        blind = np.broadcast_to(lookup * np.exp(self.difficulty), values.shape)
        return Errors(values, {"constant": 2 * blind, "lookup": blind}, self.frames, self.patients)


def adapted(errors, test=TESTS[0], **more):
    """Tables of all arms on a test: `errors` by arm, 0.1 otherwise."""
    world = World()
    return {(("today", arm), test): world.table(errors.get(arm, 0.1), **more) for arm in ARMS}


def by_title(claims):
    return {c.comparison.title: c for c in claims}


def test_a_gain_that_was_built_in_is_found_and_what_was_not_is_undecided():
    found = by_title(compared(adapted({"toned": 0.1, "drawn": 0.08, "last": 0.1, "all": 0.12}), ["today"], TESTS[:1]))
    assert found["path tracing"].gain.value == pytest.approx(20, abs=1.5)
    assert found["path tracing"].gain.low < 20 < found["path tracing"].gain.high
    assert found["path tracing"].verdict() == "better"
    assert found["fine-tuning, all layers"].gain.value == pytest.approx(-20, abs=1.5)
    assert found["fine-tuning, all layers"].verdict() == "worse"
    assert found["fine-tuning, last layer"].verdict() == "undecided"
    assert found["from scratch"].verdict() == "told, not tested"


def test_no_claim_is_tested_of_an_arm_that_does_not_read_shape():
    """30 % below the lookup opens the gate, 20 % and 25 % do not; the bar is the best lookup of any arm."""
    for error, lookup, opened in ((0.07, 0.1, True), (0.08, 0.1, False), (0.075, 0.1, False)):
        found = by_title(compared(adapted({"drawn": error}, lookup=lookup), ["today"], TESTS[:1]))["path tracing"]
        assert found.open() == opened
        assert found.verdict() == ("better" if opened else found.verdict())
        assert opened or found.verdict().startswith("not tested: against the lookup it")
    tables = adapted({"drawn": 0.07}, lookup=0.1)
    key = ("today", "plain"), TESTS[0]
    tables[key] = tables[key]._replace(blind={"lookup": 0.8 * tables[key].lookup})
    assert not by_title(compared(tables, ["today"], TESTS[:1]))["path tracing"].open()


def test_claims_are_adjusted_for_those_that_are_tested_with_them_and_foreign_data_change_none():
    weak = {"drawn": 0.0985}
    own = adapted(weak) | adapted(weak, TESTS[1])
    claims = compared(own, ["today"], TESTS)
    tested = [c for c in claims if c.family_p is not None]
    assert len(tested) == 6  # three comparisons on two tests
    assert min(c.family_p for c in tested) == pytest.approx(min(1, 6 * min(c.p for c in tested)))
    more = compared(own | adapted({}, "foreign mitsuba"), ["today"], (*TESTS, "foreign mitsuba"))
    assert more[: len(claims)] == claims
    assert sum(c.family_p is not None for c in more) == 9
    shut = own | adapted(weak, TESTS[1], lookup=0.05)  # one test whose gate is shut: a family of three
    assert sum(c.family_p is not None for c in compared(shut, ["today"], TESTS)) == 3


def test_the_answer_tells_every_arm_on_every_test_beside_what_needs_no_network():
    tables = adapted({"drawn": 0.07}) | adapted({}, "foreign cycles")
    answer = adapt_answer(tables, TITLES)
    rows = answer.tables["arms"][1]
    assert [r[2] for r in rows[: len(ARMS)]] == [a.title for a in ARMS.values()]
    assert [r[2] for r in rows[len(ARMS) : len(ARMS) + 2]] == [
        "without a network: constant",
        "without a network: lookup",
    ]
    assert {r[1] for r in rows} == {TESTS[0], "foreign cycles"}
    paper = {(r[1], r[2]): r[-1] for r in answer.tables["claims"][1]}
    assert paper["foreign cycles", "fine-tuning, all layers"] == 27.49
    assert paper[TESTS[0], "fine-tuning, all layers"] == 56.87
    assert paper[TESTS[0], "path tracing"] == ""
    assert any("path tracing: 30" in c and c.endswith("better.") for c in answer.claims)
    assert len(answer.figures) == 2


def test_learning_curves_are_drawn_from_what_was_kept_and_called_flat_or_falling():
    tables = adapted({})
    for arm, fall in (("plain", 0.0), ("all", 0.4)):
        logs = [
            [{"step": str(s), "val_abs_rel_median": str((0.2 + 1e-5 * seed) * (1 - fall * s / 20))} for s in range(21)]
            for seed in range(SEEDS)
        ]
        key = ("today", arm), TESTS[0]
        tables[key] = tables[key]._replace(logs=logs)
    answer = adapt_answer(tables, TITLES)
    rows = {r[1]: r[-1] for r in answer.tables["learning curves"][1]}
    assert rows == {ARMS["plain"].title: "flat", ARMS["all"].title: "still falling"}
    assert "learning curves as one would today" in answer.figures


COUNTS = (75, 150, 300, 600, 1200)


def falling(world, factor=1.0, floor=0.0):
    """Errors that fall with the logarithm of the number of images as if there were `factor` times as many."""
    return [world.table(max(floor, 0.30 - 0.03 * log(factor * n)), lookup=0.5) for n in COUNTS]


def test_a_number_between_those_tried_is_interpolated_in_its_logarithm():
    curve = np.array([[0.3, 0.2, 0.1], [0.3, 0.3, 0.25], [0.1, 0.05, 0.0]])
    found = reached(curve, (100, 200, 400), np.array([0.15, 0.15, 0.15]))
    assert found == pytest.approx([np.sqrt(200 * 400), inf, 100])
    assert reached(curve[:1], (100, 200, 400), np.array([0.2])) == pytest.approx([200])


def test_an_arm_that_needs_a_third_of_the_images_is_found_to():
    world = World()
    curves = {arm: falling(world, f) for arm, f in (("plain", 1), ("all", 3), ("drawn", 100), ("toned", 0.5))}
    found = needed({arm: [t.values for t in tables] for arm, tables in curves.items()}, COUNTS, world.patients)
    assert found["plain"].number.value == 1200
    assert found["plain"].share == Interval(1, 1, 1)
    assert found["all"].share.value == pytest.approx(1 / 3, rel=0.1)
    assert found["all"].share.low < 1 / 3 < found["all"].share.high
    assert found["all"].share.high < 0.5
    assert verdict(found["all"].share) == "holds"
    assert found["drawn"].number == Interval(75, 75, 75)  # from the beginning: no more is known
    assert in_words(found["drawn"].number, COUNTS) == "75 or fewer [75 or fewer, 75 or fewer]"
    assert found["toned"].number.value == inf
    assert verdict(found["toned"].share) == "does not hold"
    assert "more than 1200" in in_words(found["toned"].number, COUNTS)
    assert verdict(Interval(0.4, 0.3, inf)) == "undecided"


@pytest.mark.slow
def test_the_interval_of_the_number_covers_the_truth():
    """Drawn anew 60 times with five seeds and twelve patients: the truth is a share of 0.4."""
    hits = 0
    for n in range(60):
        world = World(n, spread=0.05)
        curves = {}
        for arm, factor in (("plain", 1), ("all", 2.5)):  # each training has a luck of its own
            world.luck = world.rng.normal(0, 0.004, (SEEDS, 1))
            curves[arm] = [t.values for t in falling(world, factor)]
        share = needed(curves, COUNTS, world.patients)["all"].share
        hits += share.low <= 0.4 <= share.high
    assert hits >= 54


def test_the_answer_of_data_says_whether_half_suffice_for_one_arm_on_one_test():
    world = World()
    tables = {}
    for arm, factor in (("plain", 1), ("toned", 1), ("all", 3), ("drawn", 3)):
        tables |= {(("today", arm, n), t): e for t in TESTS for n, e in zip(COUNTS, falling(world, factor))}
    answer = data_answer(tables, TITLES, COUNTS)
    rows = answer.tables["label efficiency"][1]
    words = [(r[1], r[2], r[-1]) for r in rows if r[-1] != "told, not tested"]
    assert words == [(TESTS[0], ARMS["all"].title, "holds")]
    assert answer.claims[0].endswith("That half suffice: holds.")
    blind = {key: e._replace(blind={"lookup": 0.1 * e.lookup}) for key, e in tables.items()}
    assert "not tested" in data_answer(blind, TITLES, COUNTS).claims[0]


def crossed(geometry, appearance, spread=0.3):
    """Tables of swapped folds at K = 1, 2, 4. geometry, appearance: what is added at each K for what is new. Frames
    differ far more in difficulty than by that, those of the second fold most."""
    world = World(3, spread=0.02)
    first = sorted(set(world.patients))[: PATIENTS // 2]
    of_first = np.isin(world.patients, first)
    hard = {test: world.rng.uniform(0.1, 0.1 + spread, len(world.frames)) + 0.2 * ~of_first for test in (OWN, PARTNERS)}
    tables = {}
    for k in geometry:
        for fold in (0, 1):
            for test in (OWN, PARTNERS):
                new = of_first == (fold == 1)  # to this fold's networks
                worn_new = new if test == OWN else ~new
                error = hard[test] + geometry[k] * new + appearance[k] * worn_new
                values = (
                    error + world.rng.normal(0, 0.004, (SEEDS, len(error))) + world.rng.normal(0, 0.001, (SEEDS, 1))
                )
                blind = {"lookup": np.full_like(values, 2.0)}
                tables[("today", k, fold), test] = Errors(values, blind, world.frames, world.patients)
    return tables, first


def test_what_is_new_is_told_apart_from_what_is_hard():
    tables, first = crossed({1: 0.02, 2: 0.02, 4: 0.02}, {1: 0.05, 2: 0.03, 4: 0.0})
    for k, appearance in ((1, 0.05), (2, 0.03), (4, 0.0)):
        found = gaps(tables, "today", k, first)
        assert found.whole().mean() == pytest.approx(0.02 + appearance, abs=0.002)
        assert found.geometry().mean() == pytest.approx(0.02, abs=0.002)
        assert found.appearance().mean() == pytest.approx(appearance, abs=0.002)
        assert (found.new_seen - found.seen_new).mean() == pytest.approx(0.02 - appearance, abs=0.002)


@pytest.mark.parametrize(
    ("geometry", "appearance", "word"),
    [
        ({1: 0.0, 4: 0.0}, {1: 0.05, 4: 0.01}, "holds"),
        ({1: 0.0, 4: 0.0}, {1: 0.05, 4: 0.045}, "does not hold"),
        ({1: 0.0, 4: 0.0}, {1: 0.0, 4: 0.0}, "is undecided, for at K = 1 there is no gap that excludes zero"),
        ({1: 0.0, 4: 0.0}, {1: 0.05, 4: 0.025}, "is undecided"),
    ],
)
def test_the_gap_is_halved_or_not(geometry, appearance, word):
    tables, first = crossed(geometry, appearance)
    answer = variety_answer(tables, TITLES, (1, 4), first)
    assert answer.claims[0].endswith(f"That the gap is at most half {word}.")
    header, rows = answer.tables["variety"]
    row = dict(zip(header, rows[0]))
    assert row["gap"] == pytest.approx(appearance[1] + geometry[1], abs=0.002)
    assert row["gap"] == pytest.approx(row["new_new"] - row["seen_seen"])
    assert row["of_geometry"] + row["of_appearance"] == pytest.approx(row["gap"])
    assert list(answer.figures) == ["gap against conditions as one would today"]


def test_tables_of_different_frames_are_not_put_together(tmp_path):
    from training.files import write_json
    from training.kept import gathered

    table = {
        "data": "a",
        "frames": ["p1/0000/c1"],
        "patients": ["p1"],
        "abs_rel": [0.1],
        "baselines": {"lookup": [0.2]},
    }
    write_json(tmp_path / "0.json", table)
    write_json(tmp_path / "1.json", table | {"data": "b"})
    with pytest.raises(UserError, match="different frames"):
        gathered([tmp_path / "0.json", tmp_path / "1.json"])
    write_json(tmp_path / "1.json", {"data": "a"})
    with pytest.raises(UserError, match="no whole tables"):
        gathered([tmp_path / "0.json", tmp_path / "1.json"])
    write_json(tmp_path / "1.json", table | {"abs_rel": [0.3]})
    assert gathered([tmp_path / "0.json", tmp_path / "1.json"]).values.tolist() == [[0.1], [0.3]]
