"""Confidence intervals by the bootstrap (Efron 1979), percentile method."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000
Numbers = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """An estimate and the limits of its 95 % confidence interval; NaN where one unit says nothing of others."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the estimate is decided."""
        return self.low > 0 or self.high < 0

    def known(self) -> bool:
        """Whether there is an interval at all."""
        return isfinite(self.low) and isfinite(self.high)

    def plain(self) -> list[float | None]:
        """[value, low, high] as JSON has them."""
        return [x if isfinite(x) else None for x in self]


def mean(values: Numbers, units: Sequence[Hashable] | None = None) -> Interval:
    """Mean of the values, (N,). units: (N,) what to resample together (a view, a patient); None: each value."""
    sums, counts, weights = _resampled(np.asarray(values, float)[:, None], units)
    draws = (weights @ sums)[:, 0] / (weights @ counts)
    return _interval(float(np.mean(values)), draws, len(counts))


def reduction(before: Numbers, after: Numbers, units: Sequence[Hashable] | None = None) -> Interval:
    """100 (e_before − e_after) / e_before of the mean errors, in percent; positive: `after` is better.

    before, after: (N,) errors of the same frames in the same order: they are resampled in pairs, so that
    what makes a frame hard for both cancels.
    """
    pairs = np.stack([np.asarray(before, float), np.asarray(after, float)], axis=1)
    sums, counts, weights = _resampled(pairs, units)
    b, a = (weights @ sums).T
    total = pairs.sum(0)
    return _interval(float(100 * (total[0] - total[1]) / total[0]), 100 * (b - a) / b, len(counts))


def in_words(saved: Interval) -> str:
    """`3.2 % more error [1.0, 5.1]` of a `reduction`: the sign is a word, and one unit alone has no interval."""
    sign, word = (1, "less") if saved.value >= 0 else (-1, "more")
    text = f"{abs(saved.value):.1f} % {word} error"
    if not saved.known():
        return f"{text} (one unit: no interval)"
    low, high = sorted((sign * saved.low, sign * saved.high))
    return f"{text} [{low:.1f}, {high:.1f}]"


def _resampled(
    values: np.ndarray, units: Sequence[Hashable] | None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums (U, C) and counts (U,) of the units' values, and how often each draw took each unit (DRAWS, U)."""
    names = list(range(len(values))) if units is None else list(units)
    index = {name: k for k, name in enumerate(dict.fromkeys(names))}
    where = np.array([index[name] for name in names])
    counts = np.bincount(where).astype(float)
    sums = np.stack([np.bincount(where, column) for column in values.T], axis=1)
    return sums, counts, _draws(len(counts), seed)


@lru_cache(maxsize=2)
def _draws(units: int, seed: int) -> np.ndarray:
    """(DRAWS, units): how often each resample takes each unit; the same ones every time."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), DRAWS).astype(float)


def _interval(value: float, draws: np.ndarray, units: int) -> Interval:
    if units < 2:
        return Interval(value, nan, nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def paired_test(before: Numbers, after: Numbers, units: Sequence[Hashable] | None = None) -> float:
    """Two-sided p-value of no difference between the errors of the same frames: signs flipped unit by unit.

    before, after: (N,) in the same order. units: what is flipped together (a view, a patient). Every flip is tried
    where there are at most 20,000 (so four units cannot give less than 1/8), that many random ones otherwise.
    """
    from scipy.stats import permutation_test

    difference = (np.asarray(after, float) - np.asarray(before, float))[:, None]
    sums = _resampled(difference, units)[0][:, 0]
    if len(sums) < 2:
        return 1.0  # either sign is as likely
    found = permutation_test(
        (sums,), np.sum, permutation_type="samples", vectorized=True, n_resamples=20_000, rng=np.random.default_rng(0)
    )
    return float(found.pvalue)


def gap(
    a: Numbers, b: Numbers, a_units: Sequence[Hashable] | None = None, b_units: Sequence[Hashable] | None = None
) -> Interval:
    """mean(a) − mean(b) of two groups (N,), (M,) that are resampled independently of each other."""
    means, fewest = [], 2
    for values, units, seed in ((a, a_units, 0), (b, b_units, 1)):
        sums, counts, weights = _resampled(np.asarray(values, float)[:, None], units, seed)
        means.append((weights @ sums)[:, 0] / (weights @ counts))
        fewest = min(fewest, len(counts))
    return _interval(float(np.mean(a) - np.mean(b)), means[0] - means[1], fewest)
