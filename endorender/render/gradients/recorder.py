"""What the adjoint notes beside a walk: at each event, what the path's value owes to every parameter.

A walk calls these functions as it meets things. Of what is not wanted nothing is noted: the primal walk, for which
nothing is, compiles to the walk alone.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.gradients import attenuation, derivatives, motion, shadow_rays
from endorender.render.gradients.derivatives import POINT, G
from endorender.render.gradients.tape import OWN, RED, TOTAL, put, put3, put_at
from endorender.render.medium import field as fields
from endorender.render.medium.field import FAR
from endorender.render.medium.traits import Traits
from endorender.render.transport import illumination, shading
from endorender.render.transport.emitters import E

vec2 = ti.math.vec2


class Path(NamedTuple):
    """What a walk knows of its path: names for variables of the kernel, by `ti.static(Path(...))`."""

    radiance: Any  # (3,) what it has brought so far
    beta: Any  # (3,) throughput
    scatterings: Any
    keeps: Any  # whether this leg is noted
    dl: Any  # (3,) the picture's gradient
    ray: Any  # `attenuation.Ray`
    side: Any  # random state of the derivatives
    tape: Any  # `tape.Tape`
    rest: Any  # slot of the first emitter
    once: Any  # slot of what a view has once


class Vertex(NamedTuple):
    """Where the path is: names, as above."""

    ev: Any  # `shading` Event
    place: Any  # at, d towards it, floats of the phase there, whether it is a scattering
    hit: Any  # mm flown towards it
    at: Any  # row of the table, or voxel


@kernels
def device(kind: str, surface: str, dtype: str, phase: Any, traits: Traits, wanted: tuple) -> SimpleNamespace:
    """Taichi functions for one kind of everything. wanted: of `coverage.WANTED`."""
    slope = derivatives.device(kind, surface, phase, traits)
    move = motion.device(kind, surface, phase, traits)
    look = fields.device(kind, surface, traits)
    lighting = illumination.device(3)
    COAT, PHASE, GRID = shading.COAT, shading.PHASE, kind != "tissue"
    SIGMA, ALBEDO, FORWARD, COATED = (name in wanted for name in ("sigma_t", "albedo", "phase", "coat"))
    LIGHTS, PLACES, POSE, SKY = (name in wanted for name in ("lights", "places", "pose", "sky"))
    passing = shadow_rays.device(kind, surface, dtype, phase, traits, PLACES, COATED).passing

    @ti.func
    def attenuated(world: ti.template(), path: ti.template(), o, d, end, tag, gain, base):
        """By what the ray o + t d met before t = end."""
        for i in range(attenuation.points(path.ray)):
            length, t = attenuation.point(path.ray, i)
            if t <= end:
                put_at(path.tape, slope.sigma_place(world, o + t * d, path.side), tag, -length * gain, base)

    @ti.func
    def flown(world: ti.template(), path: ti.template(), o, d):
        """A flight, as far as it went."""
        if ti.static(SIGMA):
            attenuated(world, path, o, d, FAR, TOTAL, 1.0, path.dl.dot(path.radiance))

    @ti.func
    def met(world: ti.template(), path: ti.template(), e, met, o, d, start, length, came):
        """Emitter e, which a ray passes: met.distance away, of that at most `length` mm in the medium."""
        emitters = ti.static(world.emitters)
        plain = path.beta * met.shine
        gain = path.dl.dot(plain * lighting.vector(emitters, e, E.COLOUR))
        slot = path.rest + e * (E.COLOUR + 3)
        reach = ti.math.clamp(met.distance - start, 0.0, length)
        if ti.static(LIGHTS):
            if path.keeps:
                put3(path.tape, slot + E.COLOUR, OWN, path.dl * plain, 0.0)
                fall = -1.0 - d.dot(lighting.vector(emitters, e, E.AXIS))
                put(path.tape, slot + E.MU, OWN, fall * gain, 0.0)
        if ti.static(SIGMA):
            if path.keeps:
                attenuated(world, path, o, d, met.distance, OWN, gain, 0.0)
        if ti.static(PLACES):
            if path.keeps and came.any == 1:
                point = o + d * (start + rand(path.side) * reach)
                move.put_light(world, path.tape, slot, e, came, d, met.distance, reach, point, gain)

    @ti.func
    def escaped(path: ti.template(), got):
        """Into the sky, which brings `got`."""
        if ti.static(SKY):
            if path.keeps:
                put3(path.tape, path.once + G.SKY, OWN, path.dl * got, 0.0)

    @ti.func
    def _coat(path: ti.template(), tag, by, base):
        put(path.tape, path.once + G.SPECULAR, tag, by[0], base)
        put(path.tape, path.once + G.ROUGHNESS, tag, by[1], base)

    @ti.func
    def emerged(world: ti.template(), path: ti.template(), ev, d):
        """Out of the tissue, through the coat."""
        if ti.static(COATED):
            if path.keeps:
                _coat(path, TOTAL, -passing(world, ev.coat, ev.n, d), path.dl.dot(path.radiance))

    @ti.func
    def collided(world: ti.template(), path: ti.template(), x, hu, ev, node, most_air):
        """At x, where the field is `hu`. node: voxel of a grid whose albedo was taken. Row of the table, or voxel."""
        at = node
        m = ti.static(world.medium)
        if ti.static(not GRID and (SIGMA or ALBEDO or FORWARD)):
            at = slope.row(hu, m.wall_hu, path.side)
        if ti.static(SIGMA):
            if path.keeps:
                v, there = hu, ti.math.ivec2(slope.sigma_slot(at), 0)
                if ti.static(GRID):  # as statements: see the light's sample in volpath
                    v, there = look.value(m, x), slope.sigma_place(world, x, path.side)
                sigma = ti.max(look.sigma(m, x * m.inv, v), 1e-9)
                near = sigma / (sigma * sigma + most_air * most_air)
                put_at(path.tape, there, TOTAL, near, path.dl.dot(path.radiance))
        if ti.static(ALBEDO):
            if path.keeps:
                for c in ti.static(range(3)):
                    if ev.albedo[c] > 0.0:
                        slot, inverse = slope.albedo_slot(world, at, c), 1.0 / ev.albedo[c]
                        put(path.tape, slot, RED + c, inverse, path.dl[c] * path.radiance[c])
        return at

    @ti.func
    def seen(world: ti.template(), path: ti.template(), o, d, hit, in_camera, at_pixel):
        """By the camera, if this is the first scattering: see `motion.put_camera`."""
        if ti.static(POSE):
            if path.keeps and path.scatterings == 1:
                base = path.dl.dot(path.radiance)
                s = rand(path.side)
                move.put_camera(world, path.tape, path.once, base, o, d, hit, in_camera, at_pixel, s)

    @ti.func
    def lit(world: ti.template(), path: ti.template(), here: ti.template(), light, way, plain, group: ti.template()):
        """By a sampled light, through `way` (of `shadow_rays`). plain: what it brings over its radiance. group: 1: the
        environment."""
        w, d = light.direction, here.place.d
        got = plain * light.radiance
        gain = path.dl.dot(got)
        if path.keeps and way.seen > 0.0:
            emitters = ti.static(world.emitters)
            slot = path.rest + light.index * (E.COLOUR + 3)
            if ti.static(LIGHTS and group == 0):
                put3(path.tape, slot + E.COLOUR, OWN, path.dl * plain * light.shine, 0.0)
                if ti.cast(emitters[light.index, E.KIND], ti.i32) != POINT:
                    fall = -1.0 - w.dot(lighting.vector(emitters, light.index, E.AXIS))
                    put(path.tape, slot + E.MU, OWN, fall * gain, 0.0)
            if ti.static(SKY and group == 1):
                put3(path.tape, path.once + G.SKY, OWN, path.dl * got, 0.0)
            if ti.static(SIGMA):
                attenuated(world, path, way.at, w, FAR, OWN, gain, 0.0)
            if ti.static(PLACES and group == 0):
                move.put_light(
                    world, path.tape, slot, light.index, here.place, w, light.distance, way.length, way.point, gain
                )
            if ti.static(FORWARD):
                if here.ev.kind == PHASE:
                    slope.put_phase(world, path.tape, here.at, d.dot(w), here.ev.phase, OWN, gain, 0.0)
            if ti.static(POSE):
                if path.scatterings == 1:
                    move.put_bend(world, path.tape, path.once, OWN, gain, 0.0, d, w, here.hit, here.ev.phase)
            if ti.static(COATED):
                by = way.coat
                if here.ev.kind == COAT:
                    rough = slope.roughness_slope(d, w, here.ev.film, here.ev.coat)
                    by += vec2(1.0 / here.ev.coat[1], rough)
                _coat(path, OWN, by * gain, 0.0)

    @ti.func
    def turned(world: ti.template(), path: ti.template(), here: ti.template(), turn):
        """Onwards, as `shading.sample` drew it."""
        w, d = turn.direction, here.place.d
        base = path.dl.dot(path.radiance)
        if ti.static(FORWARD):
            if path.keeps and here.ev.kind == PHASE:
                slope.put_phase(world, path.tape, here.at, d.dot(w), here.ev.phase, TOTAL, 1.0, base)
        if ti.static(POSE):
            if path.keeps and path.scatterings == 1:
                move.put_bend(world, path.tape, path.once, TOTAL, 1.0, base, d, w, here.hit, here.ev.phase)
        if ti.static(COATED):
            if path.keeps and here.ev.kind == COAT:
                by = -passing(world, here.ev.coat, here.ev.n, d)
                if turn.reflected == 1:
                    by = vec2(1.0 / here.ev.coat[1], slope.roughness_slope(d, w, here.ev.film, here.ev.coat))
                _coat(path, TOTAL, by, base)

    return SimpleNamespace(
        flown=flown, met=met, escaped=escaped, emerged=emerged, collided=collided, seen=seen, lit=lit, turned=turned
    )
