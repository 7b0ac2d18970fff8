"""Several scans of one place under one series: temporal positions, phases of the heart, acquisitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.errors import CTError

if TYPE_CHECKING:
    from jaxtyping import Integer

    from endorender.ct.dicom.slices import Slice

# What `Slice.moment` holds, most telling first. By the last, the time of day, they are ordered and never named.
MOMENTS = ("temporal position {:g}", "phase of the heart {:g} %", "trigger time {:g} ms", "acquisition {:g}", "")
# Of the usual distance, and mm: within both two slices lie at one place, as copies whose positions were rounded.
SAME_PLACE, SAME_PLACE_MM = 0.1, 0.2
ALL = "all"


def layers(stack: list[Slice]) -> Integer[np.ndarray, " N"]:
    """(N,) which of the places along the stack each slice has; several have one if they are duplicates. stack: in the
    order of heights."""
    normal = stack[0].normal
    steps = np.diff([float(s.position @ normal) for s in stack])
    usual = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 1.0
    return np.concatenate([[0], np.cumsum(steps > max(1e-3, min(SAME_PLACE_MM, SAME_PLACE * usual)))]).astype(int)


def pick(stack: list[Slice], phase: str | int | None, notes: list[str]) -> list[Slice]:
    """The slices of one phase; all of them if there is but one, or phase is "all".

    phase: number in the list of the error, from 1. Raises CTError PHASE_AMBIGUOUS, NO_PHASE.
    """
    phase = None if phase is None else str(phase)
    if phase == ALL:
        return stack
    what, found = phases(stack)
    if not found:
        if phase not in (None, "1"):
            raise CTError("the series holds one phase alone: leave --phase out", "NO_PHASE")
        return stack
    listed = "; ".join(f"{n}) {_told(part, what)}" for n, part in enumerate(found[:12], 1))
    listed += f"; and {len(found) - 12} more" if len(found) > 12 else ""
    if phase is None:
        order = "" if MOMENTS[what] else ", in the order of time"
        raise CTError(
            f"{len(found)} scans of one place under one series{order}, choose one with --phase NUMBER: {listed}",
            "PHASE_AMBIGUOUS",
        )
    if not phase.isascii() or not phase.isdigit() or not 1 <= int(phase) <= len(found):
        raise CTError(f"no such phase here; there are: {listed}", "NO_PHASE")
    notes.append(f"phase {phase} of {len(found)} was chosen")
    return found[int(phase) - 1]


def _told(part: list[Slice], what: int) -> str:
    text = f"{len(part)} slices"
    values = {s.moment[what] for s in part}
    return f"{text}, {MOMENTS[what].format(values.pop())}" if MOMENTS[what] and len(values) == 1 else text


def phases(stack: list[Slice]) -> tuple[int, list[list[Slice]]]:
    """Scans that lie one over the other, in the order of time, and which of MOMENTS tells them apart; none if the
    slices are one scan.

    Scans that lie end to end, as a table that moves makes them, are one.
    """
    normal = stack[0].normal
    stack = sorted(stack, key=lambda s: float(s.position @ normal))
    layer = layers(stack)
    for what in range(len(MOMENTS) - 1):
        values = [s.moment[what] for s in stack]
        kinds = sorted({v for v in values if v is not None})
        if None in values or not 2 <= len(kinds) <= len(stack) // 2:
            continue
        members = [[n for n, v in enumerate(values) if v == kind] for kind in kinds]
        places = [layer[m] for m in members]
        if min(map(len, members)) > 1 and all(len(set(p)) == len(p) for p in places) and _overlap(places):
            return what, [[stack[n] for n in m] for m in members]
    return len(MOMENTS) - 1, _ranked(stack, layer)


def _overlap(places: list[np.ndarray]) -> bool:
    """Whether one of several ranges of places reaches into another."""
    ends = sorted((int(p.min()), int(p.max())) for p in places)
    return any(later[0] < max(e for _, e in ends[:n]) for n, later in enumerate(ends) if n)


def _ranked(stack: list[Slice], layer: np.ndarray) -> list[list[Slice]]:
    """The first, second, ... in time at each place, where every place has as many slices of different moments."""
    count = len(stack) // (int(layer[-1]) + 1)
    if count < 2 or (np.bincount(layer) != count).any() or int(layer[-1]) < 1:
        return []
    found: list[list[Slice]] = [[] for _ in range(count)]
    for start in range(0, len(stack), count):
        here = sorted(stack[start : start + count], key=_when)
        if len({_when(s) for s in here}) < count:
            return []
        for part, s in zip(found, here):
            part.append(s)
    return found


def _when(s: Slice) -> tuple[float, ...]:
    return tuple(-1.0 if m is None else m for m in s.moment)
