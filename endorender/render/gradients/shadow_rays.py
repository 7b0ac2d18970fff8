"""Shadow rays of the adjoint: what `volpath.visibility` sees, and what its derivatives ask of the way."""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium.traits import Traits
from endorender.render.transport import shading, tracking
from endorender.render.transport.tracking import SURFACE
from endorender.scene import surface as coat_model

vec2, vec3 = ti.math.vec2, ti.math.vec3


@kernels
def device(kind: str, surface: str, dtype: str, phase: Any, traits: Traits, marks: bool) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode. marks: whether a point on the way is wanted."""
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, 3, traits)
    WALL = surface == "interface"
    Lit = ti.types.struct(seen=float, length=float, point=vec3, coat=vec2)

    @ti.func
    def visibility(world: ti.template(), x, w, distance, inside, rng: ti.template(), side: ti.template()):
        """What gets through, mm of it in the medium, a uniform point of those, d log / d (specular, roughness)."""
        m = ti.static(world.medium)
        lit = Lit(seen=1.0, length=0.0, point=x, coat=vec2(0.0))
        o, left, within = x, distance, inside
        while lit.seen > 0.0:
            budget = sampling.exponential(rng)
            event, s, _, through = t.shine(m, o, w, left, within, False, budget, rng)
            lit.seen *= through.x
            if ti.static(marks):
                if within if ti.static(WALL) else True:
                    lit.length += s
                    if rand(side) * lit.length < s:
                        lit.point = o + rand(side) * s * w
            if event != SURFACE:
                break
            if ti.static(WALL):
                o += (s + world.view.nudge) * w
                left -= s + world.view.nudge
                n = t.normal(m, o)
                here = shade.coating(world, o, 0.0)
                lit.seen *= 1.0 - shade.mirrored(world, here, n, w)
                lit.coat -= passing(world, here, n, w)
                within = t.value(m, o) >= m.threshold
        return lit

    @ti.func
    def passing(world: ti.template(), here, n, d):
        """-d log / d (specular, roughness) of what the coat lets pass. here: of the coat: roughness, weight, IOR.

        The table's own slope: it is linear between nodes.
        """
        up, down = here, here
        up[0] = ti.min(1.002 * here[0], ti.static(coat_model.ALPHA[1]))
        down[0] = ti.max(0.998 * here[0], ti.static(coat_model.ALPHA[0]))
        mirror = shade.mirrored(world, here, n, d)
        by_alpha = (shade.mirrored(world, up, n, d) - shade.mirrored(world, down, n, d)) / (up[0] - down[0])
        return vec2(mirror / ti.max(here[1], 1e-6), by_alpha) / ti.max(1.0 - mirror, 1e-6)

    return SimpleNamespace(visibility=visibility, passing=passing)
