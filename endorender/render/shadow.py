"""Shadow rays of the adjoint: what `volpath.visibility` sees, and what its derivatives ask of the way."""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render import sampling, shading, tracking
from endorender.render.cache import kernels
from endorender.render.rng import rand
from endorender.render.tracking import SURFACE
from endorender.render.view import Traits

vec3 = ti.math.vec3


@kernels
def device(kind: str, surface: str, dtype: str, phase: Any, traits: Traits, marks: bool) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode. marks: whether a point on the way is wanted."""
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, 3, traits)
    WALL = surface == "interface"
    Lit = ti.types.struct(seen=float, length=float, point=vec3, coat=float)

    @ti.func
    def visibility(
        field: ti.template(),
        smooth: ti.template(),
        cells: ti.template(),
        table: ti.template(),
        labels: ti.template(),
        x,
        w,
        distance,
        inside,
        q,
        rng: ti.template(),
        side: ti.template(),
    ):
        """What gets through, mm of it in the medium, a uniform point of those, and d log / d specular of coats."""
        lit = Lit(seen=1.0, length=0.0, point=x, coat=0.0)
        o, left, within = x, distance, inside
        while lit.seen > 0.0:
            budget = sampling.exponential(rng)
            event, s, _, through = t.shine(
                field, cells, table, labels, o, w, left, q.inv, q.threshold, q.wall_hu, within, False, budget, rng
            )
            lit.seen *= through.x
            if ti.static(marks):
                if within if ti.static(WALL) else True:
                    lit.length += s
                    if rand(side) * lit.length < s:
                        lit.point = o + rand(side) * s * w
            if event != SURFACE:
                break
            if ti.static(WALL):
                o += (s + q.nudge) * w
                left -= s + q.nudge
                n = t.normal(field, smooth, o, q.inv)
                here = shade.coating(labels, table, o, 0.0, q)
                mirror = shade.mirrored(here, n, w)
                lit.seen *= 1.0 - mirror
                lit.coat -= passing(mirror, here)
                within = t.value(field, o, q.inv) >= q.threshold
        return lit

    @ti.func
    def passing(mirror, here):
        """-d log (1 - mirror) / d specular. here: of the coat: roughness, weight, IOR."""
        return mirror / ti.max(here[1] * (1.0 - mirror), 1e-6)

    return SimpleNamespace(visibility=visibility, passing=passing)
