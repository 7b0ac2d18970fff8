"""The adjoint of path tracing: how a picture's gradient becomes that of everything the picture depends on.

Path replay (Vicini, Speierer, Jakob 2021) by hand: a parameter at a vertex gets R · ∂ log f, with R the radiance that
the path still brings from there on: all that it brings less what it has brought so far. A path keeps its deposits on a
tape of fixed length until that is known; one too long for the tape is walked again, from the same random numbers. So
memory does not depend on the number of samples, and most paths are walked once.

Sampling is detached: densities do not follow the parameters, what they sample does. Extinction as in docs/gradients.md:
attenuation at points in the cells that each flight and shadow ray crosses, in-scattering at real collisions by
σ² / (σ² + c²), and the rest, c² / (σ² + c²), at one further vertex per path, so that it is right where σ = 0.
"""

import math
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render.device import backend, launches, sampling
from endorender.render.device import rng as random
from endorender.render.device.cache import kernels
from endorender.render.device.launches import Window
from endorender.render.device.rng import rand2
from endorender.render.gradients import attenuation, derivatives, further_vertex, recorder, shadow_rays
from endorender.render.gradients.attenuation import SCRATCH, Ray, Stretch
from endorender.render.gradients.coverage import refuse
from endorender.render.gradients.derivatives import G
from endorender.render.gradients.recorder import Record, Vertex
from endorender.render.gradients.tape import MARGIN, TAPE, Sums, Tape, settle
from endorender.render.integrators.models import Progress
from endorender.render.medium.collision import UNWATCHED, Flight
from endorender.render.medium.prepared import Prepared, prepare
from endorender.render.medium.traits import Traits
from endorender.render.transport import camera_rays, illumination, shading, steps
from endorender.render.transport.emitters import E, pack_emitters
from endorender.render.transport.film import Film, Radiance, add_sample
from endorender.render.transport.steps import Path
from endorender.render.transport.tracking import COLLISION, NOTHING, SURFACE
from endorender.render.transport.view import unpack
from endorender.render.transport.world import Array, Lit, World, packed
from endorender.scene.scene import Scene

vec2, vec3, vec4 = ti.math.vec2, ti.math.vec3, ti.math.vec4
C_PER_VOXEL = 0.015  # c of the estimator of extinction, over the voxel's edge
LINES = 1024  # threads of a launch on a CPU, each with a tape
ROOM = 1 << 30  # bytes that tapes may take on a card, which has many threads
WALK, AGAIN, TAIL, DONE = range(4)  # a path; once more if it did not fit the tape; the path from its further vertex
# rest: slot of the first emitter. most_air: c of the estimator, mm⁻¹. ambient: radiance to expect beside that of the
# emitters. grain: what sums are multiples of.
Estimator: Any = ti.types.struct(rest=ti.i32, most_air=ti.f32, ambient=ti.f32, grain=ti.f64)


def traced(scene: Scene, spp: int, seed: int, frame: int, progress: Progress | None, smooth_pixels: bool) -> Radiance:
    """A view without its gradient. Raises UserError for what gradients do not cover."""
    refuse(scene, ())
    key = random.key(seed, frame)
    return run(scene, prepare(scene.medium), None, (), spp, key, smooth_pixels, 0.0, progress)[0]


def run(
    scene: Scene,
    prepared: Prepared,
    weights: np.ndarray | None,
    wanted: tuple[str, ...],
    spp: int,
    key: int,
    smooth_pixels: bool,
    ambient: float,
    progress: Progress | None = None,
) -> tuple[Radiance, np.ndarray]:
    """The picture and the flat array of gradients of Σ weights × picture; see `derivatives` for its layout.

    wanted: of `coverage.WANTED`, in its order.
    """
    lit, fixed = packed([scene], prepared)
    dtype, traits = str(prepared.low.dtype), Traits.of(scene)
    types = (type(scene.phase), type(scene.camera), lit, traits)
    kernel = tracer(prepared.kind, scene.surface, dtype, *types, wanted, smooth_pixels)
    columns = 1 + type(scene.phase).FLOATS + 3
    voxels = int(np.prod(prepared.shape))
    rest = 1025 * columns if prepared.kind == "tissue" else 4 * voxels + columns - 4
    slots = rest + pack_emitters([scene], prepared).size + G.SIZE
    if slots >= 1 << 28:
        raise UserError("a grid to be fitted may have up to 400³ voxels", "TOO_LARGE")
    n = scene.camera.width * scene.camera.height
    lanes, most = launches.lanes(n, spp), lines()
    film, tapes = Film(scene.camera, lanes=lanes), min(n * lanes, most) if wanted else 1
    image_gradient = np.zeros((1, 3)) if weights is None else weights.reshape(n, 3) / spp
    grads = backend.resident(np.zeros(slots if wanted else 1, np.float64))
    entries = TAPE if wanted else 1
    tape = [
        backend.room((tapes, entries, 2), np.dtype("int32")),
        backend.room((tapes, entries + SCRATCH, 2), np.dtype("float32")),
    ]
    most_air = C_PER_VOXEL / float(prepared.spacing.mean()) if "air" in wanted else 0.0
    # Of the size of a whole gradient, 2⁻³⁶: a path's share is far above it, and sums stay below 2⁵³ of it.
    whole = max(float(np.abs(image_gradient).sum()) * spp * ambient, 1e-30)
    grain = 2.0 ** (math.ceil(math.log2(whole)) - 36)
    work = [film.sums, backend.resident(image_gradient.astype(np.float32)), grads, *tape]
    estimator = Estimator(rest, most_air, ambient, grain)

    def launch(*share: Any) -> None:
        kernel(*fixed, *work, estimator, *share, key, lanes, spp)

    launches.trace(launch, n * lanes, -(-spp // lanes), progress, most)
    return film.developed(spp)[0], backend.fetch(grads)


def lines() -> int:
    """Threads of a launch: each has a tape."""
    return LINES if backend.running() == "cpu" else ROOM // (8 * (TAPE + TAPE + SCRATCH))


@kernels
def tracer(
    kind: str,
    surface: str,
    dtype: str,
    phase: Any,
    camera: Any,
    lit: Lit,
    traits: Traits,
    wanted: tuple,
    smooth_pixels: bool,
):
    """The kernel for one choice of everything whose type it depends on.

    lit: which lights the scene has. wanted: of `coverage.WANTED`; none: the picture alone. smooth_pixels: a quadratic
    B-spline over three pixels instead of the box, at whose edges the light that a moving camera sees would jump.
    """
    SPREAD = backend.spread()
    shade = shading.device(kind, surface, phase, 3, traits)
    lighting = illumination.device(3, lit.outlines)
    step = steps.device(kind, surface, dtype, phase, 3, lit, traits)
    slope = derivatives.device(kind, surface, phase, traits)
    note = recorder.device(kind, surface, dtype, phase, traits, wanted)
    eye = camera_rays.device(camera)
    PHASE, GRID = shading.PHASE, kind != "tissue"
    EMITTERS, ENVIRONMENT, EVEN = lit.emitters, lit.environment, lit.even
    AIR, BACKWARD = "air" in wanted, len(wanted) > 0
    extra = further_vertex.device(kind, surface, phase, EMITTERS, traits)
    Scattered = ti.types.struct(at=vec3, d=vec3, phase=ti.types.vector(phase.FLOATS, float), any=int)
    visibility = shadow_rays.device(
        kind, surface, dtype, phase, traits, "places" in wanted, "coat" in wanted
    ).visibility
    watched = attenuation.stretch if "sigma_t" in wanted else UNWATCHED.stretch

    @ti.kernel
    def trace(
        field: Array, smooth: Array, cells: Array, table: Array, labels: Array, grid: Array, phase_data: Array,
        coats: Array, capsules: Array, buckets: Array, view: Array, emitters: Array, env: Array, alias: Array,
        sums: Array, weights: Array, grads: Array, slots: Array, weighed: Array, estimator: Estimator,
        window: Window, taken: Array, spent: Array, frame_key: ti.u64, lanes: ti.i32, spp: ti.i32,
    ):  # fmt: skip
        """sums: of `film.Film`. weights: (N, 3) the picture's gradient. slots, weighed: the tapes, one for each thread
        of the launch."""
        for unit in range(window.first * SPREAD, window.last * SPREAD):
            if unit % SPREAD != 0:
                continue
            slot = unit // SPREAD
            pixel, lane = slot // lanes, slot % lanes
            q = unpack(view)
            world = ti.static(
                World.of(
                    q, field, smooth, cells, table, labels, grid, phase_data, coats, capsules, buckets, emitters, env,
                    alias
                )
            )  # fmt: skip
            deposits = ti.static(Sums(grads, estimator.grain, field))
            rest = estimator.rest
            once = rest + emitters.shape[0] * (E.COLOUR + 3)  # slot of what a view has once
            average, scatter = vec3(0.0), vec3(0.0)
            for c in ti.static(range(3)):
                average[c], scatter[c] = sums[slot, 0, c], sums[slot, 1, c]
            begin = ti.max(window.begin, taken[slot])
            last = ti.min(window.end, (spp - lane + lanes - 1) // lanes)
            for nth in range(begin, eye.samples(pixel, q, begin, last)):
                sample = nth * lanes + lane
                if spent[0] >= window.most_work:
                    spent[1] = 1
                    break
                key = random.start(frame_key, pixel, sample)
                rng, side = key, key
                work = 0
                at_pixel, in_camera, lens, ahead, share = vec2(0.0), vec3(0.0), q.lens, vec3(0.0), 1.0
                if ti.static(smooth_pixels):
                    at_pixel, in_camera, ahead, share = eye.smooth_ray(pixel, q, rng)
                else:
                    lens, ahead, share = eye.ray(pixel, rand2(rng), q, rng)
                dl = vec3(0.0)
                if ti.static(BACKWARD):
                    dl = share * vec3(weights[pixel, 0], weights[pixel, 1], weights[pixel, 2])
                total = vec4(0.0)
                # The further vertex: one of all candidates, kept with a chance in proportion to its weight.
                kept = extra.none()

                leg = WALK
                while leg < DONE:
                    o, d, vertex, density = lens, ahead, lens, -1.0
                    radiance, beta = vec3(0.0), vec3(1.0)
                    scatterings, number, inside, entered, leg_key = 0, 0, False, False, key
                    path = ti.static(Path(o, d, inside, entered, vertex, density, radiance, beta, scatterings, rng))
                    end = ti.math.ivec2(slot - window.first, 0)  # of the tape
                    place = Scattered(at=o, d=d, phase=0.0, any=0)  # of the last vertex
                    if leg == TAIL:
                        o, d, scatterings, inside, entered = kept.x, kept.d, kept.scatterings, kept.inside != 0, True
                        leg_key = random.mix(key ^ ti.u64(0x14057B7EF767814F))
                    else:
                        # `side`: what the derivatives alone draw; the same once more, should the path be walked again.
                        kept.all_weights, side = 0.0, random.mix(key ^ ti.u64(0x5851F42D4C957F2D))
                    keeps = BACKWARD and leg != TAIL  # whether what this leg meets gets deposits
                    began, leg_work = rng, 0
                    tape = ti.static(Tape(slots, weighed, end))
                    count, air, gone = 0, Stretch(length=0.0, at=0.0), 0.0
                    ray = ti.static(Ray(watched, keeps, count, air, gone, tape, side))
                    record = ti.static(Record(path, keeps, dl, ray, side, tape, rest, once))
                    while True:
                        # Every vertex has random numbers of its own: a decision that falls otherwise spoils no others.
                        number += 1
                        leg_work += ti.static(launches.EVENT_WORK) + ti.cast(random.drawn(began, rng), ti.i32)
                        if leg_work > ti.static(launches.PATH_WORK):
                            break
                        rng = random.mix(leg_key + ti.cast(number, ti.u64) * ti.u64(0xD1342543DE82EF95))
                        began = rng
                        starts = leg == TAIL and number == 1
                        if ti.static(BACKWARD):
                            if leg == AGAIN and end[1] > ti.static(TAPE - MARGIN):
                                settle(tape, total, deposits, side)

                        # 1. Fly, unless the path begins at a collision.
                        event, hit, hu, start, length = COLLISION, 0.0, kept.hu, 0.0, 0.0
                        attenuation.begin(ray)
                        if not starts:
                            budget, unused = sampling.exponential(rng), vec3(1.0)
                            flight = ti.static(Flight(budget, unused, 0, rng, ray))
                            event, hit, hu, start, length = step.fly(world, path, flight, False)

                        # 2. Light met on the way. It has come through the medium as far as the light only.
                        if ti.static(EMITTERS):
                            for e in range(0 if starts else emitters.shape[0]):
                                met = lighting.met_emitter(emitters, e, o, d, hit, vertex, density)
                                if met.shine > 0.0:
                                    radiance += beta * met.shine * lighting.vector(emitters, e, E.COLOUR)
                                    note.met(world, record, e, met, start, length, place)

                        # 3. Attenuation on the way, and a candidate for the further vertex.
                        note.flown(world, record)
                        if ti.static(AIR):
                            if keeps and length > 1e-6 and scatterings < q.max_scatterings:
                                extra.offer(kept, world, record, start, length, estimator.most_air, estimator.ambient)
                        if event == NOTHING:
                            if ti.static(ENVIRONMENT or EVEN):
                                got = beta
                                if ti.static(ENVIRONMENT):
                                    sky = lighting.met_environment(env, q.to_map @ d, density)
                                    got *= sky.radiance
                                    got *= sky.weight
                                else:
                                    got *= lighting.even(env)
                                radiance += got
                                note.escaped(record, got)
                            break

                        # 4. What it is that the path has met.
                        x = o + hit * d
                        ev = shade.event(world, x, d, hu, event == COLLISION, inside, False, rng)
                        if ti.static(step.LEAVES):
                            if event == SURFACE and inside:
                                note.emerged(world, record, ev)
                                step.emerge(world, path, ev, x)
                                continue
                        at = 0  # row of the table, or voxel
                        if event == COLLISION:
                            if scatterings == q.max_scatterings:
                                break
                            scatterings += 1
                            if ti.static(GRID):
                                # The node whose albedo colours the path is the one that gets the derivative.
                                at = slope.place(world, x, rng)
                                ev.albedo = extra.albedo_of(world, at)
                            at = note.collided(world, record, x, hu, ev, at, estimator.most_air)
                            note.seen(world, record, hit, in_camera, at_pixel)
                            if not starts:
                                if ev.kind == PHASE:
                                    beta *= ev.albedo
                                if not step.survives(world, path):
                                    break
                        place = Scattered(at=x, d=d, phase=ev.phase, any=ti.cast(ev.kind == PHASE, ti.i32))
                        here = ti.static(Vertex(ev, place, hit, at))

                        # 5. Next-event estimation: one shadow ray to each group of lights.
                        for group in ti.static(range(2)):
                            if ti.static((EMITTERS, ENVIRONMENT)[group]):
                                light = lighting.sample(world, ti.static(group), x, rng)
                                w = light.direction
                                f = shade.bounce(world, ev, d, w)
                                plain = beta * (f.shiny + f.diffuse)
                                plain *= lighting.weight(light, f.density)
                                if plain.max() > 0.0 and (light.shine > 0.0 or light.radiance.max() > 0.0):
                                    so, within = step.outlook(world, path, ev, x, w)
                                    way = visibility(world, so, w, light.distance, within, rng, ray)
                                    plain *= way.seen
                                    radiance += plain * light.radiance
                                    note.lit(world, record, here, light, way, plain, ti.static(group))

                        # 6. Onwards.
                        turn = shade.sample(world, ev, d, rand2(rng), rng)
                        if turn.stop == 1:
                            break
                        note.turned(world, record, here, turn)
                        step.onwards(world, path, ev, x, turn)

                    work += leg_work + ti.cast(random.drawn(began, rng), ti.i32)
                    # What the walk was for.
                    if leg == WALK:
                        add_sample(average, scatter, radiance * share, nth + 1)
                    next_leg = DONE
                    if ti.static(BACKWARD):
                        if leg == TAIL:
                            extra.put_kept(world, record, deposits, kept)
                        else:
                            each = dl * radiance
                            total = vec4(each.sum(), each)
                            if leg == WALK and end[1] > TAPE:
                                next_leg = AGAIN
                            else:
                                settle(tape, total, deposits, side)
                                if kept.all_weights > 0.0:
                                    next_leg = TAIL
                    leg = next_leg
                taken[slot] = nth + 1
                ti.atomic_add(spent[0], work)
            for c in ti.static(range(3)):
                sums[slot, 0, c], sums[slot, 1, c] = average[c], scatter[c]

    return trace
