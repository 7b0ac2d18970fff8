"""The wall as the border of two refractive indices: Snell, Fresnel, and light that is reached through it.

For scenes whose `boundary` is `refracting`. Radiance is carried as L / n² (basic radiance), which refraction leaves
alone: for a path that begins and ends in air the factors n² of entering and leaving cancel, and none is written down.
What a lens or a light within tissue means follows from it: a lens there sees L / n², which is what the same lens sees
in air behind its front glass, and a light there emits its given radiance as L / n², as the face of a light guide does.
A cut face of the volume is no wall: beyond it the index is the same.
"""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium.collision import UNWATCHED
from endorender.render.medium.traits import Traits
from endorender.render.transport import coating, colour, illumination, shading, tracking
from endorender.render.transport.emitters import E
from endorender.scene import surface as coat_model
from endorender.scene.light import Kind

vec3 = ti.math.vec3
POINT, DIRECTIONAL = int(Kind.POINT), int(Kind.DIRECTIONAL)
# Where a path comes from, for what it meets: straight from its last vertex; from one in tissue through the wall, bent
# once; or by ways that no connection looks for.
DIRECT, JOINED, STRAY = 0, 1, 2
OPEN, ENTRY, LOST, DROPPED = 0, 1, 2, 3  # what `seek` found: no wall on the way; a place to enter; none; thinned out
ROUNDS = 8
STILL = 2e-3  # rad: a direction that turns by less has settled
SUN = 1e4  # mm: a directional light is a point so far away
STEP = 0.01  # rad between two rays whose normals tell the wall's curvature
# sr: an emitter that looks smaller from the wall is not counted where a path meets it by ways that no connection looks
# for. So rare and so bright a hit is noise without end: see tests/benchmarks/boundary.py, which sets this to 0.
SMALL = 0.05
THIN = 0.5  # connections are thinned by exp(-THIN sigma_t length): least variance × time of 0, 0.25, 0.5, 0.75
KEPT = 0.1  # share that is never thinned, so that a weight is at most 10


@ti.func
def bend(n, d, eta):
    """Where light along d goes on behind a surface (Snell); zero where all of it is reflected.

    n: normal, facing d. eta: refractive index before the surface over the one behind.
    """
    cos = -n.dot(d)
    k = 1.0 - eta * eta * (1.0 - cos * cos)
    out = vec3(0.0)
    if k > 0.0:
        out = (eta * d + (eta * cos - ti.sqrt(k)) * n).normalized()
    return out


@kernels
def device(
    kind: str,
    surface: str,
    dtype: str,
    phase: Any,
    channels: int,
    traits: Traits,
    outlines: tuple = (),
    profiles: tuple = (),
) -> SimpleNamespace:
    """Taichi functions of a wall that refracts, for one kind of everything (see `volpath.tracer`)."""
    t = tracking.device(kind, surface, dtype, traits)
    shade = shading.device(kind, surface, phase, channels, traits)
    colours = colour.device(kind, surface, phase, channels, traits)
    film = coating.device(kind, surface, traits)
    lighting = illumination.device(channels, outlines, profiles)
    coat = coat_model.device()
    Spectrum = shade.Spectrum
    # kind: OPEN .. DROPPED. p: on the wall; n: its normal, outwards; w: from p to the light; omega: from the vertex to
    # p; length: of that; weight: of what was thinned; coat: there
    Way = ti.types.struct(kind=int, p=vec3, n=vec3, w=vec3, omega=vec3, length=float, weight=float, coat=vec3)

    @ti.func
    def leave(world: ti.template(), ev, x, d, rng: ti.template()):
        """Direction of a path that meets the wall from within along d, and whether it gets out (1) or is reflected (0).

        Below the critical angle as much is reflected as from outside along the same ray, beyond it everything.
        """
        out = bend(ev.n, d, ev.coat[2])
        gone = 0
        if out.norm_sqr() > 0.0:
            if rand(rng) < film.passed(world, x, out, -ev.n):
                gone = 1
        if gone == 0:
            out = d - 2.0 * ev.n.dot(d) * ev.n
        return out, gone

    @ti.func
    def slope(field: ti.template(), x, inv):
        """Gradient of the trilinear field itself at x, per mm: normal of the wall's facet."""
        p = x * inv
        c = ti.math.clamp(
            ti.cast(p, ti.i32), 0, ti.math.ivec3(field.shape[0] - 2, field.shape[1] - 2, field.shape[2] - 2)
        )
        f = p - ti.cast(c, ti.f32)
        g = vec3(0.0)
        for m in range(8):
            e = ti.math.ivec3(m // 4, (m // 2) % 2, m % 2)
            value = ti.cast(field[c.x + e.x, c.y + e.y, c.z + e.z], ti.f32)
            side = ti.cast(2 * e - 1, ti.f32)
            w = ti.math.mix(1.0 - f, f, ti.cast(e, ti.f32))
            g += value * side * vec3(w.y * w.z, w.x * w.z, w.x * w.y)
        return g * inv

    @ti.func
    def seek(world: ti.template(), x, y, thin, rng: ti.template()):
        """The place on the wall where light from y enters to reach x in the tissue: fixed-point iteration.

        From a guessed place the ray to y is bent inwards by Snell, and followed from x back to the wall. It contracts
        by about depth over distance and over the wall's radius. (Hanika, Droske, Fascione 2015 solve for the same
        place by Newton's method on the surface's parameters, which a trilinear field has not.)

        thin: mm⁻¹. Places that lie deep under the wall are given up by chance, at this rate, before the work is done.
        """
        m = ti.static(world.medium)
        way = Way(kind=LOST, p=x, n=vec3(0.0), w=vec3(0.0), omega=vec3(0.0), length=0.0, weight=1.0, coat=vec3(0.0))
        away = y - x
        distance = away.norm()
        omega = away / ti.max(distance, 1e-9)
        end = distance
        if thin > 0.0:
            if rand(rng) >= KEPT:
                end = ti.min(end, sampling.exponential(rng) / thin)
        for _ in range(ROUNDS):
            s = t.crossing(m.field, x * m.inv, omega * m.inv, 0.0, end, m.threshold, True)
            if s < 0.0:
                if way.length == 0.0:  # already the guess met no wall
                    way.kind = DROPPED
                    if end == distance:
                        way.kind = OPEN
                        way.length = distance
                break
            first = way.length == 0.0
            end = distance
            way.p, way.length = x + s * omega, ti.max(s, 1e-9)
            if first and thin > 0.0:
                way.weight = 1.0 / (KEPT + (1.0 - KEPT) * ti.exp(-thin * s))
            way.n = t.normal(m, way.p)
            way.w = (y - way.p).normalized()
            if way.n.dot(way.w) < 1e-3:
                break
            way.coat = film.coating(world, way.p, 0.0)
            old = omega
            omega = -bend(way.n, -way.w, 1.0 / way.coat[2])
            if (omega - old).norm() < STILL:
                way.kind = ENTRY
                way.omega = old
                break
        if way.kind == OPEN:
            way.omega = omega
            if thin > 0.0:
                way.weight = 1.0 / (KEPT + (1.0 - KEPT) * ti.exp(-thin * distance))
        return way

    @ti.func
    def spread(world: ti.template(), way, y):
        """Cross-section at y, seen from the wall, of a pencil of rays from the vertex over its solid angle there, mm².

        Two neighbours of the ray are followed through the wall's facet, under the normals that they meet. For a plane
        with the angles i and o and the lengths a inside, b outside: (a + n b) (a cos o / cos i + n b cos i / cos o).
        """
        m = ti.static(world.medium)
        facet = slope(m.field, way.p, m.inv)
        rate = facet.dot(way.omega)
        far = (y - way.p).norm()
        out = 0.0
        # Snell's law and its differential: w = eta omega + (eta cos_i - cos_o) m, with normal m facing omega.
        eta, normal = way.coat[2], -way.n
        cos_i = -normal.dot(way.omega)
        cos_o = ti.sqrt(ti.max(1.0 - eta * eta * (1.0 - cos_i * cos_i), 0.0))
        if ti.abs(rate) > 1e-6 * facet.norm() and cos_o > 1e-4:
            moved = ti.Matrix.zero(ti.f32, 2, 3)
            for k in ti.static(range(2)):
                turn = coat.to_world(way.omega, vec3(1.0 - k, 1.0 * k, 0.0))
                step = way.length * (turn - way.omega * (facet.dot(turn) / rate))
                dm = (way.n - t.normal(m, way.p + STEP * step)) / STEP
                dcos = -(dm.dot(way.omega) + normal.dot(turn))
                dw = eta * turn + (eta - eta * eta * cos_i / cos_o) * dcos * normal + (eta * cos_i - cos_o) * dm
                moved[k, :] = step + far * dw
            a = vec3(moved[0, 0], moved[0, 1], moved[0, 2])
            b = vec3(moved[1, 0], moved[1, 1], moved[1, 2])
            out = ti.abs(a.cross(b).dot(way.w))
        return out

    @ti.func
    def connect(world: ti.template(), ev, x, d, reduced, budget: ti.template(), rng: ti.template()):
        """Light of one emitter that reaches a scattering at x in the tissue, times the phase function.

        Of an emitter that lies beyond the wall what enters at the place that `seek` finds: no path can find the same
        by chance, or `met` leaves it out. What enters elsewhere, is reflected on the way or crosses a second wall is
        left to paths that meet the emitter.
        """
        gain = Spectrum(0.0)
        m = ti.static(world.medium)
        emitters = ti.static(world.emitters)
        light = lighting.sample_emitter(emitters, x, rng)
        e = light.index
        kind_of = ti.cast(emitters[e, E.KIND], ti.i32)
        reach = light.distance
        if kind_of == DIRECTIONAL:
            reach = SUN
        y = x + reach * light.direction
        thin = 0.0
        if ti.static(not traits.similar):
            thin = THIN * t.sigma(m, x * m.inv, t.value(m, x))
        way = seek(world, x, y, thin, rng)
        if way.kind == OPEN:
            f = shade.bounce(world, ev, d, light.direction)
            gain = Spectrum(f.diffuse) * light.radiance * way.weight * lighting.weight(light, f.density)
        elif way.kind == ENTRY:
            shine = ti.cast(emitters.shape[0], ti.f32)
            if kind_of == DIRECTIONAL:
                shine *= SUN * SUN
            elif kind_of != POINT:
                facing = -way.w.dot(lighting.vector(emitters, e, E.AXIS))
                shine *= lighting.beam(emitters, e, facing) if facing > 1e-6 else 0.0
            if shine > 0.0:
                area = spread(world, way, y)
                if area > 0.0:
                    shine *= way.weight * film.passed(world, way.p, way.w, way.n) / area
                    shine *= shade.bounce(world, ev, d, way.omega).diffuse
                    for c in ti.static(range(channels)):
                        gain[c] = emitters[e, E.COLOUR + c] * shine
        if gain.max() > 0.0:
            # Within the tissue, then in air. A wall further on ends it: a straight ray through it is no path.
            o, w, end, inside, leg = x, way.omega, way.length, True, 0
            while gain.max() > 0.0:
                event, s, hu, through = t.shine(m, o, w, end, inside, reduced, budget, rng, UNWATCHED)
                for c in ti.static(range(channels)):
                    gain[c] *= through[c % 3]
                if ti.static(traits.similar):
                    if event == t.COLLISION:
                        o += s * w
                        end -= s
                        beyond = Spectrum(0.0)
                        if reduced:
                            beyond = colours.beyond(world, o, hu, rng)
                        gain *= beyond
                        continue
                if event == t.SURFACE and (leg == 1 or way.kind == OPEN):
                    gain *= 0.0
                if leg == 1 or way.kind == OPEN:
                    break
                o, w, end, leg = way.p + world.view.nudge * way.n, way.w, (y - way.p).norm(), 1
                inside = False
                if t.value(m, o) >= m.threshold:
                    gain *= 0.0
        return gain

    @ti.func
    def met(world: ti.template(), path: ti.template(), hit):
        """Radiance of the area lights that a path (`steps.Path`) passes before `hit`, less what `connect` has brought.

        See SMALL.
        """
        total = Spectrum(0.0)
        emitters = ti.static(world.emitters)
        o, d = path.o, path.d
        if path.link == DIRECT:
            total = lighting.met_emitters(emitters, o, d, hit, path.vertex, path.density)
        else:
            for e in range(emitters.shape[0]):
                one = lighting.met_emitter(emitters, e, o, d, hit, path.vertex, -1.0)
                if one.shine > 0.0:
                    facing = -d.dot(lighting.vector(emitters, e, E.AXIS))
                    counts = facing >= SMALL * emitters[e, E.PER_AREA] * one.distance**2
                    if counts and path.link == JOINED:
                        way = seek(world, path.vertex, o + one.distance * d, 0.0, path.rng)
                        counts = not (way.kind == ENTRY and (way.p - path.exit).norm() < 0.1 * way.length)
                    if counts:
                        for c in ti.static(range(channels)):
                            total[c] += emitters[e, E.COLOUR + c] * one.shine
        return total

    return SimpleNamespace(
        DIRECT=DIRECT, JOINED=JOINED, STRAY=STRAY, leave=leave, seek=seek, spread=spread, connect=connect, met=met
    )
