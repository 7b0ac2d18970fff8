"""Values that are drawn anew for every view: `{uniform: [0.1, 0.3]}` in the place of a number.

Every distribution maps u in [0, 1) to a value, so that one draw is one number whatever is drawn, and what validates
the ends validates all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from endorender.registry import Model, Registry, validated

distributions = Registry("distribution")
REACH = 4.0  # standard deviations at which `normal` ends
LARGEST = math.nextafter(1.0, 0.0)


class Bounded(Model):
    """low, high."""

    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")

    @model_validator(mode="after")
    def _ordered(self) -> Bounded:
        if self.low > self.high:
            raise ValueError("low must be at most high")
        return self


@distributions.register("fixed", cases=[{"value": 3}])
class Fixed(Model):
    """The value itself; `{fixed: 3}` is 3."""

    value: Any = Field(description="the value")

    def at(self, u: float) -> Any:
        """The value of u in [0, 1)."""
        return self.value


@distributions.register("choice", cases=[{"values": ["a", "b"]}])
class Choice(Model):
    """One of some values, each as likely; a value may stand there twice. `{choice: [a, b, b]}`."""

    values: tuple[Any, ...] = Field(min_length=1, max_length=64, description="the values")

    def at(self, u: float) -> Any:
        """The value of u in [0, 1)."""
        return self.values[int(u * len(self.values))]


@distributions.register("grid", cases=[{"values": [1, 2, 3]}])
class Grid(Choice):
    """Every value in turn, view by view; several grids of one variation go through all combinations, the last fast."""


@distributions.register("uniform", cases=[{"low": 1, "high": 3}])
class Uniform(Bounded):
    """Evenly between low and high. `{uniform: [1, 3]}`."""

    def at(self, u: float) -> float:
        """The value of u in [0, 1)."""
        return self.low + (self.high - self.low) * u


@distributions.register("loguniform", cases=[{"low": 0.1, "high": 10}])
class LogUniform(Bounded):
    """The logarithm evenly between those of low and high, which are above 0. `{loguniform: [0.1, 10]}`."""

    low: float = Field(gt=0, description="smallest value")

    def at(self, u: float) -> float:
        """The value of u in [0, 1)."""
        return min(self.low * (self.high / self.low) ** u, self.high)


@distributions.register("normal", cases=[{"mean": 1, "sd": 0.1}])
class Normal(Model):
    """Gaussian, cut at four standard deviations, so that what can be drawn is known. `{normal: [1, 0.1]}`."""

    mean: float
    sd: float = Field(ge=0, description="standard deviation")

    def at(self, u: float) -> float:
        """The value of u in [0, 1)."""
        return _gaussian(u, self.mean, self.sd, self.mean - REACH * self.sd, self.mean + REACH * self.sd)


@distributions.register("truncated", cases=[{"mean": 1, "sd": 1, "low": 0, "high": 2}])
class Truncated(Bounded):
    """Gaussian between low and high. `{truncated: [1, 0.5, 0, 2]}`: mean, sd, low, high."""

    mean: float = Field(description="of the Gaussian before it is cut")
    sd: float = Field(gt=0, description="standard deviation before it is cut")

    def at(self, u: float) -> float:
        """The value of u in [0, 1)."""
        return _gaussian(u, self.mean, self.sd, self.low, self.high)


@distributions.register("sobol", cases=[{"low": 0, "high": 1}, {"of": {"normal": [1, 0.1]}}])
class Sobol(Model):
    """Evenly spread over the views of a patient: `{sobol: [1, 3]}`, or `{sobol: {normal: [1, 0.1]}}` for its quantiles.

    Sobol 1967, scrambled after Owen. All of one variation are spread together.
    """

    low: float | None = None
    high: float | None = None
    of: Any = None

    @model_validator(mode="after")
    def _one_way(self) -> Sobol:
        bounds = (self.low, self.high)
        if (self.of is None) != (None not in bounds) or (self.of is not None and bounds != (None, None)):
            raise ValueError("takes [low, high] or one distribution")
        self.inner()
        return self

    def inner(self) -> Any:
        """The distribution whose quantiles are taken."""
        found = parsed(self.of) if self.of is not None else Uniform(low=self.low, high=self.high)
        if found is None or isinstance(found, (Sobol, Grid)):
            raise ValueError("takes [low, high] or one distribution that is neither sobol nor grid")
        return found

    def at(self, u: float) -> Any:
        """The value of u in [0, 1)."""
        return self.inner().at(u)


ORDER = {"truncated": ("mean", "sd", "low", "high"), "normal": ("mean", "sd")}


def parsed(value: Any) -> Any:
    """The distribution that a mapping like `{uniform: [1, 3]}` is, or None. Raises UserError."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    name, given = next(iter(value.items()))
    # `type` is what all models are named by: to know that it is no distribution no plugin is asked for.
    if not isinstance(name, str) or name == "type" or name not in distributions:
        return None
    cls = distributions[name]
    if name == "fixed":
        given = {"value": given}
    elif issubclass(cls, Choice):
        given = given if isinstance(given, Mapping) else {"values": given}
    elif isinstance(given, (list, tuple)):
        names = ORDER.get(name, ("low", "high"))
        given = dict(zip(names, given)) if len(given) == len(names) else {"": given}
    elif name == "sobol" and parsed(given) is not None:
        given = {"of": given}
    if not isinstance(given, Mapping) or "" in given:
        wanted = ", ".join(ORDER.get(name, ("low", "high")))
        given = {}
        return validated(cls, given, f"{name} takes [{wanted}]")
    return validated(cls, given, name)


def found_in(spec: Any) -> Iterator[Any]:
    """Every distribution within nested mappings and lists, in order."""
    if (one := parsed(spec)) is not None:
        yield one
    elif isinstance(spec, Mapping):
        for value in spec.values():
            yield from found_in(value)
    elif isinstance(spec, (list, tuple)):
        for value in spec:
            yield from found_in(value)


def sampler(spec: Any) -> Callable[[np.random.Generator], Any]:
    """What draws as `drawn` does with a plain Source, from nested values looked through once: for many draws."""
    if (one := parsed(spec)) is not None:
        if isinstance(one, Fixed):
            return sampler(one.value)
        if isinstance(one, Choice):
            inner = [sampler(value) for value in one.values]
            return lambda rng: inner[int(float(rng.random()) * len(inner))](rng)
        at = one.at
        return lambda rng: at(float(rng.random()))
    if isinstance(spec, Mapping):
        keyed = [(key, sampler(value)) for key, value in spec.items()]
        return lambda rng: {key: draw(rng) for key, draw in keyed}
    if isinstance(spec, (list, tuple)):
        listed = [sampler(value) for value in spec]
        return lambda rng: [draw(rng) for draw in listed]
    return lambda rng: spec


@dataclass
class Source:
    """Where the numbers of one draw come from: pure in its arguments.

    rng: of what is random. view: its number chooses the point of Sobol's sequence and the cell of the grid. seed: of
    the scrambling, one for all views of a patient and variation. attempt: how often constraints refused; another cell
    of the grid is tried then, and Sobol's point gives way to a random one.
    """

    rng: np.random.Generator
    view: int = 0
    seed: int = 0
    attempt: int = 0
    _point: list[float] = field(default_factory=list)
    _cell: list[int] = field(default_factory=list)

    def prepare(self, spec: Any) -> None:
        """Look at everything that will be drawn together."""
        inside = list(found_in(spec))
        spread = sum(isinstance(d, Sobol) for d in inside)
        self._point = sobol_point(spread, self.view, self.seed) if spread and not self.attempt else []
        number, cell = self.view + self.attempt, []
        for grid in reversed([d for d in inside if isinstance(d, Grid)]):
            number, index = divmod(number, len(grid.values))
            cell.append(index)
        self._cell = cell  # the last grid first, as pop takes them from the end

    def draw(self, one: Any) -> Any:
        """A value of one distribution."""
        if isinstance(one, Fixed):
            return one.value
        if isinstance(one, Grid) and self._cell:
            return one.values[self._cell.pop()]
        if isinstance(one, Sobol) and self._point:
            return one.at(self._point.pop(0))
        return one.at(float(self.rng.random()))

    def within(self) -> Source:
        """For what stands inside a value that was chosen: it may be there in one view and not in the next, so there is
        nothing to spread evenly or to go through in turn."""
        return Source(self.rng)


@dataclass
class Probe(Source):
    """Draws the same quantile of everything: to validate the ends of what may be drawn. u: of ranges, which: of
    choices."""

    u: float = 0.0
    which: float = 0.0

    def draw(self, one: Any) -> Any:
        """The value at u."""
        return one.at(self.which if isinstance(one, Choice) else self.u)

    def within(self) -> Source:
        """The same: whatever is chosen is tried at its ends, too."""
        return self


def probes(spec: Any) -> list[Source]:
    """Sources that between them reach both ends of every range and every choice; one, if nothing is drawn."""
    rng = np.random.default_rng(0)
    inside = list(_anywhere(spec))
    if not inside:
        return [Source(rng)]
    choices = {len(d.values) for d in inside if isinstance(d, Choice)}
    which = sorted({(k + 0.5) / n for n in choices for k in range(n)}) or [0.0]
    ranges = (0.0, 0.5, LARGEST) if any(not isinstance(d, Choice) for d in inside) else (0.0,)
    return [Probe(rng, u=u, which=one) for one in which for u in ranges]


def _anywhere(spec: Any) -> Iterator[Any]:
    """Every distribution, also those inside the values of a choice."""
    for one in found_in(spec):
        yield one
        if isinstance(one, Choice):
            yield from _anywhere(one.values)


def drawn(spec: Any, source: Source) -> Any:
    """The same nested values with every distribution replaced by a value of it."""
    if (one := parsed(spec)) is not None:
        return drawn(source.draw(one), source.within())
    if isinstance(spec, Mapping):
        return {key: drawn(value, source) for key, value in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [drawn(value, source) for value in spec]
    return spec


def sobol_point(dimensions: int, index: int, seed: int) -> list[float]:
    """Point `index` of a scrambled Sobol sequence, each coordinate in [0, 1)."""
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(seed))
    if index:
        engine.fast_forward(index)
    return [min(float(x), LARGEST) for x in engine.random(1)[0]]


def _gaussian(u: float, mean: float, sd: float, low: float, high: float) -> float:
    """Quantile u of a Gaussian between low and high."""
    from scipy.stats import truncnorm

    if sd == 0:
        return mean
    value = truncnorm.ppf(u, (low - mean) / sd, (high - mean) / sd, loc=mean, scale=sd)
    return min(max(float(value), low), high)
