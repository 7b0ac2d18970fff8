"""Confidence intervals in which trainings count as well as patients and views.

Errors are a table, seeds (trainings) × frames. Seeds and patients are crossed: each training is judged on each patient.
So the variance of a mean, a ratio or a gap is the sum of what each factor alone brings, and no factor is averaged away
before: two-way random effects, a slight overestimate, since what is the seed's and the patient's together is counted in
both. Frames are taken together by `units`, whole patients or views; the highest such level carries the spread of all
beneath it (Davison & Hinkley 1997, section 3.8), so that resampling the views of a patient as well would count them
twice.

Where each factor has FEW units or more: percentiles of the crossed bootstrap (Efron 1979; Owen 2007). Below that
percentiles are mostly too narrow (three seeds and eight patients: 76 to 90 % instead of 95 % in three cases of four),
and the limits are Student's t of the linearised statistic, the factors' quantiles weighted by their variances (Cochran
& Cox 1950), which cover 95 to 99 %; the degrees of freedom of Welch and Satterthwaite fell to 92 %.
tests/training/test_statistics.py simulates coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from math import isfinite, nan, sqrt
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000
FEW = 20
Numbers = Sequence[float] | np.ndarray
Units = Sequence[Hashable] | None


class Interval(NamedTuple):
    """An estimate and the limits of its 95 % confidence interval; NaN where one unit says nothing of others."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside the limits."""
        return self.low > value or self.high < value

    def excludes_zero(self) -> bool:
        """Whether the sign of the estimate is decided."""
        return self.excludes(0)

    def known(self) -> bool:
        """Whether there is an interval at all."""
        return isfinite(self.low) and isfinite(self.high)

    def plain(self) -> list[float | None]:
        """[value, low, high] as JSON has them."""
        return [x if isfinite(x) else None for x in self]


class Tested(NamedTuple):
    """interval: of the estimate. p: two-sided, of the hypothesis that it is `against`; 1 where nothing can be said."""

    interval: Interval
    p: float


class _Errors:
    """Errors (S, N) of seeds × frames, summed by unit: sums (S, U), counts (U,), means (S,), mean."""

    def __init__(self, values: Numbers, units: Units):
        table = np.atleast_2d(np.asarray(values, float))
        names = list(range(table.shape[1])) if units is None else list(units)
        index = {name: k for k, name in enumerate(dict.fromkeys(names))}
        where = np.array([index[name] for name in names])
        self.counts = np.bincount(where).astype(float)
        self.sums = np.stack([np.bincount(where, row) for row in table])
        self.means = table.mean(1)
        self.mean = float(table.mean())

    def drawn(self, seeds: np.ndarray, units: np.ndarray) -> np.ndarray:
        """The mean in each draw. seeds: (DRAWS, S), units: (DRAWS, U), how often each is taken."""
        total = ((seeds @ self.sums) * units).sum(1)
        return total / (seeds.sum(1) * (units @ self.counts))


def mean(values: Numbers, units: Units = None) -> Interval:
    """Mean of the values (N,), or (S, N) of S seeds. units: (N,) what belongs together (a view, a patient)."""
    return _tested(lambda m: m[0], lambda m: [1.0], [_Errors(values, units)]).interval


def reduction(before: Numbers, after: Numbers, units: Units = None, paired: bool | None = None) -> Interval:
    """100 (e_before − e_after) / e_before of the mean errors, in percent; see `reduction_test`."""
    return reduction_test(before, after, units, paired).interval


def reduction_test(
    before: Numbers, after: Numbers, units: Units = None, paired: bool | None = None, against: float = 0.0
) -> Tested:
    """100 (e_before − e_after) / e_before of the mean errors, in percent; positive: `after` is better.

    before, after: (N,), or (S, N) of S seeds, errors of the same frames in the same order: frames are taken in pairs,
    so that what makes one hard for both cancels. paired: row k of both is one seed; by default if there are as many.
    against: what p tests.
    """
    b, a = _Errors(before, units), _Errors(after, units)
    return _tested(
        lambda m: 100 * (m[0] - m[1]) / m[0], lambda m: [100 * m[1] / m[0] ** 2, -100 / m[0]], [b, a],
        seeds=_paired(b, a, paired), against=against,
    )  # fmt: skip


def points_test(before: Numbers, after: Numbers, units: Units = None, paired: bool | None = None) -> Tested:
    """after − before of the means, for what is no error but a share; otherwise as `reduction_test`."""
    b, a = _Errors(before, units), _Errors(after, units)
    return _tested(lambda m: m[1] - m[0], lambda m: [-1.0, 1.0], [b, a], seeds=_paired(b, a, paired), against=0.0)


def gap(a: Numbers, b: Numbers, a_units: Units = None, b_units: Units = None) -> Interval:
    """mean(a) − mean(b) of two groups of frames (N,), (M,), or (S, N), (S, M) of the same S seeds."""
    errors = [_Errors(a, a_units), _Errors(b, b_units)]
    return _tested(lambda m: m[0] - m[1], lambda m: [1.0, -1.0], errors, seeds=[[0, 1]], units=[[0], [1]]).interval


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for being looked at together (Holm 1979), in their order."""
    order = sorted(range(len(p)), key=lambda k: p[k])
    found, least = [0.0] * len(p), 0.0
    for rank, k in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[k]))
        found[k] = least
    return found


def in_words(saved: Interval) -> str:
    """`3.2 % more error [1.0, 5.1]` of a `reduction`: the sign is a word, and one unit alone has no interval."""
    sign, word = (1, "less") if saved.value >= 0 else (-1, "more")
    text = f"{abs(saved.value):.1f} % {word} error"
    if not saved.known():
        return f"{text} (one unit: no interval)"
    low, high = sorted((sign * saved.low, sign * saved.high))
    return f"{text} [{low:.1f}, {high:.1f}]"


def _paired(b: _Errors, a: _Errors, paired: bool | None) -> list[list[int]]:
    same = len(b.means) == len(a.means)
    return [[0, 1]] if same and paired is not False else [[0], [1]]


def _tested(
    statistic: Callable[[Sequence[Any]], Any],
    gradient: Callable[[Sequence[float]], list[float]],
    errors: Sequence[_Errors],
    seeds: list[list[int]] | None = None,
    units: list[list[int]] | None = None,
    against: float | None = None,
) -> Tested:
    """A statistic of the tables' means. seeds, units: which tables share them (all). against: None for no p."""
    everyone = [list(range(len(errors)))]
    seeds, units = seeds or everyone, units or everyone
    means = [e.mean for e in errors]
    value, slopes = float(statistic(means)), gradient(means)
    parts: list[tuple[float, int]] = []  # variance that a factor brings, its degrees of freedom
    for group in units:
        first = errors[group[0]]
        pull = sum(slopes[k] * (e.sums.mean(0) - e.counts * e.mean) / e.counts.sum() for k, e in _of(errors, group))
        n = len(first.counts)
        if n < 2:
            return Tested(Interval(value, nan, nan), 1.0)
        parts.append((n / (n - 1) * float((pull**2).sum()), n - 1))
    for group in seeds:
        n = len(errors[group[0]].means)
        if n > 1:
            pull = sum(slopes[k] * (e.means - e.mean) / n for k, e in _of(errors, group))
            parts.append((n / (n - 1) * float((pull**2).sum()), n - 1))
    variance = sum(v for v, _ in parts)
    if sqrt(variance) <= 1e-12 * max(1.0, abs(value)):
        same = against is None or abs(value - against) <= 1e-9 * max(1.0, abs(value))
        return Tested(Interval(value, value, value), float(same))
    p = 1.0 if against is None else _p(parts, abs(value - against))
    if min(df for _, df in parts) + 1 < FEW:
        reach = _reach(parts, 1 - LEVEL)
        return Tested(Interval(value, value - reach, value + reach), p)
    drawn: list[np.ndarray] = [np.empty(0)] * len(errors)
    for k, e in enumerate(errors):
        s = next(n for n, group in enumerate(seeds) if k in group)
        u = next(n for n, group in enumerate(units) if k in group)
        drawn[k] = e.drawn(_draws(len(e.means), 1 + s, "seeds"), _draws(len(e.counts), u, "units"))
    low, high = np.quantile(statistic(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Tested(Interval(value, float(low), float(high)), p)


def _reach(parts: Sequence[tuple[float, int]], p: float) -> float:
    """Half the width of the interval of level 1 − p."""
    from scipy.stats import t

    return float(sum(v * t.isf(p / 2, df) for v, df in parts) / sqrt(sum(v for v, _ in parts)))


def _p(parts: Sequence[tuple[float, int]], distance: float) -> float:
    """The p whose interval just reaches so far; not below 1e-12."""
    from scipy.optimize import brentq

    if _reach(parts, 1e-12) <= distance:
        return 1e-12
    return float(brentq(lambda p: _reach(parts, p) - distance, 1e-12, 1.0)) if distance > 0 else 1.0


def _of(errors: Sequence[_Errors], group: list[int]) -> list[tuple[int, _Errors]]:
    return [(k, errors[k]) for k in group]


@lru_cache(maxsize=8)
def _draws(units: int, seed: int, what: str) -> np.ndarray:
    """(DRAWS, units): how often each resample takes each unit; the same ones every time."""
    rng = np.random.default_rng([seed, len(what), 17 * (what == "seeds")])
    return rng.multinomial(units, np.full(units, 1 / units), DRAWS).astype(float)
