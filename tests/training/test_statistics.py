"""Intervals that cover what they claim to cover."""

import numpy as np
import pytest

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


def test_pairs_are_resampled_together():
    rng = np.random.default_rng(2)
    hard = rng.uniform(0.1, 10, 50)  # frames differ a hundredfold; the gain is the same on each
    found = statistics.reduction(hard, 0.8 * hard)
    assert found == pytest.approx((20, 20, 20))


def test_four_looks_of_one_view_do_not_count_as_four_views():
    rng = np.random.default_rng(3)
    views = np.repeat(rng.normal(0, 1, 12), 4)  # every look of a view has the same error
    names = np.repeat(np.arange(12), 4).tolist()
    by_frame, by_view = statistics.mean(views), statistics.mean(views, names)
    assert by_view.value == pytest.approx(by_frame.value)
    ratio = (by_view.high - by_view.low) / (by_frame.high - by_frame.low)
    assert ratio == pytest.approx(2, rel=0.15)  # √4


def test_units_of_unequal_size_weigh_by_their_frames():
    found = statistics.mean([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    assert found.value == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((1, 5))


@pytest.mark.parametrize(
    ("low", "high", "decided"), [(1, 2, True), (-2, -1, True), (-1, 1, False), (0, 1, False), (-1, 0, False)]
)
def test_a_sign_is_decided_only_without_zero(low, high, decided):
    assert statistics.Interval((low + high) / 2, low, high).excludes_zero() == decided


def test_the_paired_test_counts_the_flips_by_hand():
    # Differences −1, −2: sums 3, 1, 1, 3 in size; two of four flips are as large as 3.
    assert statistics.paired_test([2, 4], [1, 2]) == pytest.approx(2 / 4)
    # Two frames of one view flip together.
    assert statistics.paired_test([2, 4, 3], [1, 2, 2], ["a", "a", "b"]) == pytest.approx(2 / 4)
    assert statistics.paired_test([1, 2, 3], [1, 2, 3]) == 1


def test_the_paired_test_is_right_as_often_as_it_says_and_finds_what_is_there():
    rng = np.random.default_rng(3)
    chance = [statistics.paired_test(rng.normal(size=10), rng.normal(size=10)) for _ in range(400)]
    assert 0.02 < np.mean(np.array(chance) <= 0.05) < 0.09
    before = rng.normal(5, 1, 60)
    assert statistics.paired_test(before, before - 0.3 + rng.normal(0, 0.3, 60)) < 0.001
    assert statistics.paired_test(before, before + rng.normal(0, 0.3, 60)) > 0.01


def test_the_gap_of_two_groups_is_resampled_apart():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        found = statistics.gap(rng.normal(2, 1, 30), rng.normal(1, 1, 50))
        covered += found.low < 1 < found.high
    assert 0.88 < covered / 200 < 0.99
    assert statistics.gap([3.0, 5.0], [1.0]).value == 3
    assert statistics.gap([3.0, 3.0], [1.0, 1.0]) == pytest.approx((2, 2, 2))
