"""The adjoint of path tracing: how a picture's gradient becomes that of everything the picture depends on.

Path replay (Vicini, Speierer, Jakob 2021) by hand: a parameter at a vertex gets R · ∂ log f, with R the radiance the path
still brings from there on. R is the path's whole radiance less what it has brought so far. A path keeps its deposits on
a tape of fixed length until its radiance is known; one too long for the tape is walked again, from the same random
numbers. So memory does not depend on the number of samples, and most paths are walked once.

Sampling is detached: densities do not follow the parameters, what they sample does. Extinction follows docs/gradients.md:
attenuation at a uniform point of each flight and shadow ray, in-scattering at real collisions by σ/(σ + c), and the
rest, c/(σ + c), at one further vertex per path, so that it is right where σ = 0. Vertices stay where they are in the
world while the camera and the lights move.
"""

from typing import Any

from endorender.engine import ti
from endorender.render import illumination, primary, shading, slopes, tracking
from endorender.render import rng as random
from endorender.render.cache import kernels
from endorender.render.rng import rand
from endorender.render.slopes import DIRECTIONAL, POINT, ROUND, G
from endorender.render.tracking import COLLISION, FAR, NOTHING, SURFACE
from endorender.render.view import E, Traits

vec3, vec4 = ti.math.vec3, ti.math.vec4
TAPE = 512  # entries of a path's tape
MARGIN = 96  # what one vertex may add to it
WALK, AGAIN, TAIL, DONE = range(4)  # a path, the same once more if it did not fit the tape, the path of its further vertex
TOTAL, OWN = 0, 4  # tags of entries: weight × radiance to come; 1 to 3, of that channel; the weight itself


@kernels
def tracer(
    kind: str,
    surface: str,
    dtype: str,
    phase: Any,
    camera: Any,
    groups: tuple,
    traits: Traits,
    wanted: tuple,
    smooth_pixels: bool,
):
    """The kernel for one choice of everything whose type it depends on.

    groups: as in `volpath`. wanted: of "sigma_t", "air" (sigma_t also where it is 0), "albedo", "phase", "lights" (their
    colour and fall-off), "places" (of lights), "pose" (and focal length), "coat", "sky"; none: the picture alone.
    smooth_pixels: a quadratic B-spline over three pixels instead of the box, whose edges a moving camera would need.
    """
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, 3, traits)
    lighting = illumination.device(3)
    slope = slopes.device(kind, surface, phase, traits)
    eye = primary.device(camera)
    camera_ray = camera.device()
    phase_pdf = phase.device()[1]
    COAT, PHASE = shading.COAT, shading.PHASE
    WALL, GRID = surface == "interface", kind != "tissue"
    EMITTERS, ENVIRONMENT, EVEN = "emitters" in groups, "environment" in groups, "even sky" in groups
    SIGMA, AIR, ALBEDO, COATED = "sigma_t" in wanted, "air" in wanted, "albedo" in wanted, "coat" in wanted
    LIGHTS, PLACES, POSE, SKY = "lights" in wanted, "places" in wanted, "pose" in wanted, "sky" in wanted
    VARYING = len(phase.PARAMETERS) and phase.FLOATS * ("phase" in wanted)
    P = phase.FLOATS
    BACKWARD = len(wanted) > 0
    Scattered = ti.types.struct(at=vec3, d=vec3, phase=ti.types.vector(P, float), is_phase=int)
    Lit = ti.types.struct(seen=float, length=float, point=vec3, coat=float)

    @ti.func
    def put(book: ti.template(), tape: ti.template(), line, n: ti.template(), slot, tag, weight, base):
        if n < TAPE:
            book[line, n] = slot * 8 + tag
            tape[line, n, 0] = weight
            tape[line, n, 1] = base
        n += 1

    @ti.func
    def settle(book: ti.template(), tape: ti.template(), line, n: ti.template(), total, grads: ti.template()):
        """Deposit what is on the tape. total: radiance of the path times the picture's gradient, and by channel."""
        for i in range(ti.min(n, TAPE)):
            code = book[line, i]
            tag = code & 7
            value = tape[line, i, 0]
            if tag != OWN:
                value *= total[tag] - tape[line, i, 1]
            ti.atomic_add(grads[code >> 3], ti.cast(value, ti.f64))
        n = 0

    @ti.func
    def visibility(
        field: ti.template(),
        smooth: ti.template(),
        cells: ti.template(),
        table: ti.template(),
        labels: ti.template(),
        x,
        w,
        distance,
        inside,
        q,
        rng: ti.template(),
        side: ti.template(),
    ):
        """What gets through, mm of it in the medium, a uniform point of those, and d log / d specular of coats."""
        lit = Lit(seen=1.0, length=0.0, point=x, coat=0.0)
        o, left, within = x, distance, inside
        while lit.seen > 0.0:
            event, s, through = t.shine(
                field, cells, table, labels, o, w, left, q.inv, q.threshold, q.wall_hu, within, False, rng
            )
            lit.seen *= through.x
            if ti.static(SIGMA or PLACES):
                if within if ti.static(WALL) else True:
                    lit.length += s
                    if rand(side) * lit.length < s:
                        lit.point = o + rand(side) * s * w
            if event != SURFACE:
                break
            if ti.static(WALL):
                o += (s + q.nudge) * w
                left -= s + q.nudge
                n = t.normal(field, smooth, o, q.inv)
                here = shade.coating(labels, table, o, 0.0, q)
                mirror = shade.mirrored(here, n, w)
                lit.seen *= 1.0 - mirror
                lit.coat -= mirror / ti.max(here[1] * (1.0 - mirror), 1e-6)
                within = t.value(field, o, q.inv) >= q.threshold
        return lit

    @ti.func
    def put_place(
        emitters: ti.template(),
        field: ti.template(),
        labels: ti.template(),
        table: ti.template(),
        data: ti.template(),
        book: ti.template(),
        tape: ti.template(),
        line,
        n: ti.template(),
        rest,
        e,
        frm,
        w,
        distance,
        length,
        point,
        gain,
        q,
    ):
        """A light that moves: phase, fall-off, 1 / r² and transmittance from the vertex `frm` along w.

        length, point: mm of the medium on that way and a uniform point of those. gain: what the light brought, times the
        picture's gradient.
        """
        kind_of = ti.cast(emitters[e, E.KIND], ti.i32)
        if kind_of != DIRECTIONAL:
            first = rest + e * (E.COLOUR + 3)
            cos_theta = frm.d.dot(w)
            axis = lighting.vector(emitters, e, E.AXIS)
            g = -2.0 * w / distance + slope.cosine_slope(cos_theta, frm.phase, data) * (frm.d - cos_theta * w) / distance
            if kind_of != POINT:
                facing = -w.dot(axis)
                b = slope.beam_slope(lighting, emitters, e, facing)
                g -= b * (axis + facing * w) / distance
                for a in ti.static(range(3)):
                    put(book, tape, line, n, first + E.AXIS + a, OWN, -b * w[a] * gain, 0.0)
            s = (point - frm.at).dot(w) / distance
            y = point * q.inv
            g -= length * s * slope.sigma_gradient(field, table, point, q)
            g -= length / distance * t.sigma(field, labels, table, y, t.interpolated(field, y), q.wall_hu, q.inv) * w
            for a in ti.static(range(3)):
                put(book, tape, line, n, first + E.POSITION + a, OWN, g[a] * gain, 0.0)
            if kind_of >= ROUND:
                # The point of the light stays the same share of its half axes.
                r = frm.at + distance * w - lighting.vector(emitters, e, E.POSITION)
                u, v = lighting.vector(emitters, e, E.U), lighting.vector(emitters, e, E.V)
                for a in ti.static(range(3)):
                    put(book, tape, line, n, first + E.U + a, OWN, r.dot(u) / u.norm_sqr() * g[a] * gain, 0.0)
                    put(book, tape, line, n, first + E.V + a, OWN, r.dot(v) / v.norm_sqr() * g[a] * gain, 0.0)

    @ti.func
    def spline_slope(x):
        """d log of the quadratic B-spline at x."""
        out = -2.0 * x / (0.75 - x * x)
        if ti.abs(x) > 0.5:
            out = -2.0 * ti.math.sign(x) / ti.max(1.5 - ti.abs(x), 1e-6)
        return out

    @ti.kernel
    def trace(
        field: ti.types.ndarray(),
        smooth: ti.types.ndarray(),
        cells: ti.types.ndarray(),
        table: ti.types.ndarray(),
        labels: ti.types.ndarray(),
        grid: ti.types.ndarray(),
        phase_data: ti.types.ndarray(),
        capsules: ti.types.ndarray(),
        buckets: ti.types.ndarray(),
        view: ti.types.ndarray(),
        emitters: ti.types.ndarray(),
        env: ti.types.ndarray(),
        alias: ti.types.ndarray(),
        mean: ti.types.ndarray(),
        squares: ti.types.ndarray(),
        weights: ti.types.ndarray(),
        grads: ti.types.ndarray(),
        book: ti.types.ndarray(),
        tape: ti.types.ndarray(),
        rest: ti.i32,
        most_air: ti.f32,
        ambient: ti.f32,
        first: ti.i32,
        last: ti.i32,
        sample0: ti.i32,
        sample1: ti.i32,
        max_scatterings: ti.i32,
        frame_key: ti.u64,
    ):
        """weights: (N, 3) the picture's gradient. rest: slot of the first emitter. most_air: c of the estimator, mm⁻¹.

        ambient: radiance to expect beside that of the emitters. book, tape: (lines, TAPE), a line for each pixel of the
        launch.
        """
        for pixel in range(first, last):
            q = shade.unpack(view)
            line = pixel - first
            once = rest + emitters.shape[0] * (E.COLOUR + 3)  # slot of what a view has once
            for sample in range(sample0, eye.samples(pixel, q, sample0, sample1)):
                key = random.start(frame_key, pixel, sample)
                side = random.mix(key ^ ti.u64(0x5851F42D4C957F2D))  # for what the derivatives alone draw
                rng = key
                lens, ahead, share = vec3(0.0), vec3(0.0), 1.0
                at_pixel = ti.math.vec2(0.0)  # from the pixel's centre
                in_camera = vec3(0.0)
                if ti.static(smooth_pixels):
                    at_pixel = ti.math.vec2(
                        rand(rng) + rand(rng) + rand(rng) - 1.5, rand(rng) + rand(rng) + rand(rng) - 1.5
                    )
                    in_camera = camera_ray(pixel % q.width + at_pixel[0], pixel // q.width + at_pixel[1], q.optics)
                    lens, ahead = q.lens, (q.turn @ in_camera).normalized()
                    if q.film[0] > 0.0:
                        share = ti.pow(ti.max(in_camera.z, 0.0), q.film[0])
                else:
                    lens, ahead, share = eye.ray(pixel, q, rng)
                dl = vec3(0.0)
                if ti.static(BACKWARD):
                    dl = share * vec3(weights[pixel, 0], weights[pixel, 1], weights[pixel, 2])
                total = vec4(0.0)
                # The further vertex: kept of all candidates with a chance in proportion to its weight.
                sum_w, kept_w, kept_om, kept_hu, kept_k, kept_inside = 0.0, 0.0, vec3(0.0), 0.0, 0, False
                kept_x, kept_d = vec3(0.0), vec3(0.0)

                leg = WALK
                while leg < DONE:
                    o, d = lens, ahead
                    radiance, beta = vec3(0.0), vec3(1.0)
                    vertex, density = o, -1.0
                    scatterings, step, n = 0, 0, 0
                    inside, entered = False, False
                    legs_key = key
                    frm = Scattered(at=o, d=d, phase=0.0, is_phase=0)
                    if leg == TAIL:
                        o, d, scatterings, inside, entered = kept_x, kept_d, kept_k, kept_inside, True
                        legs_key = random.mix(key ^ ti.u64(0x14057B7EF767814F))
                    else:
                        sum_w = 0.0
                    deposits = BACKWARD and leg != TAIL
                    while True:
                        # Every vertex has random numbers of its own: a decision that falls otherwise spoils no others.
                        step += 1
                        rng = random.mix(legs_key + ti.cast(step, ti.u64) * ti.u64(0xD1342543DE82EF95))
                        starts = leg == TAIL and step == 1
                        if ti.static(BACKWARD):
                            if leg == AGAIN and n > ti.static(TAPE - MARGIN):
                                settle(book, tape, line, n, total, grads)

                        # 1. Fly, unless the path begins at a collision.
                        event, hit, hu, length, start = COLLISION, 0.0, kept_hu, 0.0, 0.0
                        if not starts:
                            event, hit, hu = NOTHING, FAR, 0.0
                            outside = False
                            if not entered:
                                span = t.clip(field, o, d, q.inv)
                                start, outside = span[0], span[1] <= span[0]
                                inside = t.value(field, o + d * start, q.inv) >= q.threshold
                                entered = True
                            if not outside:
                                event, hit, hu = t.walk(
                                    field, cells, table, labels, o, d, start, FAR, q.inv, q.threshold, q.wall_hu,
                                    inside, rng
                                )  # fmt: skip
                                if inside if ti.static(WALL) else True:
                                    length = ti.max(hit - start, 0.0)
                                if event == NOTHING:
                                    hit = FAR

                        # 2. Light met on the way. It has come through the medium as far as the light only.
                        if ti.static(EMITTERS):
                            if not starts:
                                for e in range(emitters.shape[0]):
                                    met = lighting.met_emitter(emitters, e, o, d, hit, vertex, density)
                                    if met.shine > 0.0:
                                        plain = beta * met.shine
                                        got = plain * lighting.vector(emitters, e, E.COLOUR)
                                        radiance += got
                                        if deposits:
                                            reach = ti.math.clamp(met.distance - start, 0.0, length)
                                            point = o + d * (start + rand(side) * reach)
                                            at = rest + e * (E.COLOUR + 3)
                                            if ti.static(LIGHTS):
                                                for c in ti.static(range(3)):
                                                    put(book, tape, line, n, at + E.COLOUR + c, OWN, dl[c] * plain[c], 0.0)
                                                fall = -1.0 - d.dot(lighting.vector(emitters, e, E.AXIS))
                                                put(book, tape, line, n, at + E.MU, OWN, fall * dl.dot(got), 0.0)
                                            if ti.static(SIGMA):
                                                if reach > 0.0:
                                                    slot = slope.sigma_slot(slope.place(field, point, q, side))
                                                    put(book, tape, line, n, slot, OWN, -reach * dl.dot(got), 0.0)
                                            if ti.static(PLACES):
                                                if frm.is_phase == 1:
                                                    put_place(
                                                        emitters, field, labels, table, phase_data, book, tape, line, n, rest,
                                                        e, frm, d, met.distance, reach, point, dl.dot(got), q
                                                    )  # fmt: skip

                        # 3. Attenuation on the way, and a candidate for the further vertex.
                        if ti.static(SIGMA):
                            if deposits and length > 0.0:
                                slot = slope.sigma_slot(slope.place(field, o + d * (start + rand(side) * length), q, side))
                                put(book, tape, line, n, slot, TOTAL, -length, dl.dot(radiance))
                        if ti.static(AIR):
                            if deposits and length > 1e-6 and scatterings < max_scatterings:
                                fro = o + start * d
                                soft = 0.0625 / q.inv.norm_sqr()
                                s, p_s = rand(side) * length, 1.0 / length
                                if ti.static(EMITTERS):
                                    count = emitters.shape[0]
                                    e = ti.min(ti.cast(rand(side) * count, ti.i32), count - 1)
                                    if rand(side) < 0.5 and ti.cast(emitters[e, E.KIND], ti.i32) != DIRECTIONAL:
                                        s = slope.equiangular(
                                            lighting.vector(emitters, e, E.POSITION), fro, d, length,
                                            soft + slope.extent(emitters, e), rand(side)
                                        )[0]  # fmt: skip
                                    p_s = 0.5 / length
                                    for i in range(count):
                                        p_i = 1.0 / length
                                        if ti.cast(emitters[i, E.KIND], ti.i32) != DIRECTIONAL:
                                            p_i = slope.equiangular_pdf(
                                                lighting.vector(emitters, i, E.POSITION), fro, d, length,
                                                soft + slope.extent(emitters, i), s
                                            )  # fmt: skip
                                        p_s += 0.5 * p_i / count
                                y = fro + s * d
                                v = t.value(field, y, q.inv)
                                sigma = t.sigma(field, labels, table, y * q.inv, v, q.wall_hu, q.inv)
                                om = beta * (most_air / ((sigma + most_air) * p_s))
                                ph = ti.Vector([0.0] * P)
                                if ti.static(GRID):
                                    e8 = slope.place(field, y, q, side)
                                    k8 = e8 % field.shape[2]
                                    j8 = e8 // field.shape[2] % field.shape[1]
                                    i8 = e8 // (field.shape[2] * field.shape[1])
                                    om *= vec3(grid[i8, j8, k8, 0], grid[i8, j8, k8, 1], grid[i8, j8, k8, 2])
                                    for c in ti.static(range(P)):
                                        ph[c] = q.phase[c]
                                else:
                                    for c in ti.static(range(3)):
                                        om[c] *= t.tabulated(table, 1 + P + c, v, q.wall_hu, 0)
                                    for c in ti.static(range(P)):
                                        ph[c] = t.tabulated(table, 1 + c, v, q.wall_hu, 0)
                                expected = ambient
                                if ti.static(EMITTERS):
                                    for i in range(emitters.shape[0]):
                                        away = lighting.vector(emitters, i, E.POSITION) - y
                                        d2 = away.norm_sqr() + soft + slope.extent(emitters, i)
                                        cos_theta = d.dot(away) / ti.sqrt(d2)
                                        if ti.cast(emitters[i, E.KIND], ti.i32) == DIRECTIONAL:
                                            d2 = 1.0
                                            cos_theta = -d.dot(lighting.vector(emitters, i, E.AXIS))
                                        strength = lighting.vector(emitters, i, E.COLOUR).sum() / 3.0
                                        expected += phase_pdf(cos_theta, ph, phase_data) * strength / d2
                                w = ti.abs(dl).dot(om) * expected
                                if w > 0.0:
                                    sum_w += w
                                    if rand(side) * sum_w < w:
                                        kept_x, kept_d, kept_hu, kept_om, kept_w = y, d, v, om, w
                                        kept_k, kept_inside = scatterings, inside
                        if event == NOTHING:
                            if ti.static(ENVIRONMENT or EVEN):
                                got = vec3(0.0)
                                if ti.static(ENVIRONMENT):
                                    sky = lighting.environment(env, q.to_map @ d)
                                    got = beta * sky.radiance
                                    if density >= 0.0:
                                        got *= density / (density + sky.density)
                                else:
                                    got = beta * vec3(env[0, 0, 0], env[0, 0, 1], env[0, 0, 2])
                                radiance += got
                                if ti.static(SKY):
                                    if deposits:
                                        for c in ti.static(range(3)):
                                            put(book, tape, line, n, once + G.SKY + c, OWN, dl[c] * got[c], 0.0)
                            break

                        # 4. What it is that the path has met.
                        x = o + hit * d
                        ev = shade.event(
                            field, smooth, table, labels, grid, capsules, buckets, t, x, d, hu, event == COLLISION,
                            False, q, rng
                        )  # fmt: skip
                        if ti.static(WALL):
                            if event == SURFACE and inside:
                                if ti.static(COATED):
                                    if deposits:
                                        lost = -ev.reflect / ti.max(ev.coat[1] * (1.0 - ev.reflect), 1e-6)
                                        put(book, tape, line, n, once + G.SPECULAR, TOTAL, lost, dl.dot(radiance))
                                beta *= 1.0 - ev.reflect
                                o = x + q.nudge * d
                                inside = t.value(field, o, q.inv) >= q.threshold
                                continue
                        at = 0  # row of the table, or voxel
                        if event == COLLISION:
                            if scatterings == max_scatterings:
                                break
                            scatterings += 1
                            if ti.static(GRID):
                                # The node whose albedo colours the path is the one that gets the derivative.
                                at = slope.place(field, x, q, rng)
                                k8 = at % field.shape[2]
                                j8 = at // field.shape[2] % field.shape[1]
                                i8 = at // (field.shape[2] * field.shape[1])
                                ev.albedo = vec3(grid[i8, j8, k8, 0], grid[i8, j8, k8, 1], grid[i8, j8, k8, 2])
                            elif ti.static(SIGMA or ALBEDO or VARYING):
                                at = slope.row(hu, q.wall_hu, side)
                            if ti.static(SIGMA):
                                if deposits:
                                    sigma = t.sigma(field, labels, table, x * q.inv, hu, q.wall_hu, q.inv)
                                    if ti.static(GRID):
                                        sigma = t.value(field, x, q.inv)
                                    near = 1.0 / ti.max(sigma + most_air, 1e-9)
                                    slot = slope.sigma_slot(slope.place(field, x, q, side) if ti.static(GRID) else at)
                                    put(book, tape, line, n, slot, TOTAL, near, dl.dot(radiance))
                            if ti.static(ALBEDO):
                                if deposits:
                                    for c in ti.static(range(3)):
                                        if ev.albedo[c] > 0.0:
                                            slot = slope.albedo_slot(field, at, c)
                                            put(book, tape, line, n, slot, 1 + c, 1.0 / ev.albedo[c], dl[c] * radiance[c])
                            if ti.static(POSE):
                                if deposits and scatterings == 1:
                                    far = hit
                                    slope_u, slope_v = spline_slope(at_pixel[0]), spline_slope(at_pixel[1])
                                    z = in_camera.z * far
                                    xu, xv = in_camera.x / in_camera.z, in_camera.y / in_camera.z
                                    fx, fy = q.optics[0], q.optics[1]
                                    # Of the weight h(u) h(v) fx fy t / z³ · cosⁿ of a fixed x, by x in the camera's frame.
                                    by = vec3(
                                        slope_u * fx / z,
                                        slope_v * fy / z,
                                        -(slope_u * fx * xu + slope_v * fy * xv) / z - 3.0 / z + q.film[0] / z,
                                    )
                                    by = q.turn @ by + (1.0 - q.film[0]) / far * d
                                    turn_by = -d.cross(by) * far  # the distance does not turn
                                    s = rand(side)
                                    y = o + s * far * d
                                    sigma = t.sigma(
                                        field, labels, table, y * q.inv, t.value(field, y, q.inv), q.wall_hu, q.inv
                                    )
                                    shift = -by - far * (1.0 - s) * slope.sigma_gradient(field, table, y, q) + sigma * d
                                    base = dl.dot(radiance)
                                    for a in ti.static(range(3)):
                                        put(book, tape, line, n, once + G.SHIFT + a, TOTAL, shift[a], base)
                                        put(book, tape, line, n, once + G.TURN + a, TOTAL, turn_by[a], base)
                                    focal = slope_u * fx * xu + slope_v * fy * xv + 2.0
                                    put(book, tape, line, n, once + G.FOCAL, TOTAL, focal, base)
                            if not starts:
                                if ev.kind == PHASE:
                                    beta *= ev.albedo
                                top = beta.max()
                                if top < q.roulette:
                                    if rand(rng) * q.roulette >= top:
                                        break
                                    beta *= q.roulette / top
                        frm.at, frm.d, frm.phase, frm.is_phase = x, d, ev.phase, ti.cast(ev.kind == PHASE, ti.i32)

                        # 5. Next-event estimation: one shadow ray to each group of lights.
                        for group in ti.static(range(2)):
                            if ti.static((EMITTERS, ENVIRONMENT)[group]):
                                light = (
                                    lighting.sample_emitter(emitters, x, rng)
                                    if ti.static(group == 0)
                                    else lighting.sample_environment(env, alias, q.to_map, rng)
                                )
                                f = shade.bounce(ev, d, light.direction, q, phase_data)
                                plain = beta * (f.shiny + f.diffuse)
                                if light.density > 0.0:
                                    plain *= light.density / (light.density + f.density)
                                if plain.max() > 0.0 and (light.radiance.max() > 0.0 or light.shine > 0.0):
                                    so, within = x, inside
                                    if ti.static(WALL):
                                        if ev.kind == COAT:
                                            so = x + q.nudge * ev.n
                                            within = t.value(field, so, q.inv) >= q.threshold
                                    lit = visibility(
                                        field, smooth, cells, table, labels, so, light.direction, light.distance,
                                        within, q, rng, side
                                    )  # fmt: skip
                                    got = plain * light.radiance * lit.seen
                                    radiance += got
                                    gain = dl.dot(got)
                                    if deposits and lit.seen > 0.0:
                                        e = light.index
                                        if ti.static(LIGHTS and group == 0):
                                            to = rest + e * (E.COLOUR + 3)
                                            shone = dl * plain * (light.shine * lit.seen)
                                            for c in ti.static(range(3)):
                                                put(book, tape, line, n, to + E.COLOUR + c, OWN, shone[c], 0.0)
                                            if ti.cast(emitters[e, E.KIND], ti.i32) != POINT:
                                                fall = -1.0 - light.direction.dot(lighting.vector(emitters, e, E.AXIS))
                                                put(book, tape, line, n, to + E.MU, OWN, fall * gain, 0.0)
                                        if ti.static(SKY and group == 1):
                                            for c in ti.static(range(3)):
                                                put(book, tape, line, n, once + G.SKY + c, OWN, dl[c] * got[c], 0.0)
                                        if ti.static(SIGMA):
                                            if lit.length > 0.0:
                                                slot = slope.sigma_slot(slope.place(field, lit.point, q, side))
                                                put(book, tape, line, n, slot, OWN, -lit.length * gain, 0.0)
                                        if ti.static(PLACES and group == 0):
                                            put_place(
                                                emitters, field, labels, table, phase_data, book, tape, line, n, rest, e, frm,
                                                light.direction, light.distance, lit.length, lit.point, gain, q
                                            )  # fmt: skip
                                        if ev.kind == PHASE:
                                            cos_theta = d.dot(light.direction)
                                            for j in ti.static(range(VARYING)):
                                                by_p = slope.phase_slope(cos_theta, ev.phase, j, phase_data)
                                                slot = slope.phase_slot(field, at, j)
                                                put(book, tape, line, n, slot, OWN, by_p * gain, 0.0)
                                            if ti.static(POSE):
                                                if scatterings == 1:
                                                    bend = slope.cosine_slope(cos_theta, ev.phase, phase_data) / hit
                                                    by_o = -bend * (light.direction - cos_theta * d)
                                                    for a in ti.static(range(3)):
                                                        put(book, tape, line, n, once + G.SHIFT + a, OWN, by_o[a] * gain, 0.0)
                                        if ti.static(COATED):
                                            by_spec = lit.coat
                                            if ev.kind == COAT:
                                                by_spec += 1.0 / ev.coat[1]
                                                rough = slope.roughness_slope(d, light.direction, ev.film, ev.coat)
                                                put(book, tape, line, n, once + G.ROUGHNESS, OWN, rough * gain, 0.0)
                                            put(book, tape, line, n, once + G.SPECULAR, OWN, by_spec * gain, 0.0)

                        # 6. Onwards.
                        turn = shade.sample(ev, d, q, phase_data, rng)
                        if turn.stop == 1:
                            break
                        if deposits:
                            base = dl.dot(radiance)
                            if ev.kind == PHASE:
                                cos_theta = d.dot(turn.direction)
                                for j in ti.static(range(VARYING)):
                                    by_p = slope.phase_slope(cos_theta, ev.phase, j, phase_data)
                                    put(book, tape, line, n, slope.phase_slot(field, at, j), TOTAL, by_p, base)
                                if ti.static(POSE):
                                    if scatterings == 1:
                                        bend = slope.cosine_slope(cos_theta, ev.phase, phase_data) / hit
                                        by_o = -bend * (turn.direction - cos_theta * d)
                                        for a in ti.static(range(3)):
                                            put(book, tape, line, n, once + G.SHIFT + a, TOTAL, by_o[a], base)
                            elif ti.static(COATED):
                                if turn.reflected == 1:
                                    rough = slope.roughness_slope(d, turn.direction, ev.film, ev.coat)
                                    put(book, tape, line, n, once + G.ROUGHNESS, TOTAL, rough, base)
                                    put(book, tape, line, n, once + G.SPECULAR, TOTAL, 1.0 / ev.coat[1], base)
                                else:
                                    lost = -ev.reflect / ti.max(ev.coat[1] * (1.0 - ev.reflect), 1e-6)
                                    put(book, tape, line, n, once + G.SPECULAR, TOTAL, lost, base)
                        o = x
                        if turn.reflected == 1:
                            beta *= turn.weight
                            d = turn.direction
                            density = turn.density
                            vertex = x
                        if ti.static(WALL):
                            if ev.kind == COAT:
                                o = x + q.nudge * (ev.n if turn.reflected == 1 else d)
                                inside = t.value(field, o, q.inv) >= q.threshold

                    # What the walk was for.
                    if leg == WALK:
                        radiance *= share
                        for c in ti.static(range(3)):
                            delta = radiance[c] - mean[pixel, c]
                            mean[pixel, c] += delta / (sample + 1)
                            squares[pixel, c] += delta * (radiance[c] - mean[pixel, c])
                        radiance /= ti.max(share, 1e-30)
                    if ti.static(BACKWARD):
                        if leg == TAIL:
                            value = dl.dot(kept_om * radiance) * sum_w / kept_w
                            slot = slope.sigma_slot(slope.place(field, kept_x, q, side))
                            ti.atomic_add(grads[slot], ti.cast(value, ti.f64))
                            leg = DONE
                        else:
                            total = vec4(dl.dot(radiance), dl[0] * radiance[0], dl[1] * radiance[1], dl[2] * radiance[2])
                            if leg == WALK and n > TAPE:
                                leg = AGAIN
                            else:
                                settle(book, tape, line, n, total, grads)
                                leg = DONE
                                if ti.static(AIR):
                                    if sum_w > 0.0:
                                        leg = TAIL
                    else:
                        leg = DONE

    return trace
