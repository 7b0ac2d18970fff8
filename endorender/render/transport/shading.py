"""What happens at a vertex: which event it is and how it scatters.

Shared by all integrators. All in the grid frame; `world` is a `world.World`; Spectrum is a vector of C channels (three
for each look).
"""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium import field as fields
from endorender.render.medium.traits import PLAIN, Traits
from endorender.render.transport import coating, colour

vec3 = ti.math.vec3
PI = 3.14159265
COAT, PHASE, BSDF, FORWARD = 0, 1, 2, 3
PAINTED = 0.1  # mm below an opaque wall where the mucosa layer's colour is taken: vessels lie under it
Bounce = ti.types.struct(shiny=ti.f32, diffuse=ti.f32, density=ti.f32)


@kernels
def device(kind: str, surface: str, phase: Any, channels: int, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions and structs for one kind of medium, surface mode and phase function."""
    C = channels
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    similar = traits.similar
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
    film = coating.device(kind, surface, traits)
    colours = colour.device(kind, surface, phase, channels, traits)
    look = fields.device(kind, surface, traits)
    tabulated, block = look.tabulated, look.block
    phase_sample, phase_pdf = phase.device()

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
            ev.albedo = colours.colour(world, hu, x, row, rng)
            for c in ti.static(range(P)):
                if ti.static(kind == "tissue"):
                    ev.phase[c] = tabulated(world.medium, 1 + c, hu, row)
                else:
                    ev.phase[c] = world.view.phase[c]
            if ti.static(HYBRID):
                slope, surface_chance = colours.border(world, x, hu, row)
                if rand(rng) < surface_chance:
                    ev.kind = BSDF
                    ev.n = facing_normal(-slope / ti.max(slope.norm(), 1e-9), d)
                    ev.film = ev.n
                    ev.coat = film.coating(world, x, hu)
                    ev.reflect = film.mirrored(world, ev.coat, ev.n, d)
            if ti.static(similar):
                if reduced and ev.kind == PHASE:
                    ev.even = 1
                    chance, least = colours.onward(world, hu, row)
                    if rand(rng) < chance:
                        ev.kind = FORWARD
                        ev.albedo = colours.above(ev.albedo, least)
        else:
            if ti.static(WALL):
                ev.kind = COAT
                ev.coat = film.coating(world, x, hu)
                n = look.normal(world.medium, x)
                ev.n, ev.film = facing_normal(n, d), film.filmed(world, x, d, n)
                if ti.static(BORDER):
                    ev.film = facing_normal(ev.film, d)
                    if within:
                        ev.coat[2] = 1.0 / ev.coat[2]
                if ti.static(COVER):
                    row = block(world.medium, x * world.medium.inv)
                    ev.albedo = colours.colour(world, coating.LOWEST, x - ti.static(PAINTED) * n, row, rng)
                ev.reflect = film.mirrored(world, ev.coat, ev.film, d)
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
        event=event,
        sample=sample,
        bounce=bounce,
        beside=beside,
    )
