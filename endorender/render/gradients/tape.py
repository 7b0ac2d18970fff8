"""A path's deposits, kept until its radiance is known: a tape of fixed length for each pixel of a launch."""

from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.rng import mix, rand

TAPE = 512  # entries
MARGIN = 96  # what one vertex may add
TOTAL, RED, OWN = 0, 1, 4  # tags: weight × radiance to come; RED + c: of that channel; the weight itself


class Tape(NamedTuple):
    """Names for what a kernel has of it, by `ti.static(Tape(...))`."""

    slots: Any  # (lines, TAPE) int32: slot × 8 + tag
    weights: Any  # (lines, TAPE, 2): weight, and what the path had brought of the tag's radiance before
    end: Any  # (line, entries on it)


class Sums(NamedTuple):
    """Where deposits go."""

    grads: Any  # (slots,) float64
    grain: Any  # float64: sums are multiples of it


@ti.func
def put(tape: ti.template(), slot, tag, weight, base):
    """base: what the path had brought of the tag's radiance before."""
    if tape.end[1] < TAPE:
        tape.slots[tape.end[0], tape.end[1]] = slot * 8 + tag
        tape.weights[tape.end[0], tape.end[1], 0] = weight
        tape.weights[tape.end[0], tape.end[1], 1] = base
    tape.end[1] += 1


@ti.func
def put3(tape: ti.template(), slot, tag, weights, base):
    """Three neighbouring slots."""
    for a in ti.static(range(3)):
        put(tape, slot + a, tag, weights[a], base)


@ti.func
def add(sums: ti.template(), slot, value, side: ti.template()):
    """Add to a sum, rounded to a multiple of the grain, up or down by chance so that it is right on average.

    Sums of multiples of a power of two are exact in float64, up to 2⁵³ of them: no order of additions, and so no
    number of threads, changes a bit.
    """
    share = ti.cast(value, ti.f64) / sums.grain + ti.cast(rand(side), ti.f64)
    ti.atomic_add(sums.grads[slot], ti.floor(share) * sums.grain)


@ti.func
def settle(tape: ti.template(), total, sums: ti.template(), side):
    """Deposit what is on the tape and clear it. total: radiance of the path, by tag, times the picture's gradient.

    side: a random state that is not advanced, so that a path settled in parts draws what one settled at once does.
    """
    dust = mix(side)
    for i in range(ti.min(tape.end[1], TAPE)):
        code = tape.slots[tape.end[0], i]
        tag = code & 7
        value = tape.weights[tape.end[0], i, 0]
        if tag != OWN:
            value *= total[tag] - tape.weights[tape.end[0], i, 1]
        add(sums, code >> 3, value, dust)
    tape.end[1] = 0
