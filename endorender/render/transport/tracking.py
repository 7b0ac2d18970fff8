"""Moving along a ray: one walk through cells of bounds for free flights and shadow rays.

Positions in the grid frame (mm); t is in mm along unit directions; `m` is a `field.Medium`.
"""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium import collision, prepared
from endorender.render.medium import field as fields
from endorender.render.medium.collision import Flight
from endorender.render.medium.field import FAR
from endorender.render.medium.isosurface import crossing
from endorender.render.medium.traits import PLAIN, Traits

vec3 = ti.math.vec3
NOTHING, COLLISION, SURFACE = 0, 1, 2


@kernels
def device(kind: str, surface: str, dtype: str, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode. dtype of the field only keys the cache."""
    ORIGIN = 0.0 if kind == "tissue" else 0.5
    WALL = surface == "interface"
    CELL = float(prepared.CELL)
    look = fields.device(kind, surface, traits)
    real = collision.device(kind, surface, traits)
    clip, collides = look.clip, real.collides

    @ti.func
    def march(
        m: ti.template(),
        o,
        d,
        start,
        end,
        inside,
        shadow: ti.template(),
        reduced,
        flight: ti.template(),
    ):
        """One walk through the cells by DDA for free flights and, with `shadow`, for transmittance.

        A cell holds the bounds (most, least) of sigma_t; `most` < 0 marks one that needs care, since the wall may
        pass through it or it sticks out of the domain; an empty one holds instead of `least` how many cells on every
        side are empty too, so that lumens are crossed in leaps. A free flight ends at a tentative collision at rate
        `most` that is real with chance sigma_t / most: without a look-up where the draw is below `least` / most.

        reduced: by the similarity relation. Returns (event, t, field value there, share of light that passes).

        What a walk leaves of the flight's budget serves the next one, since an exponential draw does not remember (and
        was drawn early, see `collides`).
        """
        event = NOTHING
        hit = end
        found = 0.0  # the field at the collision
        oi, di = o * m.inv, d * m.inv
        per_cell = ti.static(1.0 / CELL)
        t = start
        through = 1.0  # of light (shadow)
        c = ti.math.ivec3(0)  # of a uniform grid every cell is like the first
        if ti.static(kind != "uniform"):
            u = (oi + di * t - ti.static(ORIGIN)) * per_cell
            last = ti.math.ivec3(m.cells.shape[0], m.cells.shape[1], m.cells.shape[2]) - 1
            c = ti.math.clamp(ti.cast(ti.floor(u), ti.i32), 0, last)
        most, least = m.cells[c.x, c.y, c.z, 0], m.cells[c.x, c.y, c.z, 1]
        came = start  # to where the ray was watched

        # 1. Most flights in dense tissue end in the cell where they begin: no set-up for those.
        local = most > 0.0
        if ti.static(kind == "uniform"):
            local = False
        if ti.static(WALL):
            local = local and inside
        mean = 1.0 / ti.max(ti.abs(most), 1e-20)  # free path between tentative collisions, mm
        while local:
            tq = t + flight.budget * mean
            p = oi + di * tq
            cq = ti.cast(ti.floor((p - ti.static(ORIGIN)) * per_cell), ti.i32)
            local = tq < end and cq.x == c.x and cq.y == c.y and cq.z == c.z
            if local:
                t = tq
                if collides(m, p, most, least, shadow, reduced, found, flight):
                    event = COLLISION
                    hit = t
                    local = False

        if ti.static(kind == "uniform"):
            # No cells, no look-ups: the way out is all there is to know.
            hit = ti.min(end, clip(m, o, d)[1])
            if ti.static(shadow):
                through = ti.exp(-hit * ti.abs(most))
            else:
                if t + flight.budget * mean < hit:
                    event = COLLISION
                    hit = t + flight.budget * mean
                flight.budget = sampling.exponential(flight.rng)
        # 2. From cell to cell.
        elif event == NOTHING:
            side = ti.math.ivec3(ti.select(d.x > 0, 1, -1), ti.select(d.y > 0, 1, -1), ti.select(d.z > 0, 1, -1))
            step = vec3(FAR)
            nxt = vec3(FAR)
            cell_index = vec3(c)
            for a in ti.static(range(3)):
                if ti.abs(di[a]) > 1e-12:
                    r = 1.0 / di[a]
                    step[a] = ti.abs(r) * ti.static(CELL)
                    edge = (cell_index[a] + ti.select(d[a] > 0, 1.0, 0.0)) * ti.static(CELL) + ti.static(ORIGIN)
                    nxt[a] = (edge - oi[a]) * r
                    rim = ti.select(d[a] > 0, m.field.shape[a] - 1.0 - ti.static(ORIGIN), ti.static(ORIGIN))
                    end = ti.min(end, (rim - oi[a]) * r)
            hit = end
            while t < end:
                te = ti.max(t, ti.min(nxt.min(), end))
                if most != 0.0:
                    bound = ti.abs(most)
                    mean = 1.0 / bound
                    if ti.static(WALL):
                        if most > 0.0 and not inside:
                            # Rounding let the ray slip past the wall at a cell's border.
                            event = SURFACE
                            hit = t
                    while event == NOTHING:
                        tq = te
                        candidate = False
                        if inside if ti.static(WALL) else True:
                            tq = t + flight.budget * mean
                            candidate = tq < te
                            tq = ti.min(tq, te)
                        if ti.static(WALL):
                            if most < 0.0 and tq > t:
                                tc = crossing(m.field, oi, di, t, tq, m.threshold, inside)
                                if tc >= 0.0:
                                    event = SURFACE
                                    if inside:
                                        flight.budget = ti.max(flight.budget - (tc - t) * bound, 0.0)
                                    tq = tc
                        hit = tq
                        if event != NOTHING:
                            break
                        if not candidate:
                            if inside if ti.static(WALL) else True:
                                flight.budget = ti.max(flight.budget - (te - t) * bound, 0.0)
                            break
                        t = tq
                        p = oi + di * t
                        if collides(m, p, bound, least, shadow, reduced, found, flight):
                            event = COLLISION
                    if event != NOTHING:
                        break
                elif ti.static(WALL):
                    inside = False
                empty = most == 0.0
                if empty and least > 0.0:
                    # A leap over `least` empty cells on every side, to where the ray leaves them.
                    ahead = nxt + least * step
                    t = ahead.min()
                    leap = ti.abs(ti.floor((oi + di * t - ti.static(ORIGIN)) * per_cell) - vec3(c))
                    leap = ti.math.clamp(leap, 0.0, least)
                    for a in ti.static(range(3)):
                        if ahead[a] == t:
                            leap[a] = least + 1.0
                    c += side * ti.cast(leap, ti.i32)
                    nxt += step * leap
                else:
                    t = nxt.min()
                    if nxt.x == t:
                        c.x += side.x
                        nxt.x += step.x
                    elif nxt.y == t:
                        c.y += side.y
                        nxt.y += step.y
                    else:
                        c.z += side.z
                        nxt.z += step.z
                if inside if ti.static(WALL) else True:
                    flight.watch.stretch(flight.watch, came, ti.min(t, end), empty)
                came = t
                if t >= end:
                    hit = end
                    break
                if (
                    c.x < 0
                    or c.y < 0
                    or c.z < 0
                    or c.x >= m.cells.shape[0]
                    or c.y >= m.cells.shape[1]
                    or c.z >= m.cells.shape[2]
                ):
                    hit = end  # where rounding lets the ray leave the cells before it
                    break
                most, least = m.cells[c.x, c.y, c.z, 0], m.cells[c.x, c.y, c.z, 1]
        if event == COLLISION:
            through = 0.0
        if ti.static(kind == "uniform") or event != NOTHING:
            if inside if ti.static(WALL) else True:
                flight.watch.stretch(flight.watch, came, hit, False)
        return event, hit, found, through

    @ti.func
    def walk(m: ti.template(), o, d, start, end, inside, rng: ti.template()):
        """Free flight from t = start to end or out of the domain: delta tracking (Woodcock 1965).

        inside: whether the ray starts in tissue; matters in the `interface` mode alone, where air is empty.
        Returns (event, t, field value there); the value is looked up where it colours tissue only.
        """
        unused, budget = vec3(1.0), sampling.exponential(rng)
        flight = ti.static(Flight(budget, unused, 0, rng))
        event, hit, found, _ = march(m, o, d, start, end, inside, ti.static(False), False, flight)
        return event, hit, found

    @ti.func
    def shine(
        m: ti.template(), o, d, end, inside, reduced, budget: ti.template(), rng: ti.template(), watch: ti.template()
    ):
        """Light that gets from o to the wall or the end: (event, t, field value there, (3,) transmittance).

        Visible or not, by delta tracking: COLLISION leaves none. Exact in a uniform grid, and ratio-tracked where
        channels differ. Where the similarity relation may let light pass a collision, it is a flight, with a hero of
        its own where channels differ, and says what has come as far as to the collision.
        """
        share, hero = vec3(1.0), 0
        if ti.static(traits.similar and traits.chromatic):
            hero = ti.min(ti.cast(rand(rng) * 3.0, ti.i32), 2)
        flight = ti.static(Flight(budget, share, hero, rng, watch))
        event, hit, found, through = march(m, o, d, 0.0, end, inside, ti.static(not traits.similar), reduced, flight)
        if ti.static(traits.similar):
            through = 1.0
        return event, hit, found, through * share

    return SimpleNamespace(
        **vars(look),
        crossing=crossing,
        march=march,
        walk=walk,
        shine=shine,
        SURFACE=SURFACE,
        COLLISION=COLLISION,
    )
