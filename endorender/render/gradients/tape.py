"""A path's deposits, kept until its radiance is known: a tape of fixed length for each pixel of a launch."""

from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.rng import mix, rand

TAPE = 512  # entries
MARGIN = 96  # what one vertex may add
TOTAL, RED, OWN = 0, 1, 4  # tags: weight × radiance to come; RED + c: of that channel; the weight itself
# How a deposit is shared with the next voxels along each axis: 10 bits an axis, and a bit that says that it is.
BITS, SHARED = 10, 1 << 30


class Tape(NamedTuple):
    """Names for what a kernel has of it, by `ti.static(Tape(...))`."""

    slots: Any  # (lines, TAPE, 2) int32: slot × 8 + tag, and `shares`
    weights: Any  # (lines, TAPE + n, 2): weight, and what the path had brought of the tag's radiance before
    end: Any  # (line, entries on it)


class Sums(NamedTuple):
    """Where deposits go."""

    grads: Any  # (slots,) float64
    grain: Any  # float64: sums are multiples of it
    field: Any  # (I, J, K): its shape tells which slots are neighbours


@ti.func
def shares(f, side: ti.template()):
    """Pack weights (3,) of the upper neighbours, rounded up or down by chance so that they are right on average."""
    out = SHARED
    for a in ti.static(range(3)):
        most = ti.static((1 << BITS) - 1)
        out |= ti.math.clamp(ti.cast(f[a] * most + rand(side), ti.i32), 0, most) << (BITS * a)
    return out


@ti.func
def put_at(tape: ti.template(), place, tag, weight, base):
    """place: slot and `shares`, or 0. base: what the path had brought of the tag's radiance before."""
    line, i = tape.end[0], tape.end[1]
    if i < TAPE:
        tape.slots[line, i, 0], tape.slots[line, i, 1] = place[0] * 8 + tag, place[1]
        tape.weights[line, i, 0], tape.weights[line, i, 1] = weight, base
    tape.end[1] += 1


@ti.func
def put(tape: ti.template(), slot, tag, weight, base):
    """In one slot."""
    put_at(tape, ti.math.ivec2(slot, 0), tag, weight, base)


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
def add_at(sums: ti.template(), place, value, side: ti.template()):
    """Add at a place (slot, `shares`): to the slot, or to the eight voxels that it begins, by their weights."""
    if place[1] == 0:
        add(sums, place[0], value, side)
    else:
        for corner in range(8):
            slot, weight = place[0], 1.0
            for a in ti.static(range(3)):
                most = ti.static((1 << BITS) - 1)
                f = ti.cast((place[1] >> (BITS * a)) & most, ti.f32) / most
                stride = 1
                for b in ti.static(range(a + 1, 3)):
                    stride *= sums.field.shape[b]
                if (corner >> a) & 1 == 1:
                    slot += stride
                    weight *= f
                else:
                    weight *= 1.0 - f
            if weight > 0.0:
                add(sums, slot, weight * value, side)


@ti.func
def settle(tape: ti.template(), total, sums: ti.template(), side):
    """Deposit what is on the tape and clear it. total: radiance of the path, by tag, times the picture's gradient.

    side: a random state that is not advanced, so that a path settled in parts draws what one settled at once does.
    """
    dust = mix(side)
    for i in range(ti.min(tape.end[1], TAPE)):
        code = tape.slots[tape.end[0], i, 0]
        tag = code & 7
        value = tape.weights[tape.end[0], i, 0]
        if tag != OWN:
            value *= total[tag] - tape.weights[tape.end[0], i, 1]
        add_at(sums, ti.math.ivec2(code >> 3, tape.slots[tape.end[0], i, 1]), value, dust)
    tape.end[1] = 0
