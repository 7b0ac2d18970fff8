"""A path's deposits, kept until its radiance is known: a tape of fixed length for each pixel of a launch."""

from endorender.engine import ti
from endorender.render.device.rng import mix, rand

TAPE = 512  # entries
MARGIN = 96  # what one vertex may add
TOTAL, RED, OWN = 0, 1, 4  # tags: weight × radiance to come; RED + c: of that channel; the weight itself


@ti.func
def put(book: ti.template(), tape: ti.template(), end: ti.template(), slot, tag, weight, base):
    """end: (line, entries on it). base: what the path had brought of the tag's radiance before."""
    if end[1] < TAPE:
        book[end[0], end[1]] = slot * 8 + tag
        tape[end[0], end[1], 0] = weight
        tape[end[0], end[1], 1] = base
    end[1] += 1


@ti.func
def put3(book: ti.template(), tape: ti.template(), end: ti.template(), slot, tag, weights, base):
    """Three neighbouring slots."""
    for a in ti.static(range(3)):
        put(book, tape, end, slot + a, tag, weights[a], base)


@ti.func
def add(grads: ti.template(), slot, value, grain: ti.f64, side: ti.template()):
    """Add to a sum, rounded to a multiple of `grain`, up or down by chance so that it is right on average.

    Sums of multiples of a power of two are exact in float64, up to 2⁵³ of them: no order of additions, and so no
    number of threads, changes a bit.
    """
    share = ti.cast(value, ti.f64) / grain + ti.cast(rand(side), ti.f64)
    ti.atomic_add(grads[slot], ti.floor(share) * grain)


@ti.func
def settle(
    book: ti.template(),
    tape: ti.template(),
    end: ti.template(),
    total,
    grads: ti.template(),
    grain: ti.f64,
    side,
):
    """Deposit what is on the tape and clear it. total: radiance of the path, by tag, times the picture's gradient.

    side: a random state that is not advanced, so that a path settled in parts draws what one settled at once does.
    """
    dust = mix(side)
    for i in range(ti.min(end[1], TAPE)):
        code = book[end[0], i]
        tag = code & 7
        value = tape[end[0], i, 0]
        if tag != OWN:
            value *= total[tag] - tape[end[0], i, 1]
        add(grads, code >> 3, value, grain, dust)
    end[1] = 0
