"""What the lights send to a vertex: emitters (disks and points) and the environment.

Shared by both integrators. All in the grid frame but the environment, which is looked up by world directions.
"""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.cache import kernels
from endorender.render.rng import rand
from endorender.render.tracking import FAR
from endorender.scene import surface as coat_model

vec3 = ti.math.vec3
PI = 3.14159265


@kernels
def device(channels: int) -> SimpleNamespace:
    """Taichi functions for lights of so many channels (three for each look)."""
    C = channels
    Spectrum = ti.types.vector(C, ti.f32)
    # radiance: what arrives over the density of having been sampled; density per steradian, -1 for points
    Light = ti.types.struct(direction=vec3, distance=float, radiance=Spectrum, density=float)
    to_world = coat_model.device().to_world

    @ti.func
    def sample_emitter(emitters: ti.template(), x, rng: ti.template()):
        """A point on one emitter, all equally likely. radiance: over the density, so times the BSDF it is light."""
        light = Light(direction=vec3(0.0, 0.0, 1.0), distance=0.0, radiance=Spectrum(0.0), density=-1.0)
        n = emitters.shape[0]
        e = ti.min(ti.cast(rand(rng) * n, ti.i32), n - 1)
        p = vec3(emitters[e, 0], emitters[e, 1], emitters[e, 2])
        axis = vec3(emitters[e, 3], emitters[e, 4], emitters[e, 5])
        radius = emitters[e, 6]
        if radius > 0.0:
            r, phi = radius * ti.sqrt(rand(rng)), 2.0 * PI * rand(rng)
            p += to_world(axis, vec3(r * ti.cos(phi), r * ti.sin(phi), 0.0))
        away = p - x
        d2 = ti.max(away.norm_sqr(), 1e-12)
        light.distance = ti.sqrt(d2)
        light.direction = away / light.distance
        shine = n / d2
        if axis.norm_sqr() > 0.5:
            facing = -light.direction.dot(axis)
            if facing > 1e-6:
                shine *= ti.exp(-emitters[e, 7] * (1.0 - facing))
                if radius > 0.0:
                    light.density = d2 / (PI * radius * radius * facing * n)
            else:
                shine = 0.0
        for c in ti.static(range(C)):
            light.radiance[c] = emitters[e, 8 + c] * shine
        return light

    @ti.func
    def met_emitters(emitters: ti.template(), o, d, hit, vertex, density):
        """Radiance of the disks that a ray passes before `hit`, weighed against sampling them from `vertex`."""
        total = Spectrum(0.0)
        n = emitters.shape[0]
        for e in range(n):
            radius = emitters[e, 6]
            axis = vec3(emitters[e, 3], emitters[e, 4], emitters[e, 5])
            facing = -d.dot(axis)
            if radius > 0.0 and facing > 1e-6:
                p = vec3(emitters[e, 0], emitters[e, 1], emitters[e, 2])
                tl = (o - p).dot(axis) / facing
                y = o + tl * d
                if 0.0 < tl < hit and (y - p).norm_sqr() < radius * radius:
                    area = PI * radius * radius
                    w = ti.exp(-emitters[e, 7] * (1.0 - facing)) / (area * facing)
                    if density >= 0.0:
                        w *= density / (density + (y - vertex).norm_sqr() / (area * facing * n))
                    for c in ti.static(range(C)):
                        total[c] += emitters[e, 8 + c] * w
        return total

    @ti.func
    def texel_of(env: ti.template(), w):
        """Row and column of a world direction."""
        row = ti.cast(ti.acos(ti.math.clamp(w.z, -1.0, 1.0)) / PI * env.shape[0], ti.i32)
        phi = ti.atan2(w.y, w.x)
        col = ti.cast((phi / (2.0 * PI) + ti.select(phi < 0, 1.0, 0.0)) * env.shape[1], ti.i32)
        return ti.math.ivec2(ti.min(row, env.shape[0] - 1), ti.min(col, env.shape[1] - 1))

    @ti.func
    def texel_solid_angle(env: ti.template(), row):
        h = ti.cast(env.shape[0], ti.f32)
        return (ti.cos(PI * row / h) - ti.cos(PI * (row + 1) / h)) * 2.0 * PI / env.shape[1]

    @ti.func
    def environment(env: ti.template(), w):
        """Radiance from world direction w."""
        at = texel_of(env, w)
        out = Spectrum(0.0)
        for c in ti.static(range(C)):
            out[c] = env[at.x, at.y, c]
        return out

    @ti.func
    def environment_density(env: ti.template(), alias: ti.template(), w):
        """Density of `sample_environment` per steradian."""
        at = texel_of(env, w)
        return alias[at.x * env.shape[1] + at.y, 2] / texel_solid_angle(env, at.x)

    @ti.func
    def sample_environment(env: ti.template(), alias: ti.template(), q, rng: ti.template()):
        """A texel by its power (alias table), a direction evenly within it."""
        size = env.shape[0] * env.shape[1]
        e = ti.min(ti.cast(rand(rng) * size, ti.i32), size - 1)
        if rand(rng) >= alias[e, 0]:
            e = ti.cast(alias[e, 1], ti.i32)
        row, col = e // env.shape[1], e % env.shape[1]
        h = ti.cast(env.shape[0], ti.f32)
        z = ti.math.mix(ti.cos(PI * row / h), ti.cos(PI * (row + 1) / h), rand(rng))
        phi = 2.0 * PI * (col + rand(rng)) / env.shape[1]
        s = ti.sqrt(ti.max(0.0, 1.0 - z * z))
        light = Light(direction=vec3(0.0), distance=FAR, radiance=Spectrum(0.0), density=0.0)
        light.direction = q.to_world.transpose() @ vec3(s * ti.cos(phi), s * ti.sin(phi), z)
        light.density = alias[e, 2] / texel_solid_angle(env, row)
        for c in ti.static(range(C)):
            light.radiance[c] = env[row, col, c] / light.density
        return light

    return SimpleNamespace(
        sample_emitter=sample_emitter,
        met_emitters=met_emitters,
        environment=environment,
        environment_density=environment_density,
        sample_environment=sample_environment,
    )
