"""Names on their way out. Each works, with a warning, until its date; then a test fails until it is gone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import date

from endorender.errors import Notice


@dataclass(frozen=True)
class Deprecation:
    """what: as a user writes it. instead: what to write. until: the last day on which it must work, half a year or more
    after the release that first warned."""

    what: str
    instead: str
    until: date


DEPRECATIONS = {
    "tensorboard": Deprecation("tensorboard: true", "loggers: [tensorboard]", date(2027, 7, 1)),
}


def warn(name: str) -> None:
    """Says once a call, as a Notice, what to write instead of DEPRECATIONS[name], and until when."""
    one = DEPRECATIONS[name]
    warnings.warn(f"{one.what} is read until {one.until:%Y-%m-%d}: write {one.instead}", Notice, stacklevel=3)


def overdue(today: date) -> list[str]:
    """Names whose date has passed: they are to be taken out."""
    return [name for name, one in DEPRECATIONS.items() if one.until < today]
