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
from endorender.render.device.rng import rand, rand2
from endorender.render.integrators.models import Progress
from endorender.render.medium.collision import Flight
from endorender.render.medium.prepared import prepare
from endorender.render.medium.traits import Traits
from endorender.render.transport import (
    camera_rays,
    illumination,
    refraction,
    shading,
    shadow_rays,
    side_branch,
    tracking,
)
from endorender.render.transport import noise as enough
from endorender.render.transport.film import Film, Radiance
from endorender.render.transport.noise import Noise
from endorender.render.transport.shadow_rays import NOTHING_NOTED
from endorender.render.transport.tracking import COLLISION, FAR, NOTHING, SURFACE
from endorender.render.transport.world import Lit, World, packed
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

    def launch(p0: int, p1: int, s0: int, s1: int, *work: Any) -> None:
        kernel(*fixed, film.mean, film.squares, cut, p0, p1, s0, s1, *work, first.max_scatterings, key, lanes, spp)

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
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, channels, traits)
    lighting = illumination.device(channels, lit.outlines, lit.profiles)
    chromatic, BENDS = traits.chromatic, traits.refracting
    shadow = shadow_rays.device(kind, surface, dtype, phase, channels, traits)
    wall: Any = None
    if BENDS:
        wall = refraction.device(kind, surface, dtype, phase, channels, traits, lit.outlines, lit.profiles)
    aside: Any = None
    if branching:
        aside = side_branch.device(kind, surface, dtype, phase, channels, traits, lit.outlines, lit.profiles)
    Fork = side_branch.fork(phase.FLOATS)
    eye = camera_rays.device(camera)
    SPREAD = backend.spread()
    COAT, PHASE, FORWARD = shading.COAT, shading.PHASE, shading.FORWARD
    Spectrum = shade.Spectrum
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    TINTED = HYBRID or shade.COVER
    similar = traits.similar
    EMITTERS, AREAS, ENVIRONMENT, EVEN = lit.emitters, len(lit.outlines) > 0, lit.environment, lit.even

    @ti.func
    def per_channel(v):
        """(3,) for red, green, blue -> the same for every look's channels; (C,) stays."""
        out = Spectrum(0.0)
        for c in ti.static(range(channels)):
            out[c] = v[c % v.n]
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
        coats: ti.types.ndarray(),
        capsules: ti.types.ndarray(),
        buckets: ti.types.ndarray(),
        view: ti.types.ndarray(),
        emitters: ti.types.ndarray(),
        env: ti.types.ndarray(),
        alias: ti.types.ndarray(),
        mean: ti.types.ndarray(),
        squares: ti.types.ndarray(),
        cut: ti.types.ndarray(),
        first: ti.i32,
        last: ti.i32,
        round0: ti.i32,
        round1: ti.i32,
        taken: ti.types.ndarray(),
        spent: ti.types.ndarray(),
        most_work: ti.i32,
        max_scatterings: ti.i32,
        frame_key: ti.u64,
        lanes: ti.i32,
        spp: ti.i32,
    ):
        for unit in range(first * SPREAD, last * SPREAD):
            if unit % SPREAD != 0:
                continue
            slot = unit // SPREAD
            pixel, lane = slot // lanes, slot % lanes
            q = shade.unpack(view)
            world = ti.static(
                World.of(
                    q, field, smooth, cells, table, labels, grid, phase_data, coats, capsules, buckets, emitters, env,
                    alias
                )
            )  # fmt: skip
            m = ti.static(world.medium)
            average, scatter = Spectrum(0.0), Spectrum(0.0)
            for c in ti.static(range(channels)):
                average[c], scatter[c] = mean[slot, c], squares[slot, c]
            ended, unspent = cut[slot, 0], Spectrum(0.0)  # paths that were ended; throughput they still had
            for c in ti.static(range(channels)):
                unspent[c] = cut[slot, 1 + c]
            begin = ti.max(round0, taken[slot])
            end = ti.min(round1, (spp - lane + lanes - 1) // lanes)
            for number in range(begin, eye.samples(pixel, q, begin, end)):
                sample = number * lanes + lane
                if spent[0] >= most_work:
                    spent[1] = 1
                    break
                rng = random.start(frame_key, pixel, sample)
                began, work = rng, 0
                even = random.lattice(frame_key, pixel, sample)
                o, d, share_seen = eye.ray(pixel, even[:2], q, rng)
                radiance, beta = Spectrum(0.0), Spectrum(1.0)
                vertex = o  # where the direction was last sampled
                density = -1.0  # of that direction; from the lens nothing else could have sampled it
                branched = False  # whether a branch could have left from there, see `side_branch`
                fork = Fork(x=0.0, d=0.0, phase=0.0)
                link, exit = refraction.DIRECT, o  # how the path has come from the vertex, see `refraction`
                scatterings = 0
                inside = False
                entered = False  # the lens may lie outside the grid
                share, hero = ti.math.vec3(1.0), 0  # spectral MIS weight, and the channel that decides collisions
                budget = sampling.minus_log(1.0 - even[2])  # optical depth until the next tentative collision
                if ti.static(chromatic):
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
                    event, hit, hu = NOTHING, FAR, 0.0
                    start, outside = 0.0, False
                    if not entered:
                        # From here on every vertex lies in the grid.
                        span = t.clip(m, o, d)
                        start, outside = span[0], span[1] <= span[0]
                        if ti.static(WALL):
                            inside = t.value(m, o + d * start) >= q.threshold
                        entered = True
                    if not outside:
                        before = share
                        event, hit, hu, _ = t.march(m, o, d, start, FAR, inside, ti.static(False), reduced, flight)
                        if event == NOTHING:
                            hit = FAR
                        if ti.static(chromatic):
                            beta *= per_channel(share / ti.max(before, 1e-30))
                    if ti.static(branching):
                        branched = branched and event == COLLISION
                    # 2. Light met on the way, weighed against its chance to be sampled from the last vertex.
                    if ti.static(AREAS):
                        if ti.static(BENDS):
                            radiance += beta * wall.met(world, o, d, hit, vertex, density, link, exit, rng)
                        else:
                            radiance += beta * lighting.met_emitters(emitters, o, d, hit, vertex, density)
                    if event == NOTHING:
                        if ti.static(ENVIRONMENT):
                            sky = lighting.environment(env, q.to_map @ d)
                            weight = 1.0
                            sampled = density >= 0.0
                            if ti.static(BENDS):
                                sampled = sampled and not inside  # from the tissue no sky is sampled
                            if sampled:
                                weight = density / (density + sky.density)
                            radiance += beta * weight * sky.radiance
                        if ti.static(EVEN):
                            for c in ti.static(range(channels)):
                                radiance[c] += beta[c] * env[0, 0, c]
                        break

                    # 3. What it is that the path has met.
                    x = o + hit * d
                    ev = shade.event(world, x, d, hu, event == COLLISION, inside, reduced, rng)
                    if ti.static(WALL):
                        if ti.static(BENDS):
                            if event == SURFACE and inside:
                                link = (
                                    refraction.JOINED
                                    if link == refraction.DIRECT and density >= 0.0
                                    else refraction.STRAY
                                )
                                turned, gone = wall.leave(world, ev, x, d, rng)
                                if gone == 0:
                                    link = refraction.STRAY
                                d, density, exit = turned, -1.0, x
                                o = x + q.nudge * (-ev.n if gone == 1 else ev.n)
                                inside = t.value(m, o) >= q.threshold
                                continue
                        elif ti.static(not shade.BORDER):
                            if event == SURFACE and inside:
                                # Out of the tissue: light that comes in here has lost what the coat reflects.
                                beta *= 1.0 - ev.reflect
                                o = x + q.nudge * d
                                inside = t.value(m, o) >= q.threshold
                                continue
                    scatters = event == COLLISION
                    if ti.static(shade.COVER):
                        scatters = scatters or ev.kind == COAT
                    if scatters:
                        if ev.kind != FORWARD:
                            if scatterings == max_scatterings:
                                ended += 1.0
                                unspent += beta
                                break
                            scatterings += 1
                        if ev.kind == PHASE or ev.kind == FORWARD:
                            beta *= ev.albedo
                        # Roulette, never capped below 1: a cap makes the variance diverge at high albedo.
                        top = beta.max()
                        if top < q.roulette:
                            if rand(rng) * q.roulette >= top:
                                break
                            beta *= q.roulette / top
                        if ti.static(similar):
                            if ev.kind == FORWARD:
                                o = x
                                continue

                    # 4. Next-event estimation: one shadow ray to each group of lights.
                    if ti.static(BENDS and EMITTERS):
                        if ev.kind == PHASE:
                            radiance += beta * wall.connect(
                                world, ev, x, d, scatterings >= q.similar_after, budget, rng
                            )
                    for group in ti.static(range(2)):
                        if ti.static((EMITTERS, ENVIRONMENT)[group]):
                            light = lighting.dark()
                            # Not `a if ti.static(c) else b`: Taichi 1.7.4 runs both, and one of them twice.
                            if ti.static(group == 0):
                                light = lighting.sample_emitter(emitters, x, rng)
                            else:
                                light = lighting.sample_environment(env, alias, q.to_map, rng)
                            f = shade.bounce(world, ev, d, light.direction)
                            gain = Spectrum(f.shiny + f.diffuse)
                            if ti.static(TINTED):
                                if ev.kind != PHASE:
                                    gain = f.shiny + f.diffuse * ev.albedo
                            gain *= beta * light.radiance
                            if ti.static(BENDS):
                                if ev.kind == PHASE:
                                    gain *= 0.0  # of what lies beyond the wall, `connect` brings emitters
                            if light.density > 0.0:
                                gain *= light.density / (light.density + f.density)
                            if ti.static(branching and group == 0):
                                if branched and ev.kind == PHASE:
                                    gain *= aside.share(world, fork, d, density, light.index)
                            if gain.max() > 0.0:
                                so, within = x, inside
                                if ti.static(WALL):
                                    if ev.kind == COAT:
                                        so = shade.beside(world, ev, x, light.direction)
                                        within = t.value(m, so) >= q.threshold
                                late = scatterings >= q.similar_after
                                arrives = shadow.visibility(
                                    world, so, light.direction, light.distance, within, late, budget, rng, NOTHING_NOTED
                                )
                                radiance += gain * per_channel(arrives)

                    if ti.static(branching):
                        fork = Fork(x=x, d=d, phase=ev.phase)
                        branched = ev.kind == PHASE and scatterings < max_scatterings
                        if branched:
                            radiance += beta * aside.branch(world, fork, budget, rng)
                    # 5. Onwards.
                    u = rand2(rng)
                    if ev.kind == PHASE and scatterings == 1:
                        u = even[3:]
                    turn = shade.sample(world, ev, d, u, rng)
                    if turn.stop == 1:
                        break
                    o = x
                    if turn.reflected == 1:
                        beta *= turn.weight
                        d = turn.direction
                        density = turn.density
                        vertex = x
                        link = refraction.DIRECT
                    if ti.static(WALL):
                        if ev.kind == COAT:
                            if ti.static(BENDS):
                                if turn.reflected == 0:
                                    d = refraction.bend(ev.n, d, 1.0 / ev.coat[2])
                                    density, link = -1.0, refraction.STRAY
                            o = shade.beside(world, ev, x, d) if turn.reflected == 1 else x + q.nudge * d
                            inside = t.value(m, o) >= q.threshold

                radiance *= share_seen
                # Welford 1962: mean and sum of squared deviations, the same whatever the launches.
                delta = radiance - average
                average += delta / (number + 1)
                scatter += delta * (radiance - average)
                taken[slot] = number + 1
                ti.atomic_add(spent[0], work + ti.cast(random.drawn(began, rng), ti.i32))
            for c in ti.static(range(channels)):
                mean[slot, c], squares[slot, c] = average[c], scatter[c]
                cut[slot, 1 + c] = unspent[c]
            cut[slot, 0] = ended

    return trace
