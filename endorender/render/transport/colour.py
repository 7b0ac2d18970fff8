"""What a collision leaves of light: its albedo, and by the similarity relation what goes straight on.

All in the grid frame; `world` is a `world.World`; Spectrum is a vector of C channels (three for each look).
"""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.render.medium import field as fields
from endorender.render.medium import mucosa
from endorender.render.medium.table import BLOOD, OWN, VESSEL, Own
from endorender.render.medium.traits import PLAIN, Traits


@kernels
def device(kind: str, surface: str, phase: Any, channels: int, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium, surface mode and phase function."""
    C, P = channels, phase.FLOATS
    HYBRID = surface == "hybrid"
    Spectrum = ti.types.vector(C, ti.f32)
    skin = mucosa.device()
    look = fields.device(kind, surface, traits)
    tabulated, block = look.tabulated, look.block

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
        if ti.static(traits.layered):
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

    return SimpleNamespace(colour=colour, onward=onward, above=above, border=border, beyond=beyond)
