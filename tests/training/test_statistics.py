"""Intervals that cover what they claim to cover."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import t

from training import statistics


def test_the_estimates_are_exact_and_the_draws_repeatable():
    before, after = [1.0, 2.0, 3.0, 2.0], [0.5, 1.0, 2.5, 1.0]
    assert statistics.mean(before).value == pytest.approx(2)
    assert statistics.reduction(before, after).value == pytest.approx(100 * (8 - 5) / 8)
    assert statistics.reduction(after, before).value == pytest.approx(-60)
    assert statistics.mean(before) == statistics.mean(before)


def test_equal_values_leave_no_doubt_and_one_value_no_width():
    assert statistics.mean([3.0] * 9) == pytest.approx((3, 3, 3))
    assert statistics.reduction([2.0, 4.0], [1.0, 2.0]) == pytest.approx((50, 50, 50))


def test_one_unit_says_nothing_of_others():
    for found in (
        statistics.mean([7.0]),
        statistics.mean([6.0, 8.0], ["a", "a"]),
        statistics.reduction([2.0, 4.0], [1.0, 2.0], ["a", "a"]),
        statistics.gap([3.0, 4.0], [1.0]),
    ):
        assert not found.known()
        assert not found.excludes_zero()
    assert statistics.mean([7.0]).plain() == [7, None, None]


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ((3.2, 1.0, 5.04), "3.2 % less error [1.0, 5.0]"),
        ((-3.2, -5.0, 1.0), "3.2 % more error [-1.0, 5.0]"),
        ((-3.2, float("nan"), float("nan")), "3.2 % more error (one unit: no interval)"),
    ],
)
def test_what_was_saved_is_said_in_words(saved, words):
    assert statistics.in_words(statistics.Interval(*saved)) == words


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = statistics.mean(rng.normal(5, 2, 40))
        hits += found.low <= 5 <= found.high
    assert 178 <= hits <= 199  # 95 % of 200, less the bootstrap's small-sample optimism


def test_few_values_have_students_interval():
    values = [3.0, 5.0, 4.0, 8.0]
    reach = t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    assert statistics.mean(values) == pytest.approx((5, 5 - reach, 5 + reach))
    assert statistics.mean([3, 3, 5, 5, 4, 4, 8, 8], list("aabbccdd")) == pytest.approx((5, 5 - reach, 5 + reach))


def test_seeds_are_in_the_interval():
    # Three seeds that differ, on frames that do not: all the doubt is of seeds, with two degrees of freedom.
    table = np.repeat([[0.9], [1.0], [1.2]], 40, axis=1)
    reach = t.ppf(0.975, 2) * np.std([0.9, 1.0, 1.2], ddof=1) / sqrt(3)
    value = np.mean([0.9, 1.0, 1.2])
    assert statistics.mean(table) == pytest.approx((value, value - reach, value + reach))
    # Both factors: their variances add, and t is the mean of the factors' quantiles, weighted by these.
    seeds, patients = np.array([0.1, -0.3, 0.2]), np.array([0.5, -0.5, 0.1, -0.1])
    parts = np.array([np.var(seeds, ddof=1) / 3, np.var(patients, ddof=1) / 4])
    reach = (parts @ t.ppf(0.975, [2, 3])) / parts.sum() * sqrt(parts.sum())
    assert statistics.mean(2 + seeds[:, None] + patients) == pytest.approx((2, 2 - reach, 2 + reach))


def test_a_gain_that_one_seed_makes_is_undecided():
    """Differences of +.037, -.004 and -.002 by seed: averaged first, their sign looked decided over 80 views."""
    rng = np.random.default_rng(5)
    views = rng.normal(0, 0.02, 80)
    before = np.array([[0.103], [0.118], [0.127]]) + views
    after = before + np.array([[0.037], [-0.004], [-0.002]]) + rng.normal(0, 0.01, (3, 80))
    assert statistics.reduction(before.mean(0), after.mean(0)).excludes_zero()
    found = statistics.reduction_test(before, after)
    assert not found.interval.excludes_zero()
    assert found.p > 0.3


def crossed(rng, seeds, patients, views, spread):
    """Errors of mean 1 and the patients of their columns. spread: of seeds, patients, both together, views."""
    of_seed, of_patient, of_both, of_view = spread
    table = 1 + of_seed * rng.normal(size=(seeds, 1))
    table = table + np.repeat(
        of_patient * rng.normal(size=(1, patients)) + of_both * rng.normal(size=(seeds, patients)), views, axis=1
    )
    table = table + of_view * (rng.normal(size=(1, patients * views)) + rng.normal(size=(seeds, patients * views)))
    return table, np.repeat(np.arange(patients), views).tolist()


def coverage(seeds, patients, spread, few, monkeypatch, times=300):
    monkeypatch.setattr(statistics, "FEW", few)
    rng, hits = np.random.default_rng(0), 0
    for _ in range(times):
        found = statistics.mean(*crossed(rng, seeds, patients, 4, spread))
        hits += found.low <= 1 <= found.high
    return hits / times


SPREADS = ((0.1, 0.1, 0.05, 0.1), (0.1, 0.02, 0.02, 0.1), (0.02, 0.1, 0.02, 0.1), (0, 0, 0.1, 0.1))


@pytest.mark.parametrize(("seeds", "patients"), [(2, 3), (3, 8), (3, 30), (25, 25)])
@pytest.mark.parametrize("spread", SPREADS)
def test_crossed_intervals_cover_what_they_say(seeds, patients, spread, monkeypatch):
    # 95 % of 300, less three standard errors; more where what is the seed's and the patient's is counted twice.
    assert coverage(seeds, patients, spread, statistics.FEW, monkeypatch) >= 0.912


@pytest.mark.parametrize(("seeds", "patients"), [(2, 3), (3, 8)])
def test_percentiles_of_few_are_too_narrow_which_is_why_students_t_is_taken(seeds, patients, monkeypatch):
    assert coverage(seeds, patients, SPREADS[1], 0, monkeypatch) < 0.85


def test_resampling_the_views_of_a_patient_is_in_the_patients_already():
    # Patients that do not differ but for the views they happen to have: whole patients alone cover as they say.
    rng, hits = np.random.default_rng(6), 0
    for _ in range(300):
        found = statistics.mean(*crossed(rng, 1, 25, 4, (0, 0, 0, 0.1)))
        hits += found.low <= 1 <= found.high
    assert 0.9 < hits / 300 < 0.98


def test_one_seed_leaves_trainings_out_and_seeds_of_different_number_are_apart():
    rng = np.random.default_rng(8)
    before, after = rng.uniform(1, 2, (2, 30)), rng.uniform(1, 2, (3, 30))
    found = statistics.reduction(before, after)
    assert found.value == pytest.approx(100 * (1 - after.mean() / before.mean()))
    assert found.known()
    # A shift of whole trainings that both arms share cancels in pairs, and does not where they are apart.
    shift = np.array([[0.5], [0.0], [1.0]])
    one = 1 + 0.01 * rng.normal(size=(3, 30)) + shift
    other = one + 0.01 * rng.normal(size=(3, 30))
    together, apart = (statistics.reduction(one, other, paired=p) for p in (None, False))
    assert apart.high - apart.low > 10 * (together.high - together.low)


def test_pairs_are_resampled_together():
    rng = np.random.default_rng(2)
    hard = rng.uniform(0.1, 10, 50)  # frames differ a hundredfold; the gain is the same on each
    found = statistics.reduction(hard, 0.8 * hard)
    assert found == pytest.approx((20, 20, 20))


def test_four_looks_of_one_view_do_not_count_as_four_views():
    rng = np.random.default_rng(3)
    views = np.repeat(rng.normal(0, 1, 40), 4)  # every look of a view has the same error
    names = np.repeat(np.arange(40), 4).tolist()
    by_frame, by_view = statistics.mean(views), statistics.mean(views, names)
    assert by_view.value == pytest.approx(by_frame.value)
    ratio = (by_view.high - by_view.low) / (by_frame.high - by_frame.low)
    assert ratio == pytest.approx(2, rel=0.15)  # √4


def test_units_of_unequal_size_weigh_by_their_frames():
    found = statistics.mean([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    # The units' sums lie 3 below and 3 above their share: variance 2/1 (9 + 9)/16, one degree of freedom.
    reach = t.ppf(0.975, 1) * sqrt(2 * 18 / 16)
    assert found == pytest.approx((2, 2 - reach, 2 + reach))


@pytest.mark.parametrize(
    ("low", "high", "decided"), [(1, 2, True), (-2, -1, True), (-1, 1, False), (0, 1, False), (-1, 0, False)]
)
def test_a_sign_is_decided_only_without_zero(low, high, decided):
    assert statistics.Interval((low + high) / 2, low, high).excludes_zero() == decided


def test_p_is_right_as_often_as_it_says_and_finds_what_is_there():
    rng = np.random.default_rng(3)
    chance = [statistics.reduction_test(*(5 + rng.normal(size=(2, 3, 10)))).p for _ in range(400)]
    assert np.mean(np.array(chance) <= 0.05) < 0.08
    before = rng.normal(5, 1, 60)
    assert statistics.reduction_test(before, before - 0.3 + rng.normal(0, 0.3, 60)).p < 0.001
    assert statistics.reduction_test(before, before + rng.normal(0, 0.3, 60)).p > 0.01
    assert statistics.reduction_test([1, 2, 3], [1, 2, 3]).p == 1
    assert statistics.reduction_test([1, 2, 3], [0.5, 1, 1.5]).p == 0
    assert statistics.reduction_test([1, 2, 3], [0.5, 1, 1.5], against=50).p == 1
    assert statistics.reduction_test([1.0], [2.0]).p == 1


def test_p_below_a_twentieth_and_the_interval_agree():
    rng = np.random.default_rng(9)
    for _ in range(100):
        before = rng.uniform(1, 2, (3, 8))
        found = statistics.reduction_test(before, before * rng.normal(0.9, 0.15, (3, 8)), against=10)
        assert found.interval.excludes(10) == (found.p < 0.05)


def test_points_are_of_shares():
    found = statistics.points_test([0.5, 0.6, 0.7], [0.6, 0.7, 0.8])
    assert found.interval == pytest.approx((0.1, 0.1, 0.1))


def test_holms_adjustment_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert statistics.holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert statistics.holm([]) == []


def test_the_gap_of_two_groups_is_resampled_apart():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        found = statistics.gap(rng.normal(2, 1, 30), rng.normal(1, 1, 50))
        covered += found.low < 1 < found.high
    assert 0.88 < covered / 200 < 0.99
    assert statistics.gap([3.0, 5.0], [1.0]).value == 3
    assert statistics.gap([3.0, 3.0], [1.0, 1.0]) == pytest.approx((2, 2, 2))
    # What a training adds to both groups cancels.
    shift = np.array([[0.0], [0.7], [-0.7]])
    assert statistics.gap(shift + [3.0, 3.0], shift + [1.0, 1.0]) == pytest.approx((2, 2, 2))
