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


class Record(NamedTuple):
    """What is noted of a path, and where: names for variables of the kernel, by `ti.static(Record(...))`."""

    path: Any  # `steps.Path`
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
    def attenuated(world: ti.template(), record: ti.template(), o, d, end, tag, gain, base):
        """By what the ray o + t d met before t = end."""
        for i in range(attenuation.points(record.ray)):
            length, t = attenuation.point(record.ray, i)
            if t <= end:
                put_at(record.tape, slope.sigma_place(world, o + t * d, record.side), tag, -length * gain, base)

    @ti.func
    def flown(world: ti.template(), record: ti.template()):
        """A flight, as far as it went."""
        if ti.static(SIGMA):
            o, d = record.path.o, record.path.d
            attenuated(world, record, o, d, FAR, TOTAL, 1.0, record.dl.dot(record.path.radiance))

    @ti.func
    def met(world: ti.template(), record: ti.template(), e, met, start, length, came):
        """Emitter e, which a ray passes: met.distance away, of that at most `length` mm in the medium."""
        emitters = ti.static(world.emitters)
        o, d = record.path.o, record.path.d
        plain = record.path.beta * met.shine
        gain = record.dl.dot(plain * lighting.vector(emitters, e, E.COLOUR))
        slot = record.rest + e * (E.COLOUR + 3)
        reach = ti.math.clamp(met.distance - start, 0.0, length)
        if ti.static(LIGHTS):
            if record.keeps:
                put3(record.tape, slot + E.COLOUR, OWN, record.dl * plain, 0.0)
                fall = -1.0 - d.dot(lighting.vector(emitters, e, E.AXIS))
                put(record.tape, slot + E.MU, OWN, fall * gain, 0.0)
        if ti.static(SIGMA):
            if record.keeps:
                attenuated(world, record, o, d, met.distance, OWN, gain, 0.0)
        if ti.static(PLACES):
            if record.keeps and came.any == 1:
                point = o + d * (start + rand(record.side) * reach)
                move.put_light(world, record.tape, slot, e, came, d, met.distance, reach, point, gain)

    @ti.func
    def escaped(record: ti.template(), got):
        """Into the sky, which brings `got`."""
        if ti.static(SKY):
            if record.keeps:
                put3(record.tape, record.once + G.SKY, OWN, record.dl * got, 0.0)

    @ti.func
    def _coat(record: ti.template(), tag, by, base):
        put(record.tape, record.once + G.SPECULAR, tag, by[0], base)
        put(record.tape, record.once + G.ROUGHNESS, tag, by[1], base)

    @ti.func
    def emerged(world: ti.template(), record: ti.template(), ev):
        """Out of the tissue, through the coat."""
        if ti.static(COATED):
            if record.keeps:
                _coat(record, TOTAL, -passing(world, ev.coat, ev.n, record.path.d), record.dl.dot(record.path.radiance))

    @ti.func
    def collided(world: ti.template(), record: ti.template(), x, hu, ev, node, most_air):
        """At x, where the field is `hu`. node: voxel of a grid whose albedo was taken. Row of the table, or voxel."""
        at = node
        m = ti.static(world.medium)
        if ti.static(not GRID and (SIGMA or ALBEDO or FORWARD)):
            at = slope.row(hu, m.wall_hu, record.side)
        if ti.static(SIGMA):
            if record.keeps:
                v, there = hu, ti.math.ivec2(slope.sigma_slot(at), 0)
                if ti.static(GRID):  # as statements: see the light's sample in volpath
                    v, there = look.value(m, x), slope.sigma_place(world, x, record.side)
                sigma = ti.max(look.sigma(m, x * m.inv, v), 1e-9)
                near = sigma / (sigma * sigma + most_air * most_air)
                put_at(record.tape, there, TOTAL, near, record.dl.dot(record.path.radiance))
        if ti.static(ALBEDO):
            if record.keeps:
                for c in ti.static(range(3)):
                    if ev.albedo[c] > 0.0:
                        slot, inverse = slope.albedo_slot(world, at, c), 1.0 / ev.albedo[c]
                        put(record.tape, slot, RED + c, inverse, record.dl[c] * record.path.radiance[c])
        return at

    @ti.func
    def seen(world: ti.template(), record: ti.template(), hit, in_camera, at_pixel):
        """By the camera, if this is the first scattering: see `motion.put_camera`."""
        if ti.static(POSE):
            if record.keeps and record.path.scatterings == 1:
                base = record.dl.dot(record.path.radiance)
                s, o, d = rand(record.side), record.path.o, record.path.d
                move.put_camera(world, record.tape, record.once, base, o, d, hit, in_camera, at_pixel, s)

    @ti.func
    def lit(world: ti.template(), record: ti.template(), here: ti.template(), light, way, plain, group: ti.template()):
        """By a sampled light, through `way` (of `shadow_rays`). plain: what it brings over its radiance. group: 1: the
        environment."""
        w, d = light.direction, here.place.d
        got = plain * light.radiance
        gain = record.dl.dot(got)
        if record.keeps and way.seen > 0.0:
            emitters = ti.static(world.emitters)
            slot = record.rest + light.index * (E.COLOUR + 3)
            if ti.static(LIGHTS and group == 0):
                put3(record.tape, slot + E.COLOUR, OWN, record.dl * plain * light.shine, 0.0)
                if ti.cast(emitters[light.index, E.KIND], ti.i32) != POINT:
                    fall = -1.0 - w.dot(lighting.vector(emitters, light.index, E.AXIS))
                    put(record.tape, slot + E.MU, OWN, fall * gain, 0.0)
            if ti.static(SKY and group == 1):
                put3(record.tape, record.once + G.SKY, OWN, record.dl * got, 0.0)
            if ti.static(SIGMA):
                attenuated(world, record, way.at, w, FAR, OWN, gain, 0.0)
            if ti.static(PLACES and group == 0):
                move.put_light(
                    world, record.tape, slot, light.index, here.place, w, light.distance, way.length, way.point, gain
                )
            if ti.static(FORWARD):
                if here.ev.kind == PHASE:
                    slope.put_phase(world, record.tape, here.at, d.dot(w), here.ev.phase, OWN, gain, 0.0)
            if ti.static(POSE):
                if record.path.scatterings == 1:
                    move.put_bend(world, record.tape, record.once, OWN, gain, 0.0, d, w, here.hit, here.ev.phase)
            if ti.static(COATED):
                by = way.coat
                if here.ev.kind == COAT:
                    rough = slope.roughness_slope(d, w, here.ev.film, here.ev.coat)
                    by += vec2(1.0 / here.ev.coat[1], rough)
                _coat(record, OWN, by * gain, 0.0)

    @ti.func
    def turned(world: ti.template(), record: ti.template(), here: ti.template(), turn):
        """Onwards, as `shading.sample` drew it."""
        w, d = turn.direction, here.place.d
        base = record.dl.dot(record.path.radiance)
        if ti.static(FORWARD):
            if record.keeps and here.ev.kind == PHASE:
                slope.put_phase(world, record.tape, here.at, d.dot(w), here.ev.phase, TOTAL, 1.0, base)
        if ti.static(POSE):
            if record.keeps and record.path.scatterings == 1:
                move.put_bend(world, record.tape, record.once, TOTAL, 1.0, base, d, w, here.hit, here.ev.phase)
        if ti.static(COATED):
            if record.keeps and here.ev.kind == COAT:
                by = -passing(world, here.ev.coat, here.ev.n, d)
                if turn.reflected == 1:
                    by = vec2(1.0 / here.ev.coat[1], slope.roughness_slope(d, w, here.ev.film, here.ev.coat))
                _coat(record, TOTAL, by, base)

    return SimpleNamespace(
        flown=flown, met=met, escaped=escaped, emerged=emerged, collided=collided, seen=seen, lit=lit, turned=turned
    )
