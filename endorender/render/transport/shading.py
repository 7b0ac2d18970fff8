"""What happens at a vertex: which event it is and how it scatters.

Shared by both integrators. All in the grid frame; Spectrum is a vector of C channels (three for each look).
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
from endorender.scene import surface as coat_model
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.phase import MOST_FLOATS

vec3, mat3 = ti.math.vec3, ti.math.mat3
PI = 3.14159265
COAT, PHASE, BSDF, FORWARD = 0, 1, 2, 3
LOWEST = -1e4  # HU below every wall_hu: the look-up lifts it to the wall's

View = ti.types.struct(
    lens=vec3,  # camera position, mm
    turn=mat3,  # grid_from_camera
    to_map=mat3,  # of the environment, from grid
    film=ti.types.vector(FILM, float),
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
    similar_after=int,
    phase=ti.types.vector(MOST_FLOATS, float),  # of a GridMedium
    nudge=float,  # mm past an event: a thousandth of a voxel
)
Bounce = ti.types.struct(shiny=float, diffuse=float, density=float)


@kernels
def coat_albedos(surface: str) -> Any:
    """The table of the coat's directional albedos where kernels want it; a dummy where there is no coat."""
    none = np.zeros((1, 1, 1), np.float32)
    return backend.resident(none if surface == "volume" else coat_model.directional_albedo().copy())


@kernels
def device(kind: str, surface: str, phase: Any, channels: int, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions and structs for one kind of medium, surface mode and phase function."""
    C = channels
    WALL, HYBRID = surface == "interface", surface == "hybrid"
    layered, similar = traits.layered, traits.similar
    COATED = traits.back("coat")
    Spectrum = ti.types.vector(C, ti.f32)
    P = phase.FLOATS
    # kind: COAT, PHASE, BSDF, or FORWARD: a collision that the path goes straight through; n faces the ray;
    # film: the coat's own normal, n but for the mucosa layer;
    # coat: its roughness, specular weight, IOR; reflect: its chance; phase: floats of the phase function; even:
    # isotropic by the similarity relation
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
    coat = coat_model.device()
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
    def albedo_at(table: ti.template(), grid: ti.template(), hu, x, q, row, rng: ti.template()):
        a = Spectrum(0.0)
        if ti.static(kind == "tissue"):
            for c in ti.static(range(C)):
                a[c] = tabulated(table, 1 + P + c, hu, q.wall_hu, row)
        else:
            # Light is linear in the albedo: one node drawn by its trilinear weight is right on average.
            e = ti.math.ivec3(0)
            if grid.shape[0] > 1:  # one node: the same albedo everywhere
                e = sampling.corner(x * q.inv, grid.shape[0], grid.shape[1], grid.shape[2], rng)
            for c in ti.static(range(C)):
                a[c] = grid[e.x, e.y, e.z, c]
        return a

    @ti.func
    def dyed(table: ti.template(), albedo, capsules: ti.template(), buckets: ti.template(), x, row):
        """Albedo at x with the mucosa layer in it: blood-rich patches, then vessels."""
        share = skin.shares(capsules, buckets, x)
        a = albedo
        for c in ti.static(range(C)):
            red = ti.math.mix(albedo[c], table[row + BLOOD, 1 + P + c], share[1])
            a[c] = ti.math.mix(red, table[row + VESSEL, 1 + P + c], share[0])
        return a

    @ti.func
    def colour(
        table: ti.template(),
        grid: ti.template(),
        capsules: ti.template(),
        buckets: ti.template(),
        hu,
        x,
        q,
        row,
        rng: ti.template(),
    ):
        """Albedo of a collision at x with field value hu."""
        a = albedo_at(table, grid, hu, x, q, row, rng)
        if ti.static(layered):
            a = dyed(table, a, capsules, buckets, x, row)
        return a

    @ti.func
    def onward(table: ti.template(), hu, q, row):
        """Chance that a particle sends light straight on, of what `collision` has not passed over, and the least
        albedo."""
        s = look.straight(table, hu, q.wall_hu, row)
        return s[0] * (1.0 - s[1]) / s[2], s[1]

    @ti.func
    def above(albedo, least):
        """Weight of light that goes straight on, where flights pass over what leaves the channel of least albedo."""
        return ti.max(albedo - least, 0.0) / (1.0 - least)

    @ti.func
    def border(field: ti.template(), labels: ti.template(), table: ti.template(), x, hu, q, row):
        """Gradient at x, and the chance that a collision there is with a surface (hybrid).

        Kroes, Post, Botha 2012, eq. 7 with the gradient in HU/mm against a constant of the tissue.
        """
        slope = look.gradient(field, x, q.inv)
        opacity = look.sigma(field, labels, table, x * q.inv, hu, q.wall_hu, q.inv)
        rate = q.hybrid
        if ti.static(traits.labelled):
            opacity /= table[row + OWN, Own.SIGMA_TOP]
            rate = table[row + OWN, Own.HYBRID]
        else:
            opacity /= q.sigma_top
        return slope, opacity * (1.0 - ti.exp(-rate * slope.norm()))

    @ti.func
    def beyond(
        field: ti.template(),
        table: ti.template(),
        labels: ti.template(),
        grid: ti.template(),
        capsules: ti.template(),
        buckets: ti.template(),
        x,
        hu,
        q,
        rng: ti.template(),
    ):
        """Share of light on a shadow ray that goes on behind a collision, by the similarity relation; see `event`."""
        left = Spectrum(0.0)
        row = block(labels, x * q.inv)
        chance, least = onward(table, hu, q, row)
        if ti.static(HYBRID):
            _, surface_chance = border(field, labels, table, x, hu, q, row)
            chance *= 1.0 - surface_chance
        if rand(rng) < chance:
            left = above(colour(table, grid, capsules, buckets, hu, x, q, row, rng), least)
        return left

    @ti.func
    def coating(labels: ti.template(), table: ti.template(), x, hu, q):
        """Roughness, specular weight and IOR of the coat at x: those at hu; of a wall those at wall_hu."""
        out = vec3(q.alpha, q.specular, q.ior)
        if ti.static(traits.coated):
            row = block(labels, x * q.inv)
            v = hu
            if ti.static(WALL):
                v = LOWEST
            for c in ti.static(range(3)):
                out[c] = tabulated(table, table.shape[1] - ti.static(COATED) + c, v, q.wall_hu, row)
        return out

    @ti.func
    def mirrored(coats: ti.template(), here, n, d):
        """What a coat with normal n reflects of light along d, in all. coats: table of directional albedos."""
        return here[1] * coat.albedo(coats, ti.abs(n.dot(d)), here[0], here[2])

    @ti.func
    def filmed(capsules: ti.template(), x, d, n):
        """Normal of the coat at x of the wall with normal n towards the air, for light along d or against it."""
        m = n
        if ti.static(layered):
            m = skin.tilt(capsules, x, ti.select(n.dot(d) > 0.0, -1.0, 1.0) * d, n)
        return m

    @ti.func
    def passed(coats: ti.template(), capsules: ti.template(), labels: ti.template(), table: ti.template(), x, d, n, q):
        """What the coat lets pass of light along d at x of the wall with normal n towards the air."""
        return 1.0 - mirrored(coats, coating(labels, table, x, 0.0, q), filmed(capsules, x, d, n), d)

    @ti.func
    def facing_normal(n, d):
        return -n if n.dot(d) > 0.0 else n

    @ti.func
    def event(
        field: ti.template(),
        smooth: ti.template(),
        table: ti.template(),
        labels: ti.template(),
        grid: ti.template(),
        coats: ti.template(),
        capsules: ti.template(),
        buckets: ti.template(),
        t: ti.template(),
        x,
        d,
        hu,
        collided,
        reduced,
        q,
        rng: ti.template(),
    ):
        """What a ray along d meets at x: the coat of the wall, or a collision with field value `hu`.

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
            row = block(labels, x * q.inv)
            ev.albedo = colour(table, grid, capsules, buckets, hu, x, q, row, rng)
            for c in ti.static(range(P)):
                if ti.static(kind == "tissue"):
                    ev.phase[c] = tabulated(table, 1 + c, hu, q.wall_hu, row)
                else:
                    ev.phase[c] = q.phase[c]
            if ti.static(HYBRID):
                slope, surface_chance = border(field, labels, table, x, hu, q, row)
                if rand(rng) < surface_chance:
                    ev.kind = BSDF
                    ev.n = facing_normal(-slope / ti.max(slope.norm(), 1e-9), d)
                    ev.film = ev.n
                    ev.coat = coating(labels, table, x, hu, q)
                    ev.reflect = mirrored(coats, ev.coat, ev.n, d)
            if ti.static(similar):
                if reduced and ev.kind == PHASE:
                    ev.even = 1
                    chance, least = onward(table, hu, q, row)
                    if rand(rng) < chance:
                        ev.kind = FORWARD
                        ev.albedo = above(ev.albedo, least)
        else:
            if ti.static(WALL):
                ev.kind = COAT
                ev.coat = coating(labels, table, x, hu, q)
                n = t.normal(field, smooth, x, q.inv)
                ev.n, ev.film = facing_normal(n, d), filmed(capsules, x, d, n)
                ev.reflect = mirrored(coats, ev.coat, ev.film, d)
        return ev

    @ti.func
    def sample(ev, d, q, data: ti.template(), u, rng: ti.template()):
        """Where a path goes on. u: two uniform numbers for the direction.

        The coat lets it pass (reflected = 0) with its direction and density unchanged.
        """
        turn = Turn(direction=d, weight=Spectrum(1.0), density=-1.0, reflected=0, stop=0)
        if ev.kind == PHASE:
            cos_theta = phase_sample(u[0], ev.phase, data)
            turn.density = phase_pdf(cos_theta, ev.phase, data)
            if ti.static(similar):
                if ev.even == 1:
                    cos_theta, turn.density = 1.0 - 2.0 * rand(rng), 0.25 / PI
            turn.direction = sampling.around(d, cos_theta, u[1])
            turn.reflected = 1
        elif ti.static(WALL or HYBRID):
            shine = rand(rng) < ev.reflect
            if shine or ev.kind == BSDF:
                turn.reflected = 1
                if shine:
                    turn.direction = coat.sample(-d, ev.film, ev.coat[0], u[0], u[1]).normalized()
                else:
                    turn.direction = sampling.around(ev.n, ti.sqrt(1.0 - u[0]), u[1])
                f = bounce(ev, d, turn.direction, q, data)
                turn.density = f.density
                if f.shiny + f.diffuse <= 0.0 or f.density <= 0.0:
                    turn.stop = 1
                else:
                    turn.weight = (f.shiny + f.diffuse * ev.albedo) / f.density
        return turn

    @ti.func
    def bounce(ev, d, w, q, data: ti.template()):
        """Value × cos towards w, white (shiny) and to be coloured (diffuse), and the density of `sample`.

        data: table of the phase function, if it is one.
        """
        f = Bounce(shiny=0.0, diffuse=0.0, density=0.0)
        if ev.kind == PHASE:
            f.diffuse = phase_pdf(d.dot(w), ev.phase, data)
            if ti.static(similar):
                if ev.even == 1:
                    f.diffuse = 0.25 / PI
            f.density = f.diffuse
        elif ti.static(WALL or HYBRID):
            if ev.n.dot(w) > 0.0:
                f.shiny = ev.coat[1] * coat.eval(-d, w, ev.film, ev.coat[0], ev.coat[2])
            f.density = ev.reflect * coat.pdf(-d, w, ev.film, ev.coat[0])
            if ev.kind == BSDF:
                f.diffuse = (1.0 - ev.reflect) * ti.max(ev.n.dot(w), 0.0) / PI
                f.density += f.diffuse
        return f

    return SimpleNamespace(
        Spectrum=Spectrum,
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
        coating=coating,
        mirrored=mirrored,
        passed=passed,
    )
