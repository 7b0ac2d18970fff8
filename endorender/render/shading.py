"""What happens at a vertex: which event it is, how it scatters, and what the lights send there.

Shared by both integrators. All in the grid frame; Spectrum is a vector of C channels (three for each look).
"""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.cache import kernels
from endorender.render.rng import rand
from endorender.render.tracking import FAR
from endorender.render.view import V
from endorender.scene import surface as coat_model
from endorender.scene.camera import PARAMETERS

vec3, mat3 = ti.math.vec3, ti.math.mat3
PI = 3.14159265
COAT, PHASE, BSDF = 0, 1, 2

View = ti.types.struct(
    lens=vec3,  # camera position, mm
    turn=mat3,  # grid_from_camera
    to_world=mat3,  # world_from_grid
    optics=ti.types.vector(PARAMETERS, float),
    inv=vec3,  # 1 / spacing
    width=int,
    threshold=float,
    wall_hu=float,
    ior=float,
    alpha=float,
    specular=float,
    hybrid=float,
    sigma_top=float,
    roulette=float,
    phase=float,
    nudge=float,  # mm past an event: a thousandth of a voxel
)
Bounce = ti.types.struct(shiny=float, diffuse=float, density=float)


@kernels
def device(kind: str, surface: str, phase: Any, channels: int) -> SimpleNamespace:
    """Taichi functions and structs for one kind of medium, surface mode and phase function."""
    C = channels
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    Spectrum = ti.types.vector(C, ti.f32)
    # kind: COAT, PHASE or BSDF; n faces the ray; reflect: chance of the coat; g: the phase function's parameter
    Event = ti.types.struct(kind=int, n=vec3, reflect=float, albedo=Spectrum, g=float)
    Light = ti.types.struct(direction=vec3, distance=float, radiance=Spectrum, density=float)
    Turn = ti.types.struct(direction=vec3, weight=Spectrum, density=float, reflected=int, stop=int)
    coat = coat_model.device()
    phase_sample, phase_pdf = phase.device()

    @ti.func
    def unpack(view: ti.template()):
        q = View()
        q.lens = vec3(view[V.ORIGIN], view[V.ORIGIN + 1], view[V.ORIGIN + 2])
        q.turn = ti.Matrix([[view[V.ROTATION + 3 * r + c] for c in range(3)] for r in range(3)])
        q.to_world = ti.Matrix([[view[V.WORLD + 3 * r + c] for c in range(3)] for r in range(3)])
        q.optics = ti.Vector([view[V.CAMERA + c] for c in range(PARAMETERS)])
        q.inv = vec3(view[V.INVERSE], view[V.INVERSE + 1], view[V.INVERSE + 2])
        q.width = ti.cast(view[V.WIDTH], ti.i32)
        q.threshold, q.wall_hu = view[V.THRESHOLD], view[V.WALL_HU]
        q.ior, q.alpha, q.specular = view[V.IOR], view[V.ROUGHNESS], view[V.SPECULAR]
        q.hybrid, q.sigma_top = view[V.HYBRID], view[V.SIGMA_TOP]
        q.roulette, q.phase = view[V.ROULETTE], view[V.PHASE]
        q.nudge = 1e-3 / ti.max(q.inv.x, q.inv.y, q.inv.z)
        return q

    @ti.func
    def tabulated(table: ti.template(), column, hu, wall_hu):
        h = ti.max(hu, wall_hu) if ti.static(WALL) else hu
        u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
        i = ti.cast(u, ti.i32)
        return ti.math.mix(table[i, column], table[i + 1, column], u - i)

    @ti.func
    def albedo_at(table: ti.template(), grid: ti.template(), hu, x, q):
        a = Spectrum(0.0)
        if ti.static(kind == "tissue"):
            for c in ti.static(range(C)):
                a[c] = tabulated(table, 2 + c, hu, q.wall_hu)
        else:
            p = x * q.inv
            i = ti.math.clamp(ti.cast(p.x, ti.i32), 0, grid.shape[0] - 2)
            j = ti.math.clamp(ti.cast(p.y, ti.i32), 0, grid.shape[1] - 2)
            k = ti.math.clamp(ti.cast(p.z, ti.i32), 0, grid.shape[2] - 2)
            f = p - vec3(i, j, k)
            for e in ti.static(range(8)):
                w = (
                    (f.x if ti.static(e & 1) else 1.0 - f.x)
                    * (f.y if ti.static(e & 2) else 1.0 - f.y)
                    * (f.z if ti.static(e & 4) else 1.0 - f.z)
                )
                for c in ti.static(range(C)):
                    a[c] += w * grid[i + ti.static(e & 1), j + ti.static((e >> 1) & 1), k + ti.static(e >> 2), c]
        return a

    @ti.func
    def facing_normal(n, d):
        return -n if n.dot(d) > 0.0 else n

    @ti.func
    def event(
        field: ti.template(),
        smooth: ti.template(),
        table: ti.template(),
        grid: ti.template(),
        t: ti.template(),
        x,
        d,
        hu,
        collided,
        q,
        rng: ti.template(),
    ):
        """What a ray along d meets at x: the coat of the wall, or a collision with field value `hu`."""
        ev = Event(kind=PHASE, n=vec3(0.0, 0.0, 1.0), reflect=0.0, albedo=Spectrum(0.0), g=q.phase)
        if collided:
            ev.albedo = albedo_at(table, grid, hu, x, q)
            if ti.static(kind == "tissue"):
                ev.g = tabulated(table, 1, hu, q.wall_hu)
            if ti.static(HYBRID):
                # Kroes, Post, Botha 2012, eq. 7 with the gradient in HU/mm against a constant of the tissue.
                slope = t.gradient(field, x, q.inv)
                steep = slope.norm()
                opacity = t.sigma(table, hu, q.wall_hu) / q.sigma_top
                if rand(rng) < opacity * (1.0 - ti.exp(-q.hybrid * steep)):
                    ev.kind = BSDF
                    ev.n = facing_normal(-slope / ti.max(steep, 1e-9), d)
                    ev.reflect = q.specular * coat.fresnel(-ev.n.dot(d), q.ior)
        else:
            if ti.static(WALL):
                ev.kind = COAT
                ev.n = facing_normal(t.normal(field, smooth, x, q.inv), d)
                ev.reflect = q.specular * coat.fresnel(-ev.n.dot(d), q.ior)
        return ev

    @ti.func
    def sample(ev, d, q, rng: ti.template()):
        """Where a path goes on. The coat lets it pass (reflected = 0) with its direction and density unchanged."""
        turn = Turn(direction=d, weight=Spectrum(1.0), density=-1.0, reflected=0, stop=0)
        if ev.kind == PHASE:
            cos_theta = phase_sample(rand(rng), ev.g)
            phi = 2.0 * PI * rand(rng)
            sin_theta = ti.sqrt(ti.max(0.0, 1.0 - cos_theta * cos_theta))
            local = vec3(sin_theta * ti.cos(phi), sin_theta * ti.sin(phi), cos_theta)
            turn.direction = coat.to_world(d, local).normalized()
            turn.density = phase_pdf(cos_theta, ev.g)
            turn.reflected = 1
        elif ti.static(WALL or HYBRID):
            shine = rand(rng) < ev.reflect
            if shine or ev.kind == BSDF:
                turn.reflected = 1
                u, v = rand(rng), rand(rng)
                if shine:
                    turn.direction = coat.sample(-d, ev.n, q.alpha, u, v).normalized()
                else:
                    r, phi = ti.sqrt(u), 2.0 * PI * v
                    local = vec3(r * ti.cos(phi), r * ti.sin(phi), ti.sqrt(ti.max(0.0, 1.0 - u)))
                    turn.direction = coat.to_world(ev.n, local).normalized()
                f = bounce(ev, d, turn.direction, q)
                turn.density = f.density
                if f.shiny + f.diffuse <= 0.0 or f.density <= 0.0:
                    turn.stop = 1
                else:
                    turn.weight = (f.shiny + f.diffuse * ev.albedo) / f.density
        return turn

    @ti.func
    def bounce(ev, d, w, q):
        """Value × cos towards w, white (shiny) and to be coloured (diffuse), and the density of `sample`."""
        f = Bounce(shiny=0.0, diffuse=0.0, density=0.0)
        if ev.kind == PHASE:
            f.diffuse = phase_pdf(d.dot(w), ev.g)
            f.density = f.diffuse
        elif ti.static(WALL or HYBRID):
            f.shiny = q.specular * coat.eval(-d, w, ev.n, q.alpha, q.ior)
            f.density = ev.reflect * coat.pdf(-d, w, ev.n, q.alpha)
            if ev.kind == BSDF:
                f.diffuse = (1.0 - ev.reflect) * ti.max(ev.n.dot(w), 0.0) / PI
                f.density += f.diffuse
        return f

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
            p += coat.to_world(axis, vec3(r * ti.cos(phi), r * ti.sin(phi), 0.0))
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
        Spectrum=Spectrum,
        COAT=COAT,
        PHASE=PHASE,
        BSDF=BSDF,
        unpack=unpack,
        event=event,
        sample=sample,
        bounce=bounce,
        sample_emitter=sample_emitter,
        met_emitters=met_emitters,
        environment=environment,
        environment_density=environment_density,
        sample_environment=sample_environment,
    )
