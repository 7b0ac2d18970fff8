"""The readable oracle: one global majorant, no MIS, no roulette, no cells. `volpath` must agree with it by z-test.

Emitters are reached by next-event estimation alone, with ratio tracking (Novák et al. 2014), or seen by the camera; the
environment by paths that escape. Uses the same look-ups, wall and materials, none of the same tracking.
"""

from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend, launches
from endorender.render.device import rng as random
from endorender.render.device.cache import kernels
from endorender.render.device.launches import Window
from endorender.render.device.rng import rand, rand2
from endorender.render.integrators.models import Progress
from endorender.render.medium.labels import blocks
from endorender.render.medium.majorants import bounds
from endorender.render.medium.prepared import prepare
from endorender.render.medium.traits import Traits
from endorender.render.transport import camera_rays, coating, colour, illumination, refraction, shading, tracking
from endorender.render.transport.film import Film, Radiance
from endorender.render.transport.tracking import FAR
from endorender.render.transport.view import unpack
from endorender.render.transport.world import Array, Lit, World, packed
from endorender.scene.scene import Scene
from endorender.scene.tissue import Tissue

vec3 = ti.math.vec3


@kernels
def _tracer(kind: str, surface: str, dtype: str, phase: Any, camera: Any, lit: Lit, traits: Traits):
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, 3, traits)
    colours = colour.device(kind, surface, phase, 3, traits)
    film = coating.device(kind, surface, traits)
    lighting = illumination.device(3, lit.outlines, lit.profiles)
    eye = camera_rays.device(camera)
    WALL, BENDS = surface == "interface", traits.refracting
    wall_of: Any = None
    if BENDS:
        wall_of = refraction.device(kind, surface, dtype, phase, 3, traits, lit.outlines, lit.profiles)

    @ti.func
    def extinction(world: ti.template(), x, v, reduced, rng: ti.template()):
        """Of one channel: by the similarity relation (1 - a g) as dense, but for what is a surface (hybrid)."""
        m = ti.static(world.medium)
        s = t.sigma(m, x * m.inv, v)
        if ti.static(traits.similar):
            if reduced:
                row = t.block(m, x * m.inv)
                less = colours.colour(world, v, x, row, rng)[0] * t.straight(m, v, row)[0]
                if ti.static(surface == "hybrid"):
                    less *= 1.0 - colours.border(world, x, v, row)[1]
                s *= 1.0 - less
        return s

    @ti.func
    def next_wall(m: ti.template(), o, d, start, end, inside):
        hit = -1.0
        if ti.static(WALL):
            hit = t.crossing(m.field, o * m.inv, d * m.inv, start, end, m.threshold, inside)
        return hit

    @ti.kernel
    def trace(
        field: Array, smooth: Array, cells: Array, table: Array, labels: Array, grid: Array, phase_data: Array,
        coats: Array, capsules: Array, buckets: Array, view: Array, emitters: Array, env: Array, alias: Array,
        majorant: float, sums: Array, window: Window, taken: Array, spent: Array, frame_key: ti.u64,
    ):  # fmt: skip
        for pixel in range(window.first, window.last):
            q = unpack(view)
            world = ti.static(
                World.of(
                    q, field, smooth, cells, table, labels, grid, phase_data, coats, capsules, buckets, emitters, env,
                    alias
                )
            )  # fmt: skip
            m = ti.static(world.medium)
            begin = ti.max(window.begin, taken[pixel])
            for sample in range(begin, eye.samples(pixel, q, begin, window.end)):
                if spent[0] >= window.most_work:
                    spent[1] = 1
                    break
                rng = random.start(frame_key, pixel, sample)
                began, work = rng, 0
                o, d, share_seen = eye.ray(pixel, rand2(rng), q, rng)
                beta, radiance = vec3(1.0), vec3(0.0)
                scatterings = 0
                # Along the camera's ray still, or from the tissue through a wall that bends light: no emitter was
                # sampled that could lie on the path.
                straight = True
                while True:
                    work += ti.static(launches.EVENT_WORK)
                    if work + ti.cast(random.drawn(began, rng), ti.i32) > ti.static(launches.PATH_WORK):
                        break
                    span = t.clip(m, o, d)
                    if span[1] <= span[0]:
                        radiance += beta * lighting.environment(env, q.to_map @ d).radiance
                        if straight:
                            radiance += beta * lighting.met_emitters(emitters, o, d, FAR, o, -1.0)
                        break
                    inside = t.value(m, o + span[0] * d) >= q.threshold
                    # 1. Fly: to the wall, to a real collision, or out.
                    wall = next_wall(m, o, d, span[0], span[1], inside)
                    end = wall if wall >= 0.0 else span[1]
                    s, value, collided = span[0], 0.0, False
                    while ti.static(not WALL) or inside:
                        s -= ti.log(1.0 - rand(rng)) / majorant
                        if s >= end:
                            break
                        y = o + s * d
                        value = t.value(m, y)
                        if rand(rng) * majorant < t.sigma(m, y * q.inv, value):
                            collided = True
                            break
                    lost = not collided and wall < 0.0
                    if straight:
                        until = FAR if lost else (s if collided else wall)
                        radiance += beta * lighting.met_emitters(emitters, o, d, until, o, -1.0)
                    if lost:
                        radiance += beta * lighting.environment(env, q.to_map @ d).radiance
                        break
                    # 2. What is met: the coat, a particle, or (hybrid) a surface at a particle.
                    x = o + (s if collided else wall) * d
                    event = shade.event(world, x, d, value, collided, inside, False, rng)
                    if ti.static(traits.similar):
                        if scatterings >= q.similar_after and event.kind == shade.PHASE:
                            # No collision after all with chance a g: extinction is (1 - a g) sigma_t.
                            cosine = t.straight(m, value, t.block(m, x * q.inv))[0]
                            if rand(rng) < event.albedo[0] * cosine:
                                o = x
                                continue
                            event.even = 1
                            event.albedo *= (1.0 - cosine) / (1.0 - event.albedo * cosine)
                    scatters = collided
                    if ti.static(shade.COVER):
                        scatters = scatters or event.kind == shade.COAT
                    if scatters:
                        if scatterings == q.max_scatterings:
                            break
                        scatterings += 1
                    if event.kind == shade.PHASE:
                        beta *= event.albedo
                    if ti.static(BENDS):
                        if event.kind == shade.COAT and inside:
                            d, gone = wall_of.leave(world, event, x, d, rng)
                            o = x + q.nudge * (-event.n if gone == 1 else event.n)
                            straight = True
                            continue
                    elif ti.static(not shade.BORDER):
                        if event.kind == shade.COAT and inside:
                            beta *= 1.0 - event.reflect
                            o = x + q.nudge * d
                            continue
                    # 3. One emitter, through whatever lies between.
                    if ti.static(lit.emitters):
                        light = lighting.sample_emitter(emitters, x, rng)
                        f = shade.bounce(world, event, d, light.direction)
                        weight = f.shiny + f.diffuse * (vec3(1.0) if event.kind == shade.PHASE else event.albedo)
                        so = shade.beside(world, event, x, light.direction) if event.kind == shade.COAT else x
                        left, through = light.distance, 1.0
                        if ti.static(BENDS):
                            if event.kind == shade.PHASE:
                                through = 0.0
                        while (weight * light.radiance * through).max() > 0.0:
                            within = t.value(m, so) >= q.threshold
                            bounds = t.clip(m, so, light.direction)
                            until = ti.min(bounds[1], left)
                            next_s = next_wall(m, so, light.direction, bounds[0], until, within)
                            stop = next_s if next_s >= 0.0 else until
                            r = bounds[0]
                            while ti.static(not WALL) or within:
                                r -= ti.log(1.0 - rand(rng)) / majorant
                                if r >= stop:
                                    break
                                y = so + r * light.direction
                                late = scatterings >= q.similar_after
                                sigma = extinction(world, y, t.value(m, y), late, rng)
                                through *= 1.0 - sigma / majorant
                            if next_s < 0.0 or through == 0.0:
                                break
                            if ti.static(BENDS):
                                through = 0.0
                                break
                            so += (next_s + q.nudge) * light.direction
                            left -= next_s + q.nudge
                            through *= film.passed(world, so, light.direction, t.normal(m, so))
                        radiance += beta * weight * light.radiance * through
                    # 4. Onwards.
                    turn = shade.sample(world, event, d, rand2(rng), rng)
                    if turn.stop == 1:
                        break
                    beta *= turn.weight
                    d = turn.direction
                    straight = straight and turn.reflected == 0
                    if ti.static(BENDS):
                        if event.kind == shade.COAT and turn.reflected == 0:
                            d = refraction.bend(event.n, d, 1.0 / event.coat[2])
                        straight = event.kind == shade.PHASE or turn.reflected == 0
                    o = x
                    if event.kind == shade.COAT:
                        o = shade.beside(world, event, x, d) if turn.reflected == 1 else x + q.nudge * d
                radiance *= share_seen
                delta = radiance - vec3(sums[pixel, 0, 0], sums[pixel, 0, 1], sums[pixel, 0, 2])
                for c in ti.static(range(3)):
                    sums[pixel, 0, c] += delta[c] / (sample + 1)
                    sums[pixel, 1, c] += delta[c] * (radiance[c] - sums[pixel, 0, c])
                taken[pixel] = sample + 1
                ti.atomic_add(spent[0], work + ti.cast(random.drawn(began, rng), ti.i32))

    return trace


def _of_channel(tissue: Tissue, c: int) -> Tissue:
    """The grey tissue that channel c sees."""
    sigma = tuple(s * tint[c] for s, tint in zip(tissue.sigma_t, tissue.tint or ((1.0,) * 3,) * len(tissue.hu)))
    grey = {name: (getattr(tissue, name)[c],) * 3 for name in ("blood_albedo", "vessel_albedo")}
    albedo = tuple((a[c],) * 3 for a in tissue.albedo)
    return tissue.model_copy(update={"sigma_t": sigma, "tint": None, "albedo": albedo, **grey})


def _grey(scene: Scene) -> bool:
    """Whether all channels see the same tissue."""
    return all(_of_channel(t, 0) == _of_channel(t, c) for t in scene.tissues for c in (1, 2))


def _seen_by(scene: Scene, c: int) -> Scene:
    """The grey scene that channel c sees."""
    labelled = {label: _of_channel(tissue, c) for label, tissue in scene.label_tissues.items()}
    return scene.with_(tissue=_of_channel(scene.tissue, c), label_tissues=labelled)


def radiance_simple(scene: Scene, spp: int, seed: int, frame: int = 0, progress: Progress | None = None) -> Radiance:
    """What `radiance([scene], spp, seed)` estimates, by the plainest means. Slow; for tests and small pictures."""
    backend.ensure()
    traits = Traits.of(scene)
    if traits.chromatic or (traits.similar and not _grey(scene)):
        # One grey scene for each channel, denser or thinner: nothing of spectral MIS is shared.
        each = [radiance_simple(_seen_by(scene, c), spp, seed + c, frame) for c in range(3)]
        mean, variance = (
            np.stack([getattr(r, k)[..., c] for c, r in enumerate(each)], -1) for k in ("mean", "variance")
        )
        return Radiance(mean, variance, spp)
    prepared = prepare(scene.medium)
    parts = (scene.labelling, blocks(scene.medium, scene.labelling, scene.surface, scene.threshold))
    majorant = np.abs(bounds(prepared, scene.tissue, scene.surface, scene.threshold, *parts)[..., 0]).max()
    lit, fixed = packed([scene], prepared)
    film = Film(scene.camera)
    kernel = _tracer(
        prepared.kind,
        scene.surface,
        str(prepared.low.dtype),
        type(scene.phase),
        type(scene.camera),
        lit,
        traits,
    )
    most = float(max(majorant, 1e-6))
    key = random.key(seed, frame)

    def launch(*share: Any) -> None:
        kernel(*fixed, most, film.sums, *share, key)

    launches.trace(launch, scene.camera.width * scene.camera.height, spp, progress)
    return film.developed(spp)[0]
