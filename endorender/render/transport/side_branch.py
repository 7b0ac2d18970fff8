"""A second way to the last collision but one before an emitter, where tissue scatters forward.

Through a narrow phase function next-event estimation finds light only from a collision that is reached in line with
it: seldom, and then with much. So from a collision at x a branch also leaves within the lobe about the direction of an
emitter, to a collision y from which light of that emitter is sampled. The path itself may come from x to y as well:
both are weighed by the balance heuristic (Veach 1995, eq. 9.8) over the direction between x and y, which is all that
they differ in.
"""

import functools
from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand, rand2
from endorender.render.medium.collision import Flight
from endorender.render.medium.traits import Traits
from endorender.render.transport import illumination, shading, shadow_rays, tracking
from endorender.render.transport.emitters import E
from endorender.render.transport.shadow_rays import NOTHING_NOTED
from endorender.render.transport.tracking import COLLISION, FAR
from endorender.scene.light import Kind
from endorender.scene.scene import Scene

PEAK = 0.7  # mean cosine from which branches are worth their time: docs/performance.md
OFTEN = 0.5  # chance of a branch towards an emitter, over how much brighter than evenly the phase function sends there
PI = 3.14159265
DIRECTIONAL = int(Kind.DIRECTIONAL)


def worth(scene: Scene, traits: Traits) -> bool:
    """Whether a scene's paths branch. Where channels fly apart, paths change their kind or light bends, none does."""
    emitters = any(hasattr(light, "emitters") for light in scene.lights)
    plain = not (traits.chromatic or traits.similar or traits.refracting) and traits.coat.role == "film"
    cosine = getattr(scene.phase, "mean_cosine", lambda: 0.0)  # one from elsewhere need not tell
    return emitters and plain and cosine() >= PEAK


@functools.cache
def fork(floats: int) -> Any:
    """A collision from which paths branch: at x of one along d, with so many numbers of the phase function."""
    return ti.types.struct(x=ti.math.vec3, d=ti.math.vec3, phase=ti.types.vector(floats, ti.f32))


@kernels
def device(
    kind: str,
    surface: str,
    dtype: str,
    phase: Any,
    channels: int,
    traits: Traits,
    outlines: tuple,
    profiles: tuple = (),
) -> SimpleNamespace:
    """Taichi functions `branch` and `share` for one kind of everything (see `volpath.tracer`)."""
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, channels, traits)
    lighting = illumination.device(channels, outlines, profiles)
    shadow = shadow_rays.device(kind, surface, dtype, phase, channels, traits)
    sample, pdf = phase.device()
    Spectrum, PHASE = shade.Spectrum, shading.PHASE

    @ti.func
    def towards(emitters: ti.template(), e, x):
        """The axis of the lobe at x: where the middle of emitter e is."""
        axis = -lighting.vector(emitters, e, E.AXIS)
        if ti.cast(emitters[e, E.KIND], ti.i32) != DIRECTIONAL:
            away = lighting.vector(emitters, e, E.POSITION) - x
            axis = away / ti.max(away.norm(), 1e-6)
        return axis

    @ti.func
    def chance(world: ti.template(), here, axis):
        """Of a branch: as likely as it brings much."""
        return ti.min(ti.static(OFTEN * 4.0 * PI) * pdf(here.d.dot(axis), here.phase, world.phase), 1.0)

    @ti.func
    def share(world: ti.template(), here, w, density, e):
        """Weight of a path that has gone on from `here` along w, sampled with `density`, for light of emitter e."""
        axis = towards(world.emitters, e, here.x)
        return density / (density + chance(world, here, axis) * pdf(axis.dot(w), here.phase, world.phase))

    @ti.func
    def branch(world: ti.template(), here, budget: ti.template(), rng: ti.template()):
        """(C,) light by way of a second collision, weighed against the path's own way there."""
        found = Spectrum(0.0)
        n = world.emitters.shape[0]
        e = ti.min(ti.cast(rand(rng) * n, ti.i32), n - 1)
        axis = towards(world.emitters, e, here.x)
        often = chance(world, here, axis)
        if rand(rng) < often:
            u = rand2(rng)
            cosine = sample(u[0], here.phase, world.phase)
            w = sampling.around(axis, cosine, u[1])
            value = pdf(here.d.dot(w), here.phase, world.phase)
            value /= value + often * pdf(cosine, here.phase, world.phase)
            unused = ti.math.vec3(1.0)
            flight = ti.static(Flight(budget, unused, 0, rng))
            event, hit, hu, _ = t.march(world.medium, here.x, w, 0.0, FAR, True, ti.static(False), False, flight)
            if event == COLLISION:
                y = here.x + hit * w
                there = shade.event(world, y, w, hu, True, True, False, rng)
                if there.kind == PHASE:
                    light = lighting.sample_from(world.emitters, e, y, rng)
                    f = shade.bounce(world, there, w, light.direction)
                    gain = value * f.diffuse * there.albedo * light.radiance * lighting.weight(light, f.density)
                    if gain.max() > 0.0:
                        seen = shadow.visibility(
                            world, y, light.direction, light.distance, True, False, budget, rng, NOTHING_NOTED
                        )
                        for c in ti.static(range(channels)):
                            found[c] = gain[c] * seen[c % 3]
        return found

    return SimpleNamespace(branch=branch, share=share)
