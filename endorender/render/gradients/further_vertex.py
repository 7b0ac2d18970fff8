"""The further vertex of a path, for extinction where there is little or none to collide with. See docs/gradients.md."""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.gradients import derivatives
from endorender.render.gradients.derivatives import DIRECTIONAL
from endorender.render.gradients.tape import add_at
from endorender.render.medium import field as fields
from endorender.render.medium.traits import Traits
from endorender.render.transport import illumination
from endorender.render.transport.emitters import E

vec3 = ti.math.vec3


@kernels
def device(kind: str, surface: str, phase: Any, lit: bool, traits: Traits) -> SimpleNamespace:
    """Taichi functions `candidate`, `albedo_of` and the struct. lit: whether there are emitters."""
    look = fields.device(kind, surface, traits)
    lighting = illumination.device(3)
    slope = derivatives.device(kind, surface, phase, traits)
    phase_pdf = phase.device()[1]
    P = phase.FLOATS
    Candidate = ti.types.struct(
        x=vec3, hu=float, weight=float, om=vec3, d=vec3, scatterings=int, inside=int, all_weights=float
    )

    @ti.func
    def albedo_of(world: ti.template(), flat):
        """Of a voxel by its flat index."""
        field, grid = ti.static(world.medium.field, world.albedo)
        k, ij = flat % field.shape[2], flat // field.shape[2]
        i, j = ij // field.shape[1], ij % field.shape[1]
        if grid.shape[0] == 1:  # the same everywhere
            i, j, k = 0, 0, 0
        return vec3(grid[i, j, k, 0], grid[i, j, k, 1], grid[i, j, k, 2])

    @ti.func
    def is_placed(emitters: ti.template(), e):
        return ti.cast(emitters[e, E.KIND], ti.i32) != DIRECTIONAL

    @ti.func
    def none():
        """No candidate yet."""
        return Candidate(
            x=vec3(0.0), hu=0.0, weight=1.0, om=vec3(0.0), d=vec3(0.0), scatterings=0, inside=0, all_weights=0.0
        )

    @ti.func
    def candidate(world: ti.template(), o, d, length, beta, dl, most_air, ambient, side: ti.template()):
        """A point of the flight o + t d, half of them evenly, half evenly in angle about an emitter.

        om: throughput × albedo × c² / (σ² + c²) over the density of the point. weight: the root of |dl| · om × light
        expected there. By the product itself a light near the lens would take nearly all further vertices to itself.
        """
        m, emitters = ti.static(world.medium, world.emitters)
        soft = 0.0625 / m.inv.norm_sqr()  # a point has no extent, and a sixth of a voxel is as near as it gets
        s, density = rand(side) * length, 1.0 / length
        if ti.static(lit):
            n = emitters.shape[0]
            e = ti.min(ti.cast(rand(side) * n, ti.i32), n - 1)
            u, v = rand(side), rand(side)
            if u < 0.5 and is_placed(emitters, e):
                near = soft + slope.extent(emitters, e)
                s = slope.equiangular(lighting.vector(emitters, e, E.POSITION), o, d, length, near, v)
            density *= 0.5
            for i in range(n):
                there = 1.0 / length
                if is_placed(emitters, i):
                    near = soft + slope.extent(emitters, i)
                    there = slope.equiangular_pdf(lighting.vector(emitters, i, E.POSITION), o, d, length, near, s)
                density += 0.5 * there / n
        out = none()
        out.x, out.d = o + s * d, d
        p = out.x * m.inv
        out.hu = look.interpolated(m.field, p)
        sigma = look.sigma(m, p, out.hu)
        out.om = beta * (most_air * most_air / ((sigma * sigma + most_air * most_air) * density))
        phase_at = ti.Vector([0.0] * P)
        if ti.static(kind == "tissue"):
            for c in ti.static(range(3)):
                out.om[c] *= look.tabulated(m, 1 + P + c, out.hu, 0)
            for c in ti.static(range(P)):
                phase_at[c] = look.tabulated(m, 1 + c, out.hu, 0)
        else:
            out.om *= albedo_of(world, slope.place(world, out.x, side))
            for c in ti.static(range(P)):
                phase_at[c] = world.view.phase[c]
        expected = ambient
        if ti.static(lit):
            for i in range(emitters.shape[0]):
                away = lighting.vector(emitters, i, E.POSITION) - out.x
                d2 = away.norm_sqr() + soft + slope.extent(emitters, i)
                cos_theta = d.dot(away) / ti.sqrt(d2)
                if not is_placed(emitters, i):
                    d2, cos_theta = 1.0, -d.dot(lighting.vector(emitters, i, E.AXIS))
                strength = lighting.vector(emitters, i, E.COLOUR).sum() / 3.0
                expected += phase_pdf(cos_theta, phase_at, world.phase) * strength / d2
        out.weight = ti.sqrt(ti.abs(dl).dot(out.om) * expected)
        return out

    @ti.func
    def offer(kept: ti.template(), world: ti.template(), record: ti.template(), start, length, most_air, ambient):
        """A candidate from a flight, kept in place of the one before with a chance in proportion to its weight.

        start, length: mm of the flight before the grid, and in the medium.
        """
        path = ti.static(record.path)
        o = path.o + start * path.d
        new = candidate(world, o, path.d, length, path.beta, record.dl, most_air, ambient, record.side)
        new.scatterings, new.inside = path.scatterings, ti.cast(path.inside, ti.i32)
        new.all_weights = kept.all_weights + new.weight
        if rand(record.side) * new.all_weights < new.weight:
            kept = new
        else:
            kept.all_weights = new.all_weights

    @ti.func
    def put_kept(world: ti.template(), record: ti.template(), sums: ti.template(), kept):
        """What the path from the vertex that was kept has brought."""
        value = record.dl.dot(kept.om * record.path.radiance) * kept.all_weights / kept.weight
        add_at(sums, slope.sigma_place(world, kept.x, record.side), value, record.side)

    return SimpleNamespace(none=none, offer=offer, put_kept=put_kept, albedo_of=albedo_of)
