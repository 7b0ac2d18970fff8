"""Shadow rays: what of a light gets to a vertex, through tissue and walls. One loop for `volpath` and the adjoint."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.medium.collision import UNWATCHED
from endorender.render.medium.traits import Traits
from endorender.render.transport import coating, colour, tracking
from endorender.render.transport.tracking import COLLISION, SURFACE


@ti.func
def _no_leg(marks: ti.template(), budget: ti.template(), rng: ti.template()):
    pass


@ti.func
def _not_crossed(marks: ti.template(), o, w, s, within):
    pass


@ti.func
def _not_passed(marks: ti.template(), world: ti.template(), here, n, w):
    pass


class Marks(NamedTuple):
    """What somebody notes on the way: functions, called with these marks, and the variables that they change.

    leg(marks, budget, rng): before each leg. crossed(marks, o, w, s, within): s mm from o on. passed(marks, world,
    here, n, w): through a coat, from `coating.coating`, with normal n. stretch: of a leg, as in `collision.Watch`.
    """

    leg: Any = _no_leg
    crossed: Any = _not_crossed
    passed: Any = _not_passed
    stretch: Any = UNWATCHED.stretch
    lit: Any = None
    ray: Any = None


NOTHING_NOTED = Marks()


@kernels
def device(kind: str, surface: str, dtype: str, phase: Any, channels: int, traits: Traits) -> SimpleNamespace:
    """Taichi function `visibility` for one kind of everything (see `volpath.tracer`)."""
    t = tracking.device(kind, surface, dtype, traits)
    colours = colour.device(kind, surface, phase, channels, traits)
    film = coating.device(kind, surface, traits)
    WALL = surface == "interface"
    # What shadow rays bring: of red, green, blue; by the similarity relation of each look's channels.
    S = channels if traits.similar else 3
    Seen = ti.types.vector(S, ti.f32)

    @ti.func
    def visibility(
        world: ti.template(),
        x,
        w,
        distance,
        inside,
        reduced,
        budget: ti.template(),
        rng: ti.template(),
        marks: ti.template(),
    ):
        """(S,) estimate of what gets through; each pass through the coat costs what it reflects."""
        m = ti.static(world.medium)
        seen = Seen(1.0)
        o, left, within = x, distance, inside
        while seen.max() > 0.0:
            marks.leg(marks, budget, rng)
            event, s, hu, through = t.shine(m, o, w, left, within, reduced, budget, rng, marks)
            for c in ti.static(range(S)):
                seen[c] *= through[c % 3]
            if ti.static(traits.similar):
                if event == COLLISION:
                    o += s * w
                    left -= s
                    beyond = Seen(0.0)
                    if reduced:
                        beyond = colours.beyond(world, o, hu, rng)
                    seen *= beyond
                    continue
            marks.crossed(marks, o, w, s, within)
            if event != SURFACE:
                break
            if ti.static(traits.refracting):
                seen *= 0.0  # a straight ray through a wall that bends light is no path
            elif ti.static(WALL):
                o += (s + world.view.nudge) * w
                left -= s + world.view.nudge
                here, n = film.coating(world, o, 0.0), t.normal(m, o)
                seen *= 1.0 - film.mirrored(world, here, film.filmed(world, o, w, n), w)
                marks.passed(marks, world, here, n, w)
                within = t.value(m, o) >= m.threshold
        return seen

    return SimpleNamespace(visibility=visibility)
