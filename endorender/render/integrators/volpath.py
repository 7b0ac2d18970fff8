"""The fast path tracer: delta tracking under local majorants, next-event estimation with MIS, Russian roulette.

One set of paths carries the throughput of several looks: C = 3 K channels for K conditions that differ in albedo and
in the colour of light only. Miller, Georgiev, Jarosz 2019 (null collisions); Veach 1995 (MIS, balance heuristic).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend, launches, sampling
from endorender.render.device import rng as random
from endorender.render.device.cache import kernels
from endorender.render.device.launches import Window
from endorender.render.device.rng import rand, rand2
from endorender.render.integrators.models import Progress
from endorender.render.medium.collision import Flight
from endorender.render.medium.prepared import prepare
from endorender.render.medium.traits import Traits
from endorender.render.transport import camera_rays, illumination, refraction, shading, shadow_rays, side_branch, steps
from endorender.render.transport import noise as enough
from endorender.render.transport.film import Film, Radiance, add_sample
from endorender.render.transport.noise import Noise
from endorender.render.transport.shadow_rays import NOTHING_NOTED
from endorender.render.transport.steps import Path
from endorender.render.transport.tracking import COLLISION, NOTHING, SURFACE
from endorender.render.transport.view import unpack
from endorender.render.transport.world import Array, Lit, World, packed
from endorender.scene.scene import Scene


def traced(
    scenes: Sequence[Scene],
    spp: int,
    seed: int,
    frame: int,
    progress: Progress | None,
    roulette: float | None,
    noise: Noise | None,
) -> list[Radiance]:
    """Short launches until every sample is taken."""
    first, channels = scenes[0], 3 * len(scenes)
    prepared = prepare(first.medium)
    lit, fixed = packed(scenes, prepared, roulette)
    dtype, traits = str(prepared.low.dtype), Traits.of(first)
    kinds = (prepared.kind, first.surface, dtype, type(first.phase), type(first.camera))
    kernel = tracer(*kinds, channels, lit, traits, side_branch.worth(first, traits))
    n = first.camera.width * first.camera.height
    lanes = enough.lanes(n, spp, noise)
    film = Film(first.camera, channels, lanes)
    cut = backend.resident(np.zeros((n * lanes, 1 + channels), np.float32))
    key = random.key(seed, frame)

    def launch(*share: Any) -> None:
        kernel(*fixed, film.sums, cut, *share, key, lanes, spp)

    pictures = enough.gather(launch, film, spp, noise, progress)
    samples = pictures[0].samples
    ended, *unspent = backend.fetch(cut).sum(0, dtype=float) / (n * spp if samples is None else samples.sum())
    return [
        dataclasses.replace(made, cut=float(ended), unspent=np.array(unspent[3 * k : 3 * k + 3]))
        for k, made in enumerate(pictures)
    ]


@kernels
def tracer(
    kind: str,
    surface: str,
    dtype: str,
    phase: Any,
    camera: Any,
    channels: int,
    lit: Lit,
    traits: Traits,
    branching: bool,
):
    """The kernel for one choice of everything whose type, not value, it depends on.

    lit: which lights the scene has. traits: what else it asks for. branching: see `side_branch`.
    """
    shade = shading.device(kind, surface, phase, channels, traits)
    lighting = illumination.device(channels, lit.outlines, lit.profiles)
    shadow = shadow_rays.device(kind, surface, dtype, phase, channels, traits)
    step = steps.device(kind, surface, dtype, phase, channels, lit, traits)
    wall = step.wall
    aside: Any = None
    if branching:
        aside = side_branch.device(kind, surface, dtype, phase, channels, traits, lit.outlines, lit.profiles)
    Fork = side_branch.fork(phase.FLOATS)
    eye = camera_rays.device(camera)
    SPREAD = backend.spread()
    COAT, PHASE, FORWARD = shading.COAT, shading.PHASE, shading.FORWARD
    Spectrum, BENDS = shade.Spectrum, traits.refracting
    TINTED = surface == "hybrid" or shade.COVER
    EMITTERS, AREAS, ENVIRONMENT, EVEN = lit.emitters, len(lit.outlines) > 0, lit.environment, lit.even

    @ti.kernel
    def trace(
        field: Array, smooth: Array, cells: Array, table: Array, labels: Array, grid: Array, phase_data: Array,
        coats: Array, capsules: Array, buckets: Array, view: Array, emitters: Array, env: Array, alias: Array,
        sums: Array, cut: Array, window: Window, taken: Array, spent: Array, frame_key: ti.u64,
        lanes: ti.i32, spp: ti.i32,
    ):  # fmt: skip
        """sums: of `film.Film`. cut: (N, 1 + C) paths that were ended, and the throughput that they still had."""
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
            average, scatter, unspent = Spectrum(0.0), Spectrum(0.0), Spectrum(0.0)
            for c in ti.static(range(channels)):
                average[c], scatter[c], unspent[c] = sums[slot, 0, c], sums[slot, 1, c], cut[slot, 1 + c]
            ended = cut[slot, 0]
            begin = ti.max(window.begin, taken[slot])
            end = ti.min(window.end, (spp - lane + lanes - 1) // lanes)
            for number in range(begin, eye.samples(pixel, q, begin, end)):
                sample = number * lanes + lane
                if spent[0] >= window.most_work:
                    spent[1] = 1
                    break
                rng = random.start(frame_key, pixel, sample)
                began, work = rng, 0
                even = random.lattice(frame_key, pixel, sample)
                o, d, share_seen = eye.ray(pixel, even[:2], q, rng)
                radiance, beta = Spectrum(0.0), Spectrum(1.0)
                vertex, density = o, -1.0  # from the lens nothing else could have sampled the direction
                link, exit = refraction.DIRECT, o
                inside, entered, scatterings = False, False, 0
                path = ti.static(
                    Path(o, d, inside, entered, vertex, density, radiance, beta, scatterings, rng, link, exit)
                )
                fork = Fork(x=0.0, d=0.0, phase=0.0)
                branched = False  # whether a branch could have left from there, see `side_branch`
                share, hero = ti.math.vec3(1.0), 0  # spectral MIS weight, and the channel that decides collisions
                budget = sampling.minus_log(1.0 - even[2])  # optical depth until the next tentative collision
                if ti.static(traits.chromatic):
                    hero = ti.min(ti.cast(rand(rng) * 3.0, ti.i32), 2)
                flight = ti.static(Flight(budget, share, hero, rng))
                while True:
                    work += ti.static(launches.EVENT_WORK)
                    if work + ti.cast(random.drawn(began, rng), ti.i32) > ti.static(launches.PATH_WORK):
                        ended += 1.0
                        unspent += beta
                        break
                    reduced = scatterings >= q.similar_after
                    # 1. Fly: to the wall, to a collision, or out.
                    event, hit, hu, _, _ = step.fly(world, path, flight, reduced)
                    if ti.static(branching):
                        branched = branched and event == COLLISION

                    # 2. Light met on the way, weighed against its chance to be sampled from the last vertex.
                    if ti.static(AREAS):
                        if ti.static(BENDS):
                            radiance += beta * wall.met(world, path, hit)
                        else:
                            radiance += beta * lighting.met_emitters(emitters, o, d, hit, vertex, density)
                    if event == NOTHING:
                        if ti.static(ENVIRONMENT):
                            sampled = density
                            if ti.static(BENDS):
                                if inside:  # from the tissue no sky is sampled
                                    sampled = -1.0
                            sky = lighting.met_environment(env, q.to_map @ d, sampled)
                            radiance += beta * sky.weight * sky.radiance
                        if ti.static(EVEN):
                            radiance += beta * lighting.even(env)
                        break

                    # 3. What it is that the path has met.
                    x = o + hit * d
                    ev = shade.event(world, x, d, hu, event == COLLISION, inside, reduced, rng)
                    if ti.static(step.LEAVES):
                        if event == SURFACE and inside:
                            step.emerge(world, path, ev, x)
                            continue
                    scatters = event == COLLISION
                    if ti.static(shade.COVER):
                        scatters = scatters or ev.kind == COAT
                    if scatters:
                        if ev.kind != FORWARD:
                            if scatterings == q.max_scatterings:
                                ended += 1.0
                                unspent += beta
                                break
                            scatterings += 1
                        if ev.kind == PHASE or ev.kind == FORWARD:
                            beta *= ev.albedo
                        if not step.survives(world, path):
                            break
                        if ti.static(traits.similar):
                            if ev.kind == FORWARD:
                                o = x
                                continue

                    # 4. Next-event estimation: one shadow ray to each group of lights.
                    late = scatterings >= q.similar_after
                    if ti.static(BENDS and EMITTERS):
                        if ev.kind == PHASE:
                            radiance += beta * wall.connect(world, ev, x, d, late, budget, rng)
                    for group in ti.static(range(2)):
                        if ti.static((EMITTERS, ENVIRONMENT)[group]):
                            light = lighting.sample(world, ti.static(group), x, rng)
                            f = shade.bounce(world, ev, d, light.direction)
                            gain = Spectrum(f.shiny + f.diffuse)
                            if ti.static(TINTED):
                                if ev.kind != PHASE:
                                    gain = f.shiny + f.diffuse * ev.albedo
                            gain *= beta * light.radiance
                            if ti.static(BENDS):
                                if ev.kind == PHASE:
                                    gain *= 0.0  # of what lies beyond the wall, `connect` brings emitters
                            gain *= lighting.weight(light, f.density)
                            if ti.static(branching and group == 0):
                                if branched and ev.kind == PHASE:
                                    gain *= aside.share(world, fork, d, density, light.index)
                            if gain.max() > 0.0:
                                w = light.direction
                                so, within = step.outlook(world, path, ev, x, w)
                                arrives = shadow.visibility(
                                    world, so, w, light.distance, within, late, budget, rng, NOTHING_NOTED
                                )
                                radiance += gain * step.per_channel(arrives)
                    if ti.static(branching):
                        fork = Fork(x=x, d=d, phase=ev.phase)
                        branched = ev.kind == PHASE and scatterings < q.max_scatterings
                        if branched:
                            radiance += beta * aside.branch(world, fork, budget, rng)

                    # 5. Onwards.
                    u = rand2(rng)
                    if ev.kind == PHASE and scatterings == 1:
                        u = even[3:]
                    turn = shade.sample(world, ev, d, u, rng)
                    if turn.stop == 1:
                        break
                    step.onwards(world, path, ev, x, turn)

                add_sample(average, scatter, radiance * share_seen, number + 1)
                taken[slot] = number + 1
                ti.atomic_add(spent[0], work + ti.cast(random.drawn(began, rng), ti.i32))
            for c in ti.static(range(channels)):
                sums[slot, 0, c], sums[slot, 1, c], cut[slot, 1 + c] = average[c], scatter[c], unspent[c]
            cut[slot, 0] = ended

    return trace
