"""Derivatives at a point that the adjoint integrator needs, and where each is filed.

All gradients live in one flat float64 array, and a *slot* is an index into it: first what describes the medium, then
the packed emitters, then what a view has once (`G`). A derivative by something that is interpolated goes to one of the
values between which it is, drawn by its weight: right on average, and one atomic addition; but see `sigma_place`.
"""

from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.gradients.tape import put, shares
from endorender.render.medium import field as fields
from endorender.render.medium.traits import PLAIN, Traits
from endorender.render.transport.emitters import E
from endorender.scene import surface as coat_model
from endorender.scene.light import Kind

vec3 = ti.math.vec3
POINT, DIRECTIONAL, AREA = int(Kind.POINT), int(Kind.DIRECTIONAL), int(Kind.AREA)


class G(IntEnum):
    """What a view has once, in the order of its slots."""

    ROUGHNESS = 0
    SPECULAR = 1
    SKY = 2  # factor on the environment's red, green, blue
    SHIFT = 5  # of the camera, grid frame, mm
    TURN = 8  # of the camera about its lens, rotation vector in the grid frame
    FOCAL = 11  # logarithm of the focal length; then two that stay 0
    SIZE = 14


@kernels
def device(kind: str, surface: str, phase: Any, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium, surface mode and phase function."""
    WALL, TISSUE = surface == "interface", kind == "tissue"
    P = phase.FLOATS
    COLUMNS = 1 + P + 3  # of the table: sigma_t, phase, albedo
    VARYING = P if phase.PARAMETERS else 0
    look = fields.device(kind, surface, traits)
    interpolated = look.interpolated
    _, phase_pdf = phase.device()
    coat = coat_model.device()

    @ti.func
    def row(v, wall_hu, side: ti.template()):
        """One of the two rows of the table between which HU v lies."""
        h = v
        if ti.static(WALL):
            h = ti.max(v, wall_hu)
        u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
        i = ti.cast(u, ti.i32)
        return i + ti.cast(rand(side) < u - i, ti.i32)

    @ti.func
    def place(world: ti.template(), x, side: ti.template()):
        """Row of the table for x, or flat index of a voxel."""
        m, field = ti.static(world.medium, world.medium.field)
        out = 0
        if ti.static(TISSUE):
            out = row(interpolated(field, x * m.inv), m.wall_hu, side)
        else:
            e = sampling.corner(x * m.inv, field.shape[0], field.shape[1], field.shape[2], side)
            out = (e.x * field.shape[1] + e.y) * field.shape[2] + e.z
        return out

    @ti.func
    def sigma_slot(at):
        return at * COLUMNS if ti.static(TISSUE) else at

    @ti.func
    def sigma_place(world: ti.template(), x, side: ti.template()):
        """Slot and `tape.shares` for a derivative by sigma_t at x: of a grid all eight nodes about it get theirs.

        A single one would get as much as all of them, and a voxel's variance would be five times as large.
        """
        out = ti.math.ivec2(0)
        if ti.static(TISSUE):
            out[0] = sigma_slot(place(world, x, side))
        else:
            m, field = ti.static(world.medium, world.medium.field)
            p = x * m.inv
            last = ti.math.ivec3(field.shape[0], field.shape[1], field.shape[2]) - 2
            q = ti.math.clamp(ti.cast(ti.floor(p), ti.i32), 0, last)
            out = ti.math.ivec2((q.x * field.shape[1] + q.y) * field.shape[2] + q.z, shares(p - q, side))
        return out

    @ti.func
    def phase_slot(world: ti.template(), at, j):
        """Of the j-th float of the phase function."""
        out = at * COLUMNS + 1 + j
        if ti.static(not TISSUE):
            field = ti.static(world.medium.field)
            out = 4 * field.shape[0] * field.shape[1] * field.shape[2] + j
        return out

    @ti.func
    def albedo_slot(world: ti.template(), at, c):
        out = at * COLUMNS + 1 + P + c
        if ti.static(not TISSUE):
            field = ti.static(world.medium.field)
            out = field.shape[0] * field.shape[1] * field.shape[2] + 3 * at + c
        return out

    @ti.func
    def phase_slope(cos_theta, p, j: ti.template(), data: ti.template()):
        """d log pdf / d p_j, by central differences: every model has it, exact to about 1e-3 of itself."""
        h = 1e-3 * ti.max(1.0, ti.abs(p[j]))
        up, down = p, p
        up[j] += h
        down[j] -= h
        return (ti.log(phase_pdf(cos_theta, up, data)) - ti.log(phase_pdf(cos_theta, down, data))) / (up[j] - down[j])

    @ti.func
    def put_phase(world: ti.template(), tape: ti.template(), at, cos_theta, p, tag, weight, base):
        """Deposit what the phase function's floats p get from a turn by cos θ. at: row of the table."""
        for j in ti.static(range(VARYING)):
            by = phase_slope(cos_theta, p, j, world.phase)
            put(tape, phase_slot(world, at, j), tag, weight * by, base)

    @ti.func
    def cosine_slope(cos_theta, p, data: ti.template()):
        """d log pdf / d cos θ."""
        a, b = ti.max(cos_theta - 3e-4, -1.0), ti.min(cos_theta + 3e-4, 1.0)
        return (ti.log(phase_pdf(b, p, data)) - ti.log(phase_pdf(a, p, data))) / (b - a)

    @ti.func
    def roughness_slope(d, w, n, here):
        """d log BRDF / dα of the coat for light along d that leaves along w. here: its roughness, weight, IOR."""
        h = 1e-3 * here[0]
        up, down = coat.eval(-d, w, n, here[0] + h, here[2]), coat.eval(-d, w, n, here[0] - h, here[2])
        return (up - down) / (2.0 * h * ti.max(0.5 * (up + down), 1e-30))

    @ti.func
    def sigma_gradient(m: ti.template(), x):
        """(3,) spatial gradient of sigma_t at x, exact within a patch between eight nodes; per mm²."""
        field = ti.static(m.field)
        p = x * m.inv
        i = ti.math.clamp(ti.cast(p, ti.i32), 0, ti.math.ivec3(field.shape[0], field.shape[1], field.shape[2]) - 2)
        f = p - i
        out = vec3(0.0)
        for corner in range(8):
            e = ti.math.ivec3(corner & 1, (corner >> 1) & 1, corner >> 2)
            w = ti.select(e == 1, f, 1.0 - f)
            s = ti.select(e == 1, vec3(1.0), vec3(-1.0))
            v = ti.cast(field[i.x + e.x, i.y + e.y, i.z + e.z], ti.f32)
            out += v * vec3(s.x * w.y * w.z, w.x * s.y * w.z, w.x * w.y * s.z)
        out *= m.inv
        if ti.static(TISSUE):
            u = (interpolated(field, p) + 1024.0) * 0.25
            r = ti.math.clamp(ti.cast(u, ti.i32), 0, 1023)
            out *= 0.25 * (m.table[r + 1, 0] - m.table[r, 0])
        return out

    @ti.func
    def beam_slope(lighting: ti.template(), emitters: ti.template(), e, facing):
        """d log beam / d cos of the angle from the axis."""
        h = 1e-3
        up, down = lighting.beam(emitters, e, facing + h), lighting.beam(emitters, e, facing - h)
        return (up - down) / (h * ti.max(up + down, 1e-30))

    @ti.func
    def extent(emitters: ti.template(), e):
        """Squared radius of an emitter, mm²."""
        return emitters[e, E.U] ** 2 + emitters[e, E.U + 1] ** 2 + emitters[e, E.U + 2] ** 2

    @ti.func
    def equiangular(centre, o, d, length, softening, u):
        """t on the segment o + t d: evenly in angle about a point (Kulla, Fajardo 2012).

        softening: squared distance added, so that a point on the segment draws no singularity.
        """
        t0 = (centre - o).dot(d)
        h = ti.sqrt(ti.max((centre - o).norm_sqr() - t0 * t0, 0.0) + softening)
        angle = ti.math.mix(ti.atan2(-t0, h), ti.atan2(length - t0, h), u)
        return ti.math.clamp(t0 + h * ti.tan(angle), 0.0, length)

    @ti.func
    def equiangular_pdf(centre, o, d, length, softening, t):
        t0 = (centre - o).dot(d)
        h = ti.sqrt(ti.max((centre - o).norm_sqr() - t0 * t0, 0.0) + softening)
        return h / (ti.max(ti.atan2(length - t0, h) - ti.atan2(-t0, h), 1e-9) * (h * h + (t - t0) * (t - t0)))

    return SimpleNamespace(
        row=row,
        place=place,
        sigma_place=sigma_place,
        sigma_slot=sigma_slot,
        albedo_slot=albedo_slot,
        put_phase=put_phase,
        cosine_slope=cosine_slope,
        roughness_slope=roughness_slope,
        sigma_gradient=sigma_gradient,
        beam_slope=beam_slope,
        extent=extent,
        equiangular=equiangular,
        equiangular_pdf=equiangular_pdf,
    )
