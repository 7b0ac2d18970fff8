"""What the lights send to a vertex: emitters and the environment.

Shared by both integrators. Emitters in the grid frame, the environment in that of its map.
"""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.transport.emitters import E
from endorender.render.transport.tracking import FAR
from endorender.scene.light import Kind

vec2, vec3 = ti.math.vec2, ti.math.vec3
PI = 3.14159265
POINT, DIRECTIONAL, AREA = int(Kind.POINT), int(Kind.DIRECTIONAL), int(Kind.AREA)


@kernels
def device(channels: int, outlines: tuple = (), profiles: tuple = ()) -> SimpleNamespace:
    """Taichi functions for lights of so many channels (three for each look). outlines, profiles: see `emitters`."""
    C = channels
    PROFILES = [profile.device() for profile in profiles]
    SHAPES = [(kind, *shape.device(sampling)) for kind, shape in outlines]
    Spectrum = ti.types.vector(C, ti.f32)
    # radiance: what arrives over the density of having been sampled; density per steradian, -1 if no path can meet it;
    # index, shine: of the emitter, and its radiance over its colour
    Light = ti.types.struct(direction=vec3, distance=float, radiance=Spectrum, density=float, index=int, shine=float)
    Met = ti.types.struct(distance=float, shine=float)
    Sky = ti.types.struct(radiance=Spectrum, density=float, weight=float)

    @ti.func
    def vector(emitters: ti.template(), e, column):
        return vec3(emitters[e, column], emitters[e, column + 1], emitters[e, column + 2])

    @ti.func
    def beam(emitters: ti.template(), e, facing):
        """Intensity at the cosine `facing` from the axis, relative to that on the axis."""
        shine = 1.0
        if emitters[e, E.MU] > 0.0:
            shine = ti.exp(-emitters[e, E.MU] * (1.0 - facing))
        if emitters[e, E.LAMBERT] > 0.0:
            shine *= facing
        if emitters[e, E.CONE] > -1.0:
            t = ti.math.clamp((facing - emitters[e, E.CONE]) * emitters[e, E.SHARPNESS], 0.0, 1.0)
            shine *= t * t * (3.0 - 2.0 * t)
        for n in ti.static(range(len(PROFILES))):
            if ti.cast(emitters[e, E.COLOUR + C], ti.i32) == ti.static(n + 1):
                shine *= PROFILES[n](emitters, e, ti.static(E.COLOUR + C + 1), facing)
        return shine

    @ti.func
    def dark():
        """No light."""
        return Light(
            direction=vec3(0.0, 0.0, 1.0), distance=FAR, radiance=Spectrum(0.0), density=-1.0, index=0, shine=0.0
        )

    @ti.func
    def sample_emitter(emitters: ti.template(), x, rng: ti.template()):
        """A point on one emitter, all equally likely. radiance: over the density, so times the BSDF it is light."""
        n = emitters.shape[0]
        return sample_from(emitters, ti.min(ti.cast(rand(rng) * n, ti.i32), n - 1), x, rng)

    @ti.func
    def sample_from(emitters: ti.template(), e, x, rng: ti.template()):
        """`sample_emitter` once emitter e is chosen."""
        light = dark()
        n = emitters.shape[0]
        kind = ti.cast(emitters[e, E.KIND], ti.i32)
        axis = vector(emitters, e, E.AXIS)
        shine = ti.cast(n, ti.f32)
        if kind == DIRECTIONAL:
            light.direction = -axis
        else:
            p = vector(emitters, e, E.POSITION)
            if kind >= AREA:
                u, v = rand(rng), rand(rng)
                at = vec2(0.0)
                for n in ti.static(range(len(SHAPES))):
                    if kind == ti.static(SHAPES[n][0]):
                        at = SHAPES[n][1](u, v, emitters[e, E.HOLE])
                p += at[0] * vector(emitters, e, E.U) + at[1] * vector(emitters, e, E.V)
            away = p - x
            d2 = ti.max(away.norm_sqr(), 1e-12)
            light.distance = ti.sqrt(d2)
            light.direction = away / light.distance
            shine /= d2
            if kind != POINT:
                facing = -light.direction.dot(axis)
                if facing > 1e-6:
                    shine *= beam(emitters, e, facing)
                    if kind >= AREA:
                        light.density = d2 * emitters[e, E.PER_AREA] / (facing * n)
                else:
                    shine = 0.0
        for c in ti.static(range(C)):
            light.radiance[c] = emitters[e, E.COLOUR + c] * shine
        light.index, light.shine = e, shine
        return light

    @ti.func
    def met_emitter(emitters: ti.template(), e, o, d, hit, vertex, density):
        """Where a ray passes an area light before `hit`, and the radiance over the light's colour, weighed by MIS."""
        met = Met(distance=FAR, shine=0.0)
        kind = ti.cast(emitters[e, E.KIND], ti.i32)
        facing = -d.dot(vector(emitters, e, E.AXIS))
        if kind >= AREA and facing > 1e-6:
            p = vector(emitters, e, E.POSITION)
            tl = (o - p).dot(vector(emitters, e, E.AXIS)) / facing
            if 0.0 < tl < hit:
                y = o + tl * d
                u, v = vector(emitters, e, E.U), vector(emitters, e, E.V)
                a, b = (y - p).dot(u) / u.norm_sqr(), (y - p).dot(v) / v.norm_sqr()
                within = False
                for n in ti.static(range(len(SHAPES))):
                    if kind == ti.static(SHAPES[n][0]):
                        within = SHAPES[n][2](a, b, emitters[e, E.HOLE])
                if within:
                    per_area = emitters[e, E.PER_AREA] / facing
                    w = beam(emitters, e, facing) * per_area
                    if density >= 0.0:
                        w *= density / (density + (y - vertex).norm_sqr() * per_area / emitters.shape[0])
                    met.distance, met.shine = tl, w
        return met

    @ti.func
    def met_emitters(emitters: ti.template(), o, d, hit, vertex, density):
        """Radiance of the area lights that a ray passes before `hit`, weighed against sampling them from `vertex`."""
        total = Spectrum(0.0)
        for e in range(emitters.shape[0]):
            met = met_emitter(emitters, e, o, d, hit, vertex, density)
            if met.shine > 0.0:
                for c in ti.static(range(C)):
                    total[c] += emitters[e, E.COLOUR + c] * met.shine
        return total

    @ti.func
    def between(env: ti.template(), row, col, f, g):
        """Bilinear radiance a share f of the way to the next row of nodes, g to the next column."""
        out = Spectrum(0.0)
        for c in ti.static(range(C)):
            near = ti.math.mix(env[row, col, c], env[row, col + 1, c], g)
            out[c] = ti.math.mix(near, ti.math.mix(env[row + 1, col, c], env[row + 1, col + 1, c], g), f)
        return out

    @ti.func
    def environment(env: ti.template(), w):
        """Radiance from direction w of the map's frame, and the density of `sample_environment` there."""
        rows, columns = env.shape[0] - 1, env.shape[1] - 1
        v = ti.atan2(ti.sqrt(w.x * w.x + w.y * w.y), w.z) * (rows / PI)  # acos(w.z) would be coarse near the poles
        turn = 0.0  # at a pole, where atan2(0, 0) is anything on some devices
        if w.x != 0.0 or w.y != 0.0:
            turn = ti.atan2(w.y, w.x)
        u = (PI - turn) * (columns / (2.0 * PI)) - 0.5
        row = ti.min(ti.cast(v, ti.i32), rows - 1)
        col = ti.cast(ti.floor(u), ti.i32)
        g = u - col
        if col < 0:
            col += columns
        col = ti.min(col, columns - 1)
        return Sky(radiance=between(env, row, col, v - row, g), density=env[row, col, C], weight=1.0)

    @ti.func
    def met_environment(env: ti.template(), w, density):
        """`environment` that a path meets which was sent there with `density` (< 0: alone), with its weight by MIS."""
        sky = environment(env, w)
        if density >= 0.0:
            sky.weight = density / (density + sky.density)
        return sky

    @ti.func
    def even(env: ti.template()):
        """(C,) radiance of an environment that is the same all round."""
        out = Spectrum(0.0)
        for c in ti.static(range(C)):
            out[c] = env[0, 0, c]
        return out

    @ti.func
    def sample_environment(env: ti.template(), alias: ti.template(), to_map, rng: ti.template()):
        """A cell by the light in it (alias table), a direction evenly within it. to_map: rotation from the grid."""
        rows, columns = env.shape[0] - 1, env.shape[1] - 1
        size = rows * columns
        e = ti.min(ti.cast(rand(rng) * size, ti.i32), size - 1)
        if rand(rng) >= alias[e, 0]:
            e = ti.cast(alias[e, 1], ti.i32)
        row, col = e // columns, e % columns
        z, g = ti.math.mix(env[row, col, C + 1], env[row + 1, col, C + 1], rand(rng)), rand(rng)
        s = ti.sqrt(ti.max(0.0, 1.0 - z * z))
        f = ti.math.clamp(ti.atan2(s, z) * (rows / PI) - row, 0.0, 1.0)
        share = (col + 0.5 + g) / columns
        turn = sampling.turned(share - ti.floor(share))  # phi = pi - 2 pi share
        light = dark()
        light.density = env[row, col, C]
        light.direction = to_map.transpose() @ vec3(-s * turn[0], s * turn[1], z)
        light.radiance = between(env, row, col, f, g) / ti.max(light.density, 1e-30)
        return light

    @ti.func
    def sample(world: ti.template(), group: ti.template(), x, rng: ti.template()):
        """Of a group of lights: 0 the emitters, 1 the environment."""
        light = dark()
        # Not `a if ti.static(c) else b`: Taichi 1.7.4 runs both, and one of them twice.
        if ti.static(group == 0):
            light = sample_emitter(world.emitters, x, rng)
        else:
            light = sample_environment(world.env, world.alias, world.view.to_map, rng)
        return light

    @ti.func
    def weight(light, density):
        """Of a sampled light, by MIS against meeting it along a direction that is sampled with `density`."""
        out = 1.0
        if light.density > 0.0:
            out = light.density / (light.density + density)
        return out

    return SimpleNamespace(
        dark=dark,
        vector=vector,
        beam=beam,
        met_emitter=met_emitter,
        sample_emitter=sample_emitter,
        sample_from=sample_from,
        met_emitters=met_emitters,
        environment=environment,
        met_environment=met_environment,
        even=even,
        sample_environment=sample_environment,
        sample=sample,
        weight=weight,
    )
