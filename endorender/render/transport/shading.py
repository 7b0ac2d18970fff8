"""What happens at a vertex: which event it is and how it scatters.

Shared by all integrators. All in the grid frame; `world` is a `world.World`; Spectrum is a vector of C channels (three
for each look).
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend, sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium import field as fields
from endorender.render.medium import mucosa
from endorender.render.medium.table import BLOOD, OWN, VESSEL, Own
from endorender.render.medium.traits import PLAIN, Traits
from endorender.render.transport.view import V
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.phase import MOST_FLOATS
from endorender.scene.surface import Coat

vec3, mat3 = ti.math.vec3, ti.math.mat3
PI = 3.14159265
COAT, PHASE, BSDF, FORWARD = 0, 1, 2, 3
LOWEST = -1e4  # HU below every wall_hu: the look-up lifts it to the wall's
PAINTED = 0.1  # mm below an opaque wall where the mucosa layer's colour is taken: vessels lie under it
LEAN = 0.9  # of the cosine to the ray: as steep may a bump be, or the ray would meet it from behind

# Widths are said: `float` would be that of whoever started the engine when this file is read.
View = ti.types.struct(
    lens=vec3,  # camera position, mm
    turn=mat3,  # grid_from_camera
    to_map=mat3,  # of the environment, from grid
    film=ti.types.vector(FILM, ti.f32),
    optics=ti.types.vector(PARAMETERS, ti.f32),
    inv=vec3,  # 1 / spacing
    width=ti.i32,
    threshold=ti.f32,
    wall_hu=ti.f32,
    ior=ti.f32,
    alpha=ti.f32,
    specular=ti.f32,
    hybrid=ti.f32,
    sigma_top=ti.f32,
    roulette=ti.f32,
    similar_after=ti.i32,
    phase=ti.types.vector(MOST_FLOATS, ti.f32),  # of a GridMedium
    nudge=ti.f32,  # mm past an event: a thousandth of a voxel
)
Bounce = ti.types.struct(shiny=ti.f32, diffuse=ti.f32, density=ti.f32)


@kernels
def coat_data(surface: str, coat: Coat) -> Any:
    """The coat's table where kernels want it; a dummy where there is no coat."""
    return backend.resident(np.zeros((1, 1, 1), np.float32) if surface == "volume" else coat.data())


@kernels
def device(kind: str, surface: str, phase: Any, channels: int, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions and structs for one kind of medium, surface mode and phase function."""
    C = channels
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    layered, similar = traits.layered, traits.similar
    COATED = traits.back("coat")
    COVER, BORDER = traits.coat.role == "cover", traits.coat.role == "border"
    Spectrum = ti.types.vector(C, ti.f32)
    P = phase.FLOATS
    # kind: COAT, PHASE, BSDF, or FORWARD: a collision that the path goes straight through; n faces the ray;
    # film: the coat's own normal, n but for the mucosa layer and bumps;
    # coat: its roughness, specular weight, IOR; reflect: chance that it turns the path; phase: floats of the phase
    # function; even: isotropic by the similarity relation
    Event = ti.types.struct(
        kind=int,
        n=vec3,
        film=vec3,
        coat=vec3,
        reflect=float,
        albedo=Spectrum,
        phase=ti.types.vector(P, float),
        even=int,
    )
    Turn = ti.types.struct(direction=vec3, weight=Spectrum, density=float, reflected=int, stop=int)
    coat = traits.coat.device()
    BUMPED = hasattr(coat, "normal")
    skin = mucosa.device()
    look = fields.device(kind, surface, traits)
    tabulated, block = look.tabulated, look.block
    phase_sample, phase_pdf = phase.device()

    @ti.func
    def unpack(view: ti.template()):
        q = View()
        q.lens = vec3(view[V.ORIGIN], view[V.ORIGIN + 1], view[V.ORIGIN + 2])
        q.turn = ti.Matrix([[view[V.ROTATION + 3 * r + c] for c in range(3)] for r in range(3)])
        q.to_map = ti.Matrix([[view[V.MAP + 3 * r + c] for c in range(3)] for r in range(3)])
        q.film = ti.Vector([view[V.FILM + c] for c in range(FILM)])
        q.optics = ti.Vector([view[V.SIZE + c] for c in range(PARAMETERS)])
        q.inv = vec3(view[V.INVERSE], view[V.INVERSE + 1], view[V.INVERSE + 2])
        q.width = ti.cast(view[V.WIDTH], ti.i32)
        q.threshold, q.wall_hu = view[V.THRESHOLD], view[V.WALL_HU]
        q.ior, q.alpha, q.specular = view[V.IOR], view[V.ROUGHNESS], view[V.SPECULAR]
        q.hybrid, q.sigma_top = view[V.HYBRID], view[V.SIGMA_TOP]
        q.roulette = view[V.ROULETTE]
        q.similar_after = ti.cast(view[V.SIMILAR_AFTER], ti.i32)
        q.phase = ti.Vector([view[V.PHASE + c] for c in range(MOST_FLOATS)])
        q.nudge = 1e-3 / ti.max(q.inv.x, q.inv.y, q.inv.z)
        return q

    @ti.func
    def albedo_at(world: ti.template(), hu, x, row, rng: ti.template()):
        a = Spectrum(0.0)
        if ti.static(kind == "tissue"):
            for c in ti.static(range(C)):
                a[c] = tabulated(world.medium, 1 + P + c, hu, row)
        else:
            # Light is linear in the albedo: one node drawn by its trilinear weight is right on average.
            e = ti.math.ivec3(0)
            grid = ti.static(world.albedo)
            if grid.shape[0] > 1:  # one node: the same albedo everywhere
                e = sampling.corner(x * world.view.inv, grid.shape[0], grid.shape[1], grid.shape[2], rng)
            for c in ti.static(range(C)):
                a[c] = grid[e.x, e.y, e.z, c]
        return a

    @ti.func
    def dyed(world: ti.template(), albedo, x, row):
        """Albedo at x with the mucosa layer in it: blood-rich patches, then vessels."""
        share = skin.shares(world.capsules, world.buckets, x)
        a = albedo
        table = ti.static(world.medium.table)
        for c in ti.static(range(C)):
            red = ti.math.mix(albedo[c], table[row + BLOOD, 1 + P + c], share[1])
            a[c] = ti.math.mix(red, table[row + VESSEL, 1 + P + c], share[0])
        return a

    @ti.func
    def colour(world: ti.template(), hu, x, row, rng: ti.template()):
        """Albedo of a collision at x with field value hu."""
        a = albedo_at(world, hu, x, row, rng)
        if ti.static(layered):
            a = dyed(world, a, x, row)
        return a

    @ti.func
    def onward(world: ti.template(), hu, row):
        """Chance that a particle sends light straight on, of what `collision` has not passed over, and the least
        albedo."""
        s = look.straight(world.medium, hu, row)
        return s[0] * (1.0 - s[1]) / s[2], s[1]

    @ti.func
    def above(albedo, least):
        """Weight of light that goes straight on, where flights pass over what leaves the channel of least albedo."""
        return ti.max(albedo - least, 0.0) / (1.0 - least)

    @ti.func
    def border(world: ti.template(), x, hu, row):
        """Gradient at x, and the chance that a collision there is with a surface (hybrid).

        Kroes, Post, Botha 2012, eq. 7 with the gradient in HU/mm against a constant of the tissue.
        """
        m = ti.static(world.medium)
        slope = look.gradient(m.field, x, m.inv)
        opacity = look.sigma(m, x * m.inv, hu)
        rate = world.view.hybrid
        if ti.static(traits.labelled):
            opacity /= m.table[row + OWN, Own.SIGMA_TOP]
            rate = m.table[row + OWN, Own.HYBRID]
        else:
            opacity /= world.view.sigma_top
        return slope, opacity * (1.0 - ti.exp(-rate * slope.norm()))

    @ti.func
    def beyond(world: ti.template(), x, hu, rng: ti.template()):
        """Share of light on a shadow ray that goes on behind a collision, by the similarity relation; see `event`."""
        left = Spectrum(0.0)
        row = block(world.medium, x * world.medium.inv)
        chance, least = onward(world, hu, row)
        if ti.static(HYBRID):
            _, surface_chance = border(world, x, hu, row)
            chance *= 1.0 - surface_chance
        if rand(rng) < chance:
            left = above(colour(world, hu, x, row, rng), least)
        return left

    @ti.func
    def coating(world: ti.template(), x, hu):
        """Roughness, specular weight and IOR of the coat at x: those at hu; of a wall those at wall_hu."""
        m = ti.static(world.medium)
        out = vec3(world.view.alpha, world.view.specular, world.view.ior)
        if ti.static(traits.coated):
            row = block(m, x * m.inv)
            v = hu
            if ti.static(WALL):
                v = LOWEST
            for c in ti.static(range(3)):
                out[c] = tabulated(m, m.table.shape[1] - ti.static(COATED) + c, v, row)
        return out

    @ti.func
    def mirrored(world: ti.template(), here, n, d):
        """What a coat with normal n turns of light along d, in all; the rest passes. here: from `coating`."""
        return coat.albedo(world.coats, ti.abs(n.dot(d)), here)

    @ti.func
    def filmed(world: ti.template(), x, d, n):
        """Normal of the coat at x of the wall with normal n towards the air, for light along d or against it."""
        m = n
        if ti.static(layered):
            m = skin.tilt(world.capsules, x, ti.select(n.dot(d) > 0.0, -1.0, 1.0) * d, n)
        if ti.static(BUMPED):
            m = coat.normal(world.coats, x, m)
            slope = m / ti.max(m.dot(n), 1e-3) - n
            slope *= ti.min(1.0, ti.static(LEAN) * ti.abs(n.dot(d)) / ti.max(slope.norm(), 1e-9))
            m = (n + slope).normalized()
        return m

    @ti.func
    def passed(world: ti.template(), x, d, n):
        """What the coat lets pass of light along d at x of the wall with normal n towards the air."""
        return 1.0 - mirrored(world, coating(world, x, 0.0), filmed(world, x, d, n), d)

    @ti.func
    def facing_normal(n, d):
        return -n if n.dot(d) > 0.0 else n

    @ti.func
    def event(world: ti.template(), x, d, hu, collided, within, reduced, rng: ti.template()):
        """What a ray along d meets at x: the coat of the wall, or a collision with field value `hu`.

        within: whether the ray comes through tissue.

        reduced: by the similarity relation a particle sends light straight on with chance g, and evenly elsewhere. That
        is extinction (1 - a g) sigma_t with albedo a (1 - g) / (1 - a g), whatever the channels' albedos a: a path goes
        straight through a collision with weight a. So that it has to do so seldom, flights pass over as many as leave
        the channel of the least albedo as it is. A surface has no mean cosine and is left as it is.
        """
        ev = Event(
            kind=PHASE,
            n=vec3(0.0, 0.0, 1.0),
            film=vec3(0.0),
            coat=vec3(0.0),
            reflect=0.0,
            albedo=Spectrum(0.0),
            phase=0.0,
            even=0,
        )
        if collided:
            row = block(world.medium, x * world.medium.inv)
            ev.albedo = colour(world, hu, x, row, rng)
            for c in ti.static(range(P)):
                if ti.static(kind == "tissue"):
                    ev.phase[c] = tabulated(world.medium, 1 + c, hu, row)
                else:
                    ev.phase[c] = world.view.phase[c]
            if ti.static(HYBRID):
                slope, surface_chance = border(world, x, hu, row)
                if rand(rng) < surface_chance:
                    ev.kind = BSDF
                    ev.n = facing_normal(-slope / ti.max(slope.norm(), 1e-9), d)
                    ev.film = ev.n
                    ev.coat = coating(world, x, hu)
                    ev.reflect = mirrored(world, ev.coat, ev.n, d)
            if ti.static(similar):
                if reduced and ev.kind == PHASE:
                    ev.even = 1
                    chance, least = onward(world, hu, row)
                    if rand(rng) < chance:
                        ev.kind = FORWARD
                        ev.albedo = above(ev.albedo, least)
        else:
            if ti.static(WALL):
                ev.kind = COAT
                ev.coat = coating(world, x, hu)
                n = look.normal(world.medium, x)
                ev.n, ev.film = facing_normal(n, d), filmed(world, x, d, n)
                if ti.static(BORDER):
                    ev.film = facing_normal(ev.film, d)
                    if within:
                        ev.coat[2] = 1.0 / ev.coat[2]
                if ti.static(COVER):
                    row = block(world.medium, x * world.medium.inv)
                    ev.albedo = colour(world, LOWEST, x - ti.static(PAINTED) * n, row, rng)
                ev.reflect = mirrored(world, ev.coat, ev.film, d)
        return ev

    @ti.func
    def sample(world: ti.template(), ev, d, u, rng: ti.template()):
        """Where a path goes on. u: two uniform numbers for the direction.

        The coat lets it pass (reflected = 0) with its direction and density unchanged.
        """
        turn = Turn(direction=d, weight=Spectrum(1.0), density=-1.0, reflected=0, stop=0)
        if ev.kind == PHASE:
            cos_theta = phase_sample(u[0], ev.phase, world.phase)
            turn.density = phase_pdf(cos_theta, ev.phase, world.phase)
            if ti.static(similar):
                if ev.even == 1:
                    cos_theta, turn.density = 1.0 - 2.0 * rand(rng), 0.25 / PI
            turn.direction = sampling.around(d, cos_theta, u[1])
            turn.reflected = 1
        elif ti.static(WALL or HYBRID):
            pick = rand(rng)
            shine = pick < ev.reflect
            if shine or ev.kind == BSDF:
                turn.reflected = 1
                if shine:
                    numbers = vec3(u[0], u[1], pick / ev.reflect)
                    turn.direction = coat.sample(world.coats, -d, ev.film, ev.coat, numbers).normalized()
                    if ti.static(BUMPED):
                        turn.direction -= 2.0 * ti.min(ev.n.dot(turn.direction), 0.0) * ev.n
                else:
                    turn.direction = sampling.around(ev.n, ti.sqrt(1.0 - u[0]), u[1])
                f = bounce(world, ev, d, turn.direction)
                turn.density = f.density
                if f.shiny + f.diffuse <= 0.0 or f.density <= 0.0:
                    turn.stop = 1
                else:
                    turn.weight = (f.shiny + f.diffuse * ev.albedo) / f.density
        return turn

    @ti.func
    def bounce(world: ti.template(), ev, d, w):
        """Value × cos towards w, white (shiny) and to be coloured (diffuse), and the density of `sample`."""
        f = Bounce(shiny=0.0, diffuse=0.0, density=0.0)
        if ev.kind == PHASE:
            f.diffuse = phase_pdf(d.dot(w), ev.phase, world.phase)
            if ti.static(similar):
                if ev.even == 1:
                    f.diffuse = 0.25 / PI
            f.density = f.diffuse
        elif ti.static(WALL or HYBRID):
            lit = ev.n.dot(w) > 0.0
            if ti.static(BORDER):
                lit = lit == (ev.film.dot(w) > 0.0)
            if lit:
                turned = coat.eval(world.coats, -d, w, ev.film, ev.coat)
                if ti.static(BUMPED):
                    turned += coat.eval(world.coats, -d, w - 2.0 * ev.n.dot(w) * ev.n, ev.film, ev.coat)
                f.shiny = turned[0]
                if ti.static(COVER):
                    f.diffuse = turned[1]
            f.density = ev.reflect * coat.pdf(world.coats, -d, w, ev.film, ev.coat)
            if ti.static(BUMPED):
                mirror = w - 2.0 * ev.n.dot(w) * ev.n
                f.density += ev.reflect * coat.pdf(world.coats, -d, mirror, ev.film, ev.coat)
            if ev.kind == BSDF:
                base = (1.0 - ev.reflect) * ti.max(ev.n.dot(w), 0.0) / PI
                f.diffuse += base
                f.density += base
        return f

    @ti.func
    def beside(world: ti.template(), ev, x, w):
        """Where a path that goes on along w, turned by the wall at x, begins."""
        side = 1.0
        if ti.static(BORDER):
            side = ti.select(ev.n.dot(w) > 0.0, 1.0, -1.0)
        return x + world.view.nudge * side * ev.n

    return SimpleNamespace(
        Spectrum=Spectrum,
        COVER=COVER,
        BORDER=BORDER,
        COAT=COAT,
        PHASE=PHASE,
        BSDF=BSDF,
        unpack=unpack,
        colour=colour,
        border=border,
        beyond=beyond,
        event=event,
        sample=sample,
        bounce=bounce,
        beside=beside,
        coating=coating,
        filmed=filmed,
        mirrored=mirrored,
        passed=passed,
    )
