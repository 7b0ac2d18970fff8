"""Arms compared on tests: which claims may be put, and what an interval says of them (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training import baselines, claim_figures, curves, statistics
from training.compare import Shape
from training.kept import Errors
from training.presets import ARMS, COMPARISONS, ArmSpec, Comparison
from training.statistics import Interval
from training.study import GIVEN, Answer, Key

if TYPE_CHECKING:
    from jaxtyping import Float

PAPER = {"rendered": 56.87, "foreign": 27.49}  # percent less error, Mahmood et al. 2018
Tables = Mapping[tuple[Key, str], Errors]


class Claim(NamedTuple):
    """gain: percent less abs_rel of an arm than another. shape: the arm's gain over the best lookup, the gate. p:
    two-sided; family_p: adjusted for the claims that were tested together, None of what was not."""

    setting: str
    test: str
    comparison: Comparison
    before: float
    after: float
    gain: Interval
    p: float
    shape: Shape
    family_p: float | None = None

    def open(self) -> bool:
        """Whether the gate is: the arm that the claim is about reads shape on this test."""
        return self.shape.verdict() == "reads shape"

    def verdict(self) -> str:
        """better, worse, undecided; or why there is none."""
        if not self.comparison.tested:
            return "told, not tested"
        if not self.open():
            return f"not tested: against the lookup {GATE[self.shape.verdict()]}"
        if self.family_p is None or not (self.gain.excludes_zero() and self.family_p < 0.05):
            return "undecided"
        return "better" if self.gain.value > 0 else "worse"


GATE = {"reads shape": "it reads shape", "does not beat the lookup": "it falls short", "undecided": "it is undecided"}


def best_lookup(tables: Tables, setting: str, test: str) -> Float[np.ndarray, "S N"]:
    """(S, N): of the lookups fitted on the setting's arms' own training frames that which errs least on the test."""
    found = [t.lookup for (key, of), t in tables.items() if key[0] == setting and of == test]
    return min(found, key=lambda lookup: float(lookup.mean()))


def shape(table: Errors, lookup: Float[np.ndarray, "S N"]) -> Shape:
    """What an arm gains over a lookup."""
    return Shape(*statistics.reduction_test(lookup, table.values, table.units(), against=baselines.MARGIN))


def compared(
    tables: Tables, settings: Sequence[str], tests: Sequence[str], comparisons: Sequence[Comparison] = COMPARISONS
) -> list[Claim]:
    """Every comparison in every setting on every test. Holm's families: the tested claims of a setting whose gate is
    open, its own tests apart from datasets that were given, so that one more of these changes no answer on the own."""
    found: list[Claim] = []
    for setting in settings:
        every = [_claim(tables, setting, test, c) for test in tests for c in comparisons]
        for given in (False, True):
            family = [k for k, c in enumerate(every) if c.test.startswith(GIVEN) == given]
            family = [k for k in family if every[k].comparison.tested and every[k].open()]
            for k, p in zip(family, statistics.holm([every[k].p for k in family])):
                every[k] = every[k]._replace(family_p=p)
        found += every
    return found


def _claim(tables: Tables, setting: str, test: str, comparison: Comparison) -> Claim:
    before, after = (tables[(setting, arm), test] for arm in (comparison.before, comparison.after))
    gain, p = statistics.reduction_test(before.values, after.values, after.units())
    known = shape(after, best_lookup(tables, setting, test))
    means = float(before.values.mean()), float(after.values.mean())
    return Claim(setting, test, comparison, *means, gain, p, known)


CLAIM_COLUMNS = (
    "setting", "test", "claim", "arm", "against", "abs_rel", "abs_rel_against", "percent_less", "low", "high", "over",
    "p", "p_holm", "verdict", "paper_percent",
)  # fmt: skip


def add_claims(
    answer: Answer,
    claims: Sequence[Claim],
    tables: Tables,
    titles: Mapping[str, str],
    specs: Mapping[str, ArmSpec] = ARMS,
) -> None:
    """The table of claims, and a sentence for each that is tested. titles: of the settings. specs: the arms."""
    rows: list[list[Any]] = []
    for c in claims:
        arms = [specs[arm].title for arm in (c.comparison.after, c.comparison.before)]
        over = tables[(c.setting, c.comparison.after), c.test].over()
        paper: Any = ""
        if specs is ARMS and c.comparison.before == "plain" and c.comparison.tested:
            paper = PAPER["foreign" if c.test.startswith(GIVEN) else "rendered"]
        p = "" if c.family_p is None else c.family_p
        rows.append([c.setting, c.test, c.comparison.title, *arms, c.after, c.before, *c.gain, over, c.p, p,
                     c.verdict(), paper])  # fmt: skip
        if c.comparison.tested:
            beside = f"; paper: {paper} %" if paper else ""
            answer.claims.append(
                f"{titles[c.setting]}, {c.test}, {c.comparison.title}: {statistics.in_words(c.gain)} than {arms[1]} "
                f"({c.before:.3f} → {c.after:.3f}; interval over seeds and {over}{beside}): {c.verdict()}."
            )
    answer.tables["claims"] = (CLAIM_COLUMNS, rows)


CURVE_COLUMNS = ("setting", "arm", "percent_change_over_last_fifth", "low", "high", "verdict")


def add_curves(
    answer: Answer, tables: Tables, test: str, titles: Mapping[str, str], specs: Mapping[str, ArmSpec] = ARMS
) -> None:
    """Learning curves of every arm, and whether they were flat at their end (`training.curves`)."""
    rows: list[list[Any]] = []
    for setting, title in titles.items():
        found = {key[1]: t.curves() for (key, of), t in tables.items() if key[0] == setting and of == test}
        found = {arm: seeds for arm, seeds in found.items() if seeds}
        for arm, seeds in found.items():
            change = curves.change(seeds)
            rows.append([setting, specs[arm].title, *(change or ("", "", "")), curves.verdict(change)])
        if found:
            named = {specs[arm].title: seeds for arm, seeds in found.items()}
            answer.figures[f"learning curves {title}"] = claim_figures.learning(named)
    answer.tables["learning curves"] = (CURVE_COLUMNS, rows)


ARM_COLUMNS = (
    "setting", "test", "arm", "abs_rel", "low", "high", "percent_below_lookup", "percent_low", "percent_high",
    "verdict",
)  # fmt: skip


def add_arms(answer: Answer, tables: Tables, named: Mapping[Key, str]) -> None:
    """The table of arms × tests, the baselines under each test, fitted on the images of the arm they serve best."""
    rows: list[list[Any]] = []
    for setting, test in dict.fromkeys((key[0], test) for key, test in tables):
        here = {key: t for (key, of), t in tables.items() if key[0] == setting and of == test}
        bar = best_lookup(tables, setting, test)
        for key, table in here.items():
            known = shape(table, bar)
            mean = statistics.mean(table.values, table.units())
            rows.append([setting, test, named[key], *mean, *known.gain, known.verdict()])
        for name in next(iter(here.values())).blind:
            table = min(here.values(), key=lambda t: float(t.blind[name].mean()))
            mean = statistics.mean(table.blind[name], table.units())
            rows.append([setting, test, f"without a network: {name}", *mean, "", "", "", ""])
    answer.tables["arms"] = (ARM_COLUMNS, rows)
