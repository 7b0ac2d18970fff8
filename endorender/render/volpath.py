"""The fast path tracer: delta tracking under local majorants, next-event estimation with MIS, Russian roulette.

One set of paths carries the throughput of several looks: C = 3 K channels for K conditions that differ in albedo and
in the colour of light only. Miller, Georgiev, Jarosz 2019 (null collisions); Veach 1995 (MIS, balance heuristic);
Kroes, Post, Botha 2012 (hybrid surface rule).
"""

from endorender.engine import ti
from endorender.render import rng as random
from endorender.render import tracking
from endorender.render.cache import kernels
from endorender.render.view import V
from endorender.scene import surface as coat_model
from endorender.scene.camera import PARAMETERS

vec3 = ti.math.vec3
PI = 3.14159265
COAT, PHASE, BSDF = 0, 1, 2


@kernels
def tracer(kind: str, surface: str, cell: int, dtype: str, phase: type, camera: type, channels: int, groups: tuple):
    """Compile-time choice of everything whose type, not value, the kernel depends on.

    groups: which of "emitters" and "environment" the scene has.
    """
    t = tracking.device(kind, surface, cell, dtype)
    coat = coat_model.device()
    phase_sample, phase_pdf = phase.device()
    camera_ray = camera.device()
    rand = random.rand
    C = channels
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    EMITTERS, ENVIRONMENT = "emitters" in groups, "environment" in groups
    Spectrum = ti.types.vector(C, ti.f32)

    @ti.func
    def phase_parameter(table: ti.template(), v, wall_hu, fixed):
        p = fixed
        if ti.static(kind == "tissue"):
            h = ti.max(v, wall_hu) if ti.static(WALL) else v
            u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
            i = ti.cast(u, ti.i32)
            p = ti.math.mix(table[i, 1], table[i + 1, 1], u - i)
        return p

    @ti.func
    def albedo_at(table: ti.template(), grid: ti.template(), v, wall_hu, x, inv):
        a = Spectrum(0.0)
        if ti.static(kind == "tissue"):
            h = ti.max(v, wall_hu) if ti.static(WALL) else v
            u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
            i = ti.cast(u, ti.i32)
            for c in ti.static(range(C)):
                a[c] = ti.math.mix(table[i, 2 + c], table[i + 1, 2 + c], u - i)
        else:
            p = x * inv
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
    def environment_texel(env: ti.template(), w):
        """Row and column of a world direction."""
        row = ti.cast(ti.acos(ti.math.clamp(w.z, -1.0, 1.0)) / PI * env.shape[0], ti.i32)
        phi = ti.atan2(w.y, w.x)
        col = ti.cast((phi / (2.0 * PI) + ti.select(phi < 0, 1.0, 0.0)) * env.shape[1], ti.i32)
        return ti.math.ivec2(ti.min(row, env.shape[0] - 1), ti.min(col, env.shape[1] - 1))

    @ti.func
    def texel_solid_angle(env: ti.template(), row):
        h = ti.cast(env.shape[0], ti.f32)
        return (ti.cos(PI * row / h) - ti.cos(PI * (row + 1) / h)) * 2.0 * PI / env.shape[1]

    @ti.kernel
    def trace(
        field: ti.types.ndarray(),
        smooth: ti.types.ndarray(),
        cells: ti.types.ndarray(),
        table: ti.types.ndarray(),
        grid: ti.types.ndarray(),
        view: ti.types.ndarray(),
        emitters: ti.types.ndarray(),
        env: ti.types.ndarray(),
        alias: ti.types.ndarray(),
        mean: ti.types.ndarray(),
        squares: ti.types.ndarray(),
        first: ti.i32,
        last: ti.i32,
        sample0: ti.i32,
        sample1: ti.i32,
        max_scatterings: ti.i32,
        frame_key: ti.u64,
    ):
        for pixel in range(first, last):
            lens = vec3(view[V.ORIGIN], view[V.ORIGIN + 1], view[V.ORIGIN + 2])
            turn = ti.Matrix([[view[V.ROTATION + 3 * r + c] for c in range(3)] for r in range(3)])
            to_world = ti.Matrix([[view[V.WORLD + 3 * r + c] for c in range(3)] for r in range(3)])
            optics = ti.Vector([view[V.CAMERA + c] for c in range(PARAMETERS)])
            inv = vec3(view[V.INVERSE], view[V.INVERSE + 1], view[V.INVERSE + 2])
            width = ti.cast(view[V.WIDTH], ti.i32)
            threshold, wall_hu = view[V.THRESHOLD], view[V.WALL_HU]
            ior, alpha, weight = view[V.IOR], view[V.ROUGHNESS], view[V.SPECULAR]
            hybrid_scale, sigma_top = view[V.HYBRID], view[V.SIGMA_TOP]
            roulette, fixed_g = view[V.ROULETTE], view[V.PHASE]
            nudge = 1e-3 / ti.max(inv.x, inv.y, inv.z)  # mm past an event: a thousandth of a voxel
            n_emitters = emitters.shape[0]

            for sample in range(sample0, sample1):
                rng = random.start(frame_key, pixel, sample)
                radiance = Spectrum(0.0)
                beta = Spectrum(1.0)
                u = pixel % width + rand(rng) - 0.5
                v = pixel // width + rand(rng) - 0.5
                d = (turn @ camera_ray(u, v, optics)).normalized()
                o = lens
                vertex = lens  # where the direction was last sampled
                density = -1.0  # of that direction; -1 from the lens: nothing else could have sampled it
                scatterings = 0
                inside = False
                outside = True  # the lens may lie outside the grid
                while True:
                    span = t.clip(field, o, d, inv)
                    start = span[0]
                    event, hit, value = tracking.NOTHING, tracking.FAR, 0.0
                    if span[1] > span[0]:
                        if outside:
                            inside = t.value(field, o + d * start, inv) >= threshold
                        outside = False
                        event, hit, value = t.walk(
                            field, cells, table, o, d, start, span[1], inv, threshold, wall_hu, inside, rng
                        )
                        if event == tracking.NOTHING:
                            hit = tracking.FAR
                    # Light met on the way, weighed against its chance to be sampled from the last vertex.
                    if ti.static(EMITTERS):
                        for e in range(n_emitters):
                            radius = emitters[e, 6]
                            if radius > 0.0:
                                axis = vec3(emitters[e, 3], emitters[e, 4], emitters[e, 5])
                                p = vec3(emitters[e, 0], emitters[e, 1], emitters[e, 2])
                                facing = -d.dot(axis)
                                if facing > 1e-6:
                                    tl = (o - p).dot(axis) / facing
                                    q = o + tl * d
                                    if 0.0 < tl < hit and (q - p).norm_sqr() < radius * radius:
                                        area = PI * radius * radius
                                        w = 1.0
                                        if density >= 0.0:
                                            seen = (q - vertex).norm_sqr() / (area * facing * n_emitters)
                                            w = density / (density + seen)
                                        falloff = ti.exp(-emitters[e, 7] * (1.0 - facing)) / (area * facing)
                                        for c in ti.static(range(C)):
                                            radiance[c] += beta[c] * emitters[e, 8 + c] * falloff * w
                    if event == tracking.NOTHING:
                        if ti.static(ENVIRONMENT):
                            at = environment_texel(env, to_world @ d)
                            w = 1.0
                            if density >= 0.0:
                                seen = alias[at.x * env.shape[1] + at.y, 2] / texel_solid_angle(env, at.x)
                                w = density / (density + seen)
                            for c in ti.static(range(C)):
                                radiance[c] += beta[c] * env[at.x, at.y, c] * w
                        break

                    x = o + hit * d
                    vertex_kind = PHASE
                    n = vec3(0.0, 0.0, 1.0)
                    reflect = 0.0
                    albedo = Spectrum(0.0)
                    g = 0.0
                    if ti.static(WALL):
                        if event == tracking.SURFACE:
                            vertex_kind = COAT
                            n = t.normal(field, smooth, x, inv)
                            if n.dot(d) > 0.0:
                                n = -n
                            reflect = weight * coat.fresnel(-n.dot(d), ior)
                            if inside:
                                # Out of the tissue: light that comes in here has lost what the coat reflects.
                                beta *= 1.0 - reflect
                                o = x + nudge * d
                                inside = t.value(field, o, inv) >= threshold
                                continue
                    if vertex_kind == PHASE:
                        if scatterings == max_scatterings:
                            break
                        scatterings += 1
                        albedo = albedo_at(table, grid, value, wall_hu, x, inv)
                        g = phase_parameter(table, value, wall_hu, fixed_g)
                        if ti.static(HYBRID):
                            slope = t.gradient(field, x, inv)
                            steep = slope.norm()
                            opacity = t.sigma(table, value, wall_hu) / sigma_top
                            if rand(rng) < opacity * (1.0 - ti.exp(-hybrid_scale * steep)):
                                vertex_kind = BSDF
                                n = -slope / ti.max(steep, 1e-9)
                                if n.dot(d) > 0.0:
                                    n = -n
                                reflect = weight * coat.fresnel(-n.dot(d), ior)
                        if vertex_kind == PHASE:
                            beta *= albedo
                        top = beta.max()
                        if top < roulette:
                            if rand(rng) * roulette >= top:
                                break
                            beta *= roulette / top

                    # Next-event estimation, one shadow ray to each group of lights.
                    for group in range(2):
                        w_light = vec3(0.0)
                        reach = -1.0
                        light_density = -1.0
                        light = Spectrum(0.0)
                        if ti.static(EMITTERS):
                            if group == 0:
                                e = ti.min(ti.cast(rand(rng) * n_emitters, ti.i32), n_emitters - 1)
                                p = vec3(emitters[e, 0], emitters[e, 1], emitters[e, 2])
                                axis = vec3(emitters[e, 3], emitters[e, 4], emitters[e, 5])
                                radius = emitters[e, 6]
                                if radius > 0.0:
                                    r, phi = radius * ti.sqrt(rand(rng)), 2.0 * PI * rand(rng)
                                    p += coat.to_world(axis, vec3(r * ti.cos(phi), r * ti.sin(phi), 0.0))
                                away = p - x
                                d2 = ti.max(away.norm_sqr(), 1e-12)
                                reach = ti.sqrt(d2)
                                w_light = away / reach
                                shine = n_emitters / d2
                                if axis.norm_sqr() > 0.5:
                                    facing = -w_light.dot(axis)
                                    shine = shine * ti.exp(-emitters[e, 7] * (1.0 - facing)) if facing > 1e-6 else 0.0
                                    if radius > 0.0:
                                        light_density = d2 / (PI * radius * radius * ti.max(facing, 1e-6) * n_emitters)
                                for c in ti.static(range(C)):
                                    light[c] = emitters[e, 8 + c] * shine
                        if ti.static(ENVIRONMENT):
                            if group == 1:
                                size = env.shape[0] * env.shape[1]
                                scaled = rand(rng) * size
                                e = ti.min(ti.cast(scaled, ti.i32), size - 1)
                                if rand(rng) >= alias[e, 0]:
                                    e = ti.cast(alias[e, 1], ti.i32)
                                row = e // env.shape[1]
                                h = ti.cast(env.shape[0], ti.f32)
                                z = ti.math.mix(ti.cos(PI * row / h), ti.cos(PI * (row + 1) / h), rand(rng))
                                phi = 2.0 * PI * (e % env.shape[1] + rand(rng)) / env.shape[1]
                                s = ti.sqrt(ti.max(0.0, 1.0 - z * z))
                                w_light = vec3(s * ti.cos(phi), s * ti.sin(phi), z) @ to_world
                                reach = tracking.FAR
                                light_density = alias[e, 2] / texel_solid_angle(env, row)
                                for c in ti.static(range(C)):
                                    light[c] = env[row, e % env.shape[1], c] / light_density
                        if reach > 0.0:
                            shiny, diffuse, pdf = 0.0, 0.0, 0.0
                            if vertex_kind == PHASE:
                                diffuse = phase_pdf(d.dot(w_light), g)
                                pdf = diffuse
                            elif ti.static(WALL or HYBRID):
                                shiny = weight * coat.eval(-d, w_light, n, alpha, ior)
                                pdf = reflect * coat.pdf(-d, w_light, n, alpha)
                                if vertex_kind == BSDF:
                                    diffuse = (1.0 - reflect) * ti.max(n.dot(w_light), 0.0) / PI
                                    pdf += diffuse
                            if light_density > 0.0:
                                share = light_density / (light_density + pdf)
                                shiny *= share
                                diffuse *= share
                            gain = Spectrum(0.0)
                            for c in ti.static(range(C)):
                                k = diffuse
                                if ti.static(HYBRID):
                                    k = diffuse * albedo[c] if vertex_kind == BSDF else diffuse
                                gain[c] = beta[c] * light[c] * (shiny + k)
                            if gain.max() > 0.0:
                                # Visible or not: delta tracking of the shadow ray; the coat takes its share.
                                so = x
                                left = reach
                                lit = 1.0
                                within = inside
                                if vertex_kind == COAT:
                                    so = x + nudge * n
                                    within = t.value(field, so, inv) >= threshold
                                while True:
                                    bounds = t.clip(field, so, w_light, inv)
                                    until = ti.min(bounds[1], left)
                                    if until <= bounds[0]:
                                        break
                                    blocked, ts, _ = t.walk(
                                        field,
                                        cells,
                                        table,
                                        so,
                                        w_light,
                                        bounds[0],
                                        until,
                                        inv,
                                        threshold,
                                        wall_hu,
                                        within,
                                        rng,
                                    )
                                    if blocked == tracking.NOTHING:
                                        break
                                    if blocked == tracking.COLLISION:
                                        lit = 0.0
                                        break
                                    if ti.static(WALL):
                                        so = so + (ts + nudge) * w_light
                                        left -= ts + nudge
                                        ns = t.normal(field, smooth, so, inv)
                                        lit *= 1.0 - weight * coat.fresnel(ti.abs(ns.dot(w_light)), ior)
                                        within = t.value(field, so, inv) >= threshold
                                radiance += lit * gain

                    # Where the path goes on.
                    if vertex_kind == PHASE:
                        cos_theta = phase_sample(rand(rng), g)
                        density = phase_pdf(cos_theta, g)
                        phi = 2.0 * PI * rand(rng)
                        sin_theta = ti.sqrt(ti.max(0.0, 1.0 - cos_theta * cos_theta))
                        d = coat.to_world(
                            d, vec3(sin_theta * ti.cos(phi), sin_theta * ti.sin(phi), cos_theta)
                        ).normalized()
                        o = x
                        vertex = x
                    elif ti.static(WALL or HYBRID):
                        reflected = rand(rng) < reflect
                        if vertex_kind == COAT and not reflected:
                            o = x + nudge * d
                            inside = t.value(field, o, inv) >= threshold
                        else:
                            wi = -d
                            if reflected:
                                d = coat.sample(wi, n, alpha, rand(rng), rand(rng)).normalized()
                            else:
                                r, phi = ti.sqrt(rand(rng)), 2.0 * PI * rand(rng)
                                z = ti.sqrt(ti.max(0.0, 1.0 - r * r))
                                d = coat.to_world(n, vec3(r * ti.cos(phi), r * ti.sin(phi), z)).normalized()
                            shiny = weight * coat.eval(wi, d, n, alpha, ior)
                            density = reflect * coat.pdf(wi, d, n, alpha)
                            diffuse = 0.0
                            if vertex_kind == BSDF:
                                diffuse = (1.0 - reflect) * ti.max(n.dot(d), 0.0) / PI
                                density += diffuse
                            if shiny + diffuse <= 0.0 or density <= 0.0:
                                break
                            for c in ti.static(range(C)):
                                beta[c] *= (shiny + diffuse * albedo[c]) / density
                            o = x
                            if vertex_kind == COAT:
                                o = x + nudge * n
                                inside = t.value(field, o, inv) >= threshold
                            vertex = x

                # Welford 1962: mean and sum of squared deviations, the same whatever the launches.
                for c in ti.static(range(C)):
                    delta = radiance[c] - mean[pixel, c]
                    mean[pixel, c] += delta / (sample + 1)
                    squares[pixel, c] += delta * (radiance[c] - mean[pixel, c])

    return trace
