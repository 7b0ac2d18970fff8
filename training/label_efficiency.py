"""How many images an arm needs to err as little as plain images ever do (docs/protocol.md, `data`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training import claim_figures, statistics
from training.claims import add_arms, best_lookup, shape
from training.kept import Errors
from training.presets import ARMS
from training.statistics import FEW, LEVEL, Interval
from training.study import Answer, Key

if TYPE_CHECKING:
    from jaxtyping import Float64

DRAWS = 10_000
PLAIN, CLAIMED = "plain", "all"  # the arm whose best is to be reached, and the arm that the claim is about
HALF = 0.5


class Needed(NamedTuple):
    """number: of images at which the arm first errs as little as plain images at their best; infinite where it never
    does, the smallest number that was tried where it does from the beginning. share: of the number at which plain
    images do, at most so much where the arm's is the smallest that was tried."""

    number: Interval
    share: Interval


def needed(
    curves: Mapping[str, Sequence[Float64[np.ndarray, "S N"]]], counts: Sequence[int], units: Sequence[Any]
) -> dict[str, Needed]:
    """Of every arm. curves: arm -> for each count errors (S, N) of seeds × frames; seeds and frames are in pairs.

    In each draw of a crossed bootstrap of seeds and units the curves are straight between the counts, against log N.
    With fewer than FEW seeds or units percentiles are too narrow; they are taken further out, as far as Student's t of
    the fewer has it (Hesterberg 2015, section 5.3).
    """
    draws = {arm: np.stack([_drawn(table, units) for table in tables], 1) for arm, tables in curves.items()}
    means = {arm: np.array([[table.mean() for table in tables]]) for arm, tables in curves.items()}
    tail = _tail([len(curves[PLAIN][0]), len(set(units))])
    found = {}
    for arm in curves:
        value, drawn = (reached(d[arm], counts, d[PLAIN].min(1)) for d in (means, draws))
        plain, plain_drawn = (reached(d[PLAIN], counts, d[PLAIN].min(1)) for d in (means, draws))
        found[arm] = Needed(_limits(value[0], drawn, tail), _limits(value[0] / plain[0], drawn / plain_drawn, tail))
    return found


def reached(
    curve: Float64[np.ndarray, "D C"], counts: Sequence[int], target: Float64[np.ndarray, " D"]
) -> Float64[np.ndarray, " D"]:
    """(D,) numbers of images at which curves (D, C) first come down to the targets (D,), interpolated in log N."""
    below = curve <= target[:, None]
    at = np.where(below.any(1), below.argmax(1), len(counts))
    found = np.full(len(curve), inf)
    found[at == 0] = counts[0]
    for k in range(1, len(counts)):
        here = at == k
        before, after = curve[here, k - 1], curve[here, k]
        part = (before - target[here]) / (before - after)
        found[here] = counts[k - 1] * (counts[k] / counts[k - 1]) ** part
    return found


def _drawn(table: np.ndarray, units: Sequence[Any]) -> np.ndarray:
    """(DRAWS,) means of errors (S, N), seeds and units drawn with replacement; the same draws for every table."""
    index = {name: k for k, name in enumerate(dict.fromkeys(units))}
    where = np.array([index[name] for name in units])
    sums, sizes = np.stack([np.bincount(where, row) for row in table]), np.bincount(where)
    rng = np.random.default_rng(20181106)
    seeds, chosen = (rng.multinomial(n, np.full(n, 1 / n), DRAWS) for n in sums.shape)
    return np.asarray(((seeds @ sums) * chosen).sum(1) / (seeds.sum(1) * (chosen @ sizes)))


def _tail(units: Sequence[int]) -> float:
    """Share of the draws beyond each limit."""
    from scipy.stats import norm, t

    n, tail = min(units), (1 - LEVEL) / 2
    if n < 2:
        return 0.0
    return float(norm.sf(sqrt(n / (n - 1)) * t.isf(tail, n - 1))) if n < FEW else tail


def _limits(value: float, drawn: np.ndarray, tail: float) -> Interval:
    """Limits that are draws themselves: between a number and infinity there is nothing."""
    drawn, beyond = np.sort(drawn), int(tail * len(drawn))
    return Interval(float(value), float(drawn[beyond]), float(drawn[-1 - beyond]))


def verdict(share: Interval) -> str:
    """Whether half the images suffice, by the interval of the share that is needed."""
    return "holds" if share.high <= HALF else "does not hold" if share.low > HALF else "undecided"


COLUMNS = (
    "setting", "test", "arm", "images", "images_low", "images_high", "share_of_plain", "share_low", "share_high",
    "verdict",
)  # fmt: skip


def data_answer(tables: Mapping[tuple[Key, str], Errors], titles: Mapping[str, str], counts: Sequence[int]) -> Answer:
    """Of the errors by (setting, arm, count) and test. titles: of the settings."""
    answer = Answer()
    rows: list[list[Any]] = []
    tests = list(dict.fromkeys(test for _, test in tables))
    for setting, title in titles.items():
        arms = list(dict.fromkeys(key[1] for key, _ in tables if key[0] == setting))
        for test in tests:
            curves = {arm: [tables[(setting, arm, n), test].values for n in counts] for arm in arms}
            last = tables[(setting, CLAIMED, counts[-1]), test]
            known = shape(last, best_lookup(tables, setting, test)).verdict()
            found = needed(curves, counts, last.units())
            for arm in arms:
                word = "told, not tested"
                if (arm, test) == (CLAIMED, tests[0]):
                    word = verdict(found[arm].share) if known == "reads shape" else f"not tested: lookup: {known}"
                    answer.claims.append(
                        f"{title}, {test}: with {in_words(found[arm].number, counts)} images {ARMS[arm].title} errs as "
                        f"little as {ARMS[PLAIN].title} at its best, with {in_words(found[PLAIN].number, counts)}; "
                        f"{_share(found[arm].share)} of the images. That half suffice: {word}."
                    )
                rows.append([setting, test, ARMS[arm].title, *found[arm].number, *found[arm].share, word])
        shown = {arm: [tables[(setting, arm, n), tests[0]] for n in counts] for arm in arms}
        lines = {
            ARMS[arm].title: [[n, *statistics.mean(t.values, t.units())] for n, t in zip(counts, curve)]
            for arm, curve in shown.items()
        }
        answer.figures[f"error against images {title}"] = claim_figures.against_count(lines)
    answer.tables["label efficiency"] = (COLUMNS, [[_told(cell) for cell in row] for row in rows])
    add_arms(answer, tables, {key: f"{ARMS[key[1]].title}, {key[2]} images" for key, _ in tables})
    return answer


def in_words(number: Interval, counts: Sequence[int]) -> str:
    """`210 [140, more than 1200]`: what lies beyond the numbers that were tried is only known to."""

    def word(n: float) -> str:
        if n == inf:
            return f"more than {counts[-1]}"
        return f"{counts[0]} or fewer" if n <= counts[0] else f"{n:.0f}"

    return f"{word(number.value)} [{word(number.low)}, {word(number.high)}]"


def _share(share: Interval) -> str:
    words = ["any number" if x == inf else f"{x:.2f}" for x in share]
    return f"{words[0]} [{words[1]}, {words[2]}]"


def _told(cell: Any) -> Any:
    return "never" if cell == inf else cell
