"""What derivatives ask of a shadow ray's way: where it met the medium, a uniform point of that, the coats it passed."""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.gradients import attenuation
from endorender.render.medium.traits import Traits
from endorender.render.transport import coating, shadow_rays
from endorender.render.transport.shadow_rays import Marks
from endorender.scene import surface as coat_model

vec2, vec3 = ti.math.vec2, ti.math.vec3


@kernels
def device(
    kind: str, surface: str, dtype: str, phase: Any, traits: Traits, places: bool, coat: bool
) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode. places: whether a point on the way is wanted. coat:
    whether the derivatives by the coat are."""
    film = coating.device(kind, surface, traits)
    shadow = shadow_rays.device(kind, surface, dtype, phase, 3, traits)
    WALL = surface == "interface"
    Lit = ti.types.struct(seen=float, at=vec3, length=float, point=vec3, coat=vec2)

    @ti.func
    def passing(world: ti.template(), here, n, d):
        """-d log / d (specular, roughness) of what the coat lets pass. here: of the coat: roughness, weight, IOR.

        The table's own slope: it is linear between nodes.
        """
        up, down = here, here
        up[0] = ti.min(1.002 * here[0], ti.static(coat_model.ALPHA[1]))
        down[0] = ti.max(0.998 * here[0], ti.static(coat_model.ALPHA[0]))
        mirror = film.mirrored(world, here, n, d)
        by_alpha = (film.mirrored(world, up, n, d) - film.mirrored(world, down, n, d)) / (up[0] - down[0])
        return vec2(mirror / ti.max(here[1], 1e-6), by_alpha) / ti.max(1.0 - mirror, 1e-6)

    @ti.func
    def leg(marks: ti.template(), budget: ti.template(), rng: ti.template()):
        budget = sampling.exponential(rng)  # noqa: F841 (handed back)

    @ti.func
    def crossed(marks: ti.template(), o, w, s, within):
        marks.ray.gone += s
        if ti.static(places):
            if within if ti.static(WALL) else True:
                marks.lit.length += s
                if rand(marks.ray.side) * marks.lit.length < s:
                    marks.lit.point = o + rand(marks.ray.side) * s * w

    @ti.func
    def passed(marks: ti.template(), world: ti.template(), here, n, w):
        marks.ray.gone += world.view.nudge
        if ti.static(coat):
            marks.lit.coat -= passing(world, here, n, w)

    @ti.func
    def stretch(marks: ti.template(), near, far, empty):
        marks.ray.stretch(marks.ray, near, far, empty)

    @ti.func
    def visibility(world: ti.template(), x, w, distance, inside, rng: ti.template(), ray: ti.template()):
        """What gets through, mm of it in the medium, a uniform point of those, d log / d (specular, roughness)."""
        lit = Lit(seen=1.0, at=x, length=0.0, point=x, coat=vec2(0.0))
        budget = 0.0
        attenuation.begin(ray)
        marks = ti.static(Marks(leg, crossed, passed, stretch, lit, ray))
        lit.seen = shadow.visibility(world, x, w, distance, inside, False, budget, rng, marks)[0]
        return lit

    return SimpleNamespace(visibility=visibility, passing=passing)
