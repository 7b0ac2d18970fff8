"""Where the attenuation of a ray is deposited: at points that are stratified over the cells which the ray crossed.

A ray from wall to wall is nearly all air: told by one uniform point of its whole length, tissue would get rare deposits
as large as the whole ray is long. So the empty cells of a ray have one point together, and each other cell has one.
"""

from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.rng import rand
from endorender.render.gradients.tape import TAPE

POINTS = 8  # of a ray, in cells that are not empty; what crosses more of them has points that tell of several
SCRATCH = POINTS + 1  # what is needed of a tape's line behind its entries
Stretch = ti.types.struct(length=float, at=float)


class Ray(NamedTuple):
    """A ray that is watched (`collision.Watch`): names for variables of the kernel, by `ti.static(Ray(...))`."""

    stretch: Any  # the function below, or `collision.UNWATCHED`'s
    keeps: Any  # whether anything is to be kept
    count: Any  # of stretches that are not empty
    air: Any  # `Stretch`: mm of the empty ones, and one uniform point of them
    gone: Any  # mm from the ray's origin to that of the walk
    tape: Any  # `tape.Tape`: behind its entries are the same two numbers for each of the other points
    side: Any  # random state of the derivatives


@ti.func
def begin(ray: ti.template()):
    """Nothing is known of it yet."""
    ray.count, ray.gone, ray.air.length = 0, 0.0, 0.0


@ti.func
def stretch(ray: ti.template(), near, far, empty):
    """Note a stretch. Any that share a point do so by a reservoir, which leaves it uniform over all that it tells."""
    length = far - near
    if ray.keeps and length > 0.0:
        at = ray.gone + near + rand(ray.side) * length
        if empty:
            ray.air.length += length
            if rand(ray.side) * ray.air.length < length:
                ray.air.at = at
        else:
            i, whole = TAPE + ray.count % POINTS, length
            if ray.count >= POINTS:
                whole += ray.tape.weights[ray.tape.end[0], i, 0]
            ray.tape.weights[ray.tape.end[0], i, 0] = whole
            if rand(ray.side) * whole < length:
                ray.tape.weights[ray.tape.end[0], i, 1] = at
            ray.count += 1


@ti.func
def points(ray: ti.template()):
    """How many points the ray has."""
    return ti.min(ray.count, POINTS) + ti.cast(ray.air.length > 0.0, ti.i32)


@ti.func
def point(ray: ti.template(), i):
    """The i-th: mm of the ray that it tells of, and at how many mm of the ray it is."""
    out = ti.math.vec2(ray.air.length, ray.air.at)
    if i < ti.min(ray.count, POINTS):
        for a in ti.static(range(2)):
            out[a] = ray.tape.weights[ray.tape.end[0], TAPE + i, a]
    return out
