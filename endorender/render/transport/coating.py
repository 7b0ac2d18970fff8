"""The coat of the wall: what it is at a point, which way it faces there, and how much of light it turns.

All in the grid frame; `world` is a `world.World`.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend
from endorender.render.device.cache import kernels
from endorender.render.medium import field as fields
from endorender.render.medium import mucosa
from endorender.render.medium.traits import PLAIN, Traits
from endorender.scene.surface import Coat

vec3 = ti.math.vec3
LOWEST = -1e4  # HU below every wall_hu: the look-up lifts it to the wall's
LEAN = 0.9  # of the cosine to the ray: as steep may a bump be, or the ray would meet it from behind


@kernels
def coat_data(surface: str, coat: Coat) -> Any:
    """The coat's table where kernels want it; a dummy where there is no coat."""
    return backend.resident(np.zeros((1, 1, 1), np.float32) if surface == "volume" else coat.data())


@kernels
def device(kind: str, surface: str, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode."""
    WALL, COATED = surface == "interface", traits.back("coat")
    coat, skin = traits.coat.device(), mucosa.device()
    BUMPED = hasattr(coat, "normal")
    look = fields.device(kind, surface, traits)
    tabulated, block = look.tabulated, look.block

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
        if ti.static(traits.layered):
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

    return SimpleNamespace(coating=coating, filmed=filmed, mirrored=mirrored, passed=passed)
