"""The steps of which every walk is made: fly, leave the tissue, survive, look towards a light, go onwards.

Each integrator has a loop of its own, which reads as the physics that it estimates; what two loops do alike is here. A
loop keeps where it is in variables of its kernel. `Path` names them, and the steps change them in place.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium.traits import Traits
from endorender.render.transport import refraction, shading, tracking
from endorender.render.transport.tracking import FAR, NOTHING
from endorender.render.transport.world import Lit


class Path(NamedTuple):
    """Where a path is: names for variables of a kernel, by `ti.static(Path(...))`."""

    o: Any  # mm, grid frame
    d: Any  # unit vector
    inside: Any  # whether o lies in tissue; matters where there is a wall
    entered: Any  # whether it has come into the grid: the lens may lie outside
    vertex: Any  # where the direction was last sampled
    density: Any  # of that direction; -1: nothing else could have sampled it
    radiance: Any  # (C,) what it has brought so far
    beta: Any  # (C,) throughput
    scatterings: Any
    rng: Any
    link: Any = None  # how it has come from the vertex, and where it left the tissue: see `refraction`
    exit: Any = None


@kernels
def device(kind: str, surface: str, dtype: str, phase: Any, channels: int, lit: Lit, traits: Traits) -> SimpleNamespace:
    """Taichi functions for one kind of everything (see `volpath.tracer`).

    LEAVES: whether a path in tissue leaves it by `emerge`, instead of by an event of the wall.
    """
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, channels, traits)
    WALL, BENDS, COAT = surface == "interface", traits.refracting, shading.COAT
    wall: Any = None
    if BENDS:
        wall = refraction.device(kind, surface, dtype, phase, channels, traits, lit.outlines, lit.profiles)
    Spectrum = shade.Spectrum

    @ti.func
    def per_channel(v):
        """(3,) for red, green, blue -> the same for every look's channels; (C,) stays."""
        out = Spectrum(0.0)
        for c in ti.static(range(channels)):
            out[c] = v[c % v.n]
        return out

    @ti.func
    def stand(world: ti.template(), path: ti.template(), o):
        """At o, on this side of the wall or on that."""
        path.o = o
        path.inside = t.value(world.medium, o) >= world.view.threshold

    @ti.func
    def fly(world: ti.template(), path: ti.template(), flight: ti.template(), reduced):
        """To the wall, to a collision, or out: (event, mm, field value there, mm of it before the grid, in the medium).

        flight: `collision.Flight`. reduced: by the similarity relation.
        """
        m = ti.static(world.medium)
        event, hit, hu = NOTHING, FAR, 0.0
        start, length, outside = 0.0, 0.0, False
        if not path.entered:
            # From here on every vertex lies in the grid.
            span = t.clip(m, path.o, path.d)
            start, outside = span[0], span[1] <= span[0]
            if ti.static(WALL):
                path.inside = t.value(m, path.o + path.d * start) >= world.view.threshold
            path.entered = True
        if not outside:
            before = flight.share
            event, hit, hu, _ = t.march(m, path.o, path.d, start, FAR, path.inside, ti.static(False), reduced, flight)
            if path.inside if ti.static(WALL) else True:
                length = ti.max(hit - start, 0.0)
            if event == NOTHING:
                hit = FAR
            if ti.static(traits.chromatic):
                path.beta *= per_channel(flight.share / ti.max(before, 1e-30))
        return event, hit, hu, start, length

    @ti.func
    def emerge(world: ti.template(), path: ti.template(), ev, x):
        """Out of the tissue at x; where light bends, or reflected back into it."""
        nudge = world.view.nudge
        if ti.static(BENDS):
            direct = path.link == refraction.DIRECT and path.density >= 0.0
            turned, gone = wall.leave(world, ev, x, path.d, path.rng)
            path.link = refraction.JOINED if direct and gone == 1 else refraction.STRAY
            path.d, path.density, path.exit = turned, -1.0, x
            stand(world, path, x + nudge * (-ev.n if gone == 1 else ev.n))
        else:
            # Light that comes in here has lost what the coat reflects.
            path.beta *= 1.0 - ev.reflect
            stand(world, path, x + nudge * path.d)

    @ti.func
    def survives(world: ti.template(), path: ti.template()):
        """Whether roulette lets a path live. Never capped below 1: a cap makes the variance diverge at high albedo."""
        alive = True
        top = path.beta.max()
        if top < world.view.roulette:
            if rand(path.rng) * world.view.roulette >= top:
                alive = False
            else:
                path.beta *= world.view.roulette / top
        return alive

    @ti.func
    def outlook(world: ti.template(), path: ti.template(), ev, x, w):
        """Where a shadow ray from the vertex x along w begins, and whether in tissue."""
        o, inside = x, path.inside
        if ti.static(WALL):
            if ev.kind == COAT:
                o = shade.beside(world, ev, x, w)
                inside = t.value(world.medium, o) >= world.view.threshold
        return o, inside

    @ti.func
    def onwards(world: ti.template(), path: ti.template(), ev, x, turn):
        """From the vertex x, as `shading.sample` drew it."""
        path.o = x
        if turn.reflected == 1:
            path.beta *= turn.weight
            path.d = turn.direction
            path.density = turn.density
            path.vertex = x
            if ti.static(BENDS):
                path.link = refraction.DIRECT
        if ti.static(WALL):
            if ev.kind == COAT:
                if ti.static(BENDS):
                    if turn.reflected == 0:
                        path.d = refraction.bend(ev.n, path.d, 1.0 / ev.coat[2])
                        path.density, path.link = -1.0, refraction.STRAY
                o = x + world.view.nudge * path.d
                if turn.reflected == 1:
                    o = shade.beside(world, ev, x, path.d)
                stand(world, path, o)

    return SimpleNamespace(
        LEAVES=WALL and (BENDS or not shade.BORDER),
        wall=wall,
        per_channel=per_channel,
        fly=fly,
        emerge=emerge,
        survives=survives,
        outlook=outlook,
        onwards=onwards,
    )
