"""Whether a tentative collision is real. Positions as index into the grid."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand, rand2
from endorender.render.medium import field as fields
from endorender.render.medium.traits import PLAIN, Traits

vec3 = ti.math.vec3


@ti.func
def _not_noted(watch: ti.template(), near, far, empty):
    pass


class Watch(NamedTuple):
    """What somebody notes of a walk: a function, called with the watch, whose other fields are variables it changes.

    stretch(watch, near, far, empty): of the ray, mm, within one cell or several empty ones.
    """

    stretch: Any = _not_noted


UNWATCHED = Watch()


class Flight(NamedTuple):
    """What a path carries from flight to flight: names for variables of the kernel, which functions change in place.

    Made within a kernel or function, by `ti.static(Flight(...))`.
    """

    budget: Any  # optical depth until the next tentative collision
    share: Any  # (3,) spectral MIS weight, or on a shadow ray the transmittance
    hero: Any  # the channel that decides collisions
    rng: Any
    watch: Any = UNWATCHED


@kernels
def device(kind: str, surface: str, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode.

    Where extinction differs between channels see `spectral`. By the similarity relation flights and shadow rays told
    `reduced` pass over what leaves every channel's light as it is, see `shading.event`.
    """
    TINT = traits.back("tint")
    chromatic, similar, graded = traits.chromatic, traits.similar, traits.graded
    look = fields.device(kind, surface, traits)
    interpolated, one_of_eight = look.interpolated, look.one_of_eight
    block, tabulated, opacity = look.block, look.tabulated, look.opacity

    @ti.func
    def spectral(m: ti.template(), v, grey, most, shadow: ti.template(), row, flight: ti.template()):
        """A tentative collision where extinction differs between channels (Miller, Georgiev, Jarosz 2019).

        Flight: decided by the hero channel; `share` becomes each channel's chance of the same decisions over the mean
        of the three, which is the spectral MIS weight of a hero drawn evenly. Shadow: `share` is the transmittance by
        ratio tracking, with roulette once it is low.
        """
        s = vec3(0.0)
        for c in ti.static(range(3)):
            s[c] = grey * tabulated(m, m.table.shape[1] - ti.static(TINT) + c, v, row)
        chance = ti.min(s / most, 1.0)
        real = False
        if ti.static(shadow):
            flight.share *= 1.0 - chance
            top = flight.share.max()
            if top < 0.1:
                real = rand(flight.rng) * 0.1 >= top
                flight.share *= 0.1 / ti.max(top, 1e-12)
        else:
            real = rand(flight.rng) < chance[flight.hero]
            flight.share *= chance if real else 1.0 - chance
            flight.share /= ti.max(flight.share.sum() / 3.0, 1e-30)
        return real

    @ti.func
    def collides(
        m: ti.template(),
        p,
        most,
        least,
        shadow: ti.template(),
        reduced,
        found: ti.template(),
        flight: ti.template(),
    ):
        """Whether a tentative collision at index p is real. Draws the next budget too.

        It is drawn before what is found decides anything: the processor works on it while the look-up is under way.
        """
        u = rand2(flight.rng)
        draw = u[0] * most
        flight.budget = sampling.minus_log(1.0 - u[1])
        real = draw < least
        if not real:
            s = 0.0
            row = 0
            if ti.static(kind == "grid"):
                s = one_of_eight(m.field, p, flight.rng)
            elif ti.static(kind == "uniform"):
                s = interpolated(m.field, p)
            else:
                found = interpolated(m.field, p)
                row = block(m, p)
                s = tabulated(m, 0, found, row)
                if ti.static(similar):
                    if reduced:
                        s *= look.straight(m, found, row)[2]
                if ti.static(graded):
                    # Six look-ups, for which a factor that can only take away need not be known where s is too low.
                    if ti.static(chromatic) or draw < s:
                        s *= opacity(m, p, row)
            if ti.static(chromatic):
                real = spectral(m, found, s, most, shadow, row, flight)
            else:
                real = draw < s
        elif ti.static(kind == "tissue"):
            found = interpolated(m.field, p)
        return real

    return SimpleNamespace(collides=collides)
