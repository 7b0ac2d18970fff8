"""Whether a tentative collision is real. Positions as index into the grid; `inv` is 1 / spacing."""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand, rand2
from endorender.render.medium import field as fields
from endorender.render.medium.traits import PLAIN, Traits

vec3 = ti.math.vec3


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
    def spectral(
        table: ti.template(),
        v,
        grey,
        most,
        shadow: ti.template(),
        wall_hu,
        row,
        hero,
        share: ti.template(),
        rng: ti.template(),
    ):
        """A tentative collision where extinction differs between channels (Miller, Georgiev, Jarosz 2019).

        Flight: decided by the hero channel; `share` becomes each channel's chance of the same decisions over the mean
        of the three, which is the spectral MIS weight of a hero drawn evenly. Shadow: `share` is the transmittance by
        ratio tracking, with roulette once it is low.
        """
        s = vec3(0.0)
        for c in ti.static(range(3)):
            s[c] = grey * tabulated(table, table.shape[1] - ti.static(TINT) + c, v, wall_hu, row)
        chance = ti.min(s / most, 1.0)
        real = False
        if ti.static(shadow):
            share *= 1.0 - chance
            top = share.max()
            if top < 0.1:
                real = rand(rng) * 0.1 >= top
                share *= 0.1 / ti.max(top, 1e-12)
        else:
            real = rand(rng) < chance[hero]
            share *= chance if real else 1.0 - chance
            share /= ti.max(share.sum() / 3.0, 1e-30)
        return real

    @ti.func
    def collides(
        field: ti.template(),
        table: ti.template(),
        labels: ti.template(),
        p,
        inv,
        most,
        least,
        shadow: ti.template(),
        wall_hu,
        reduced,
        hero,
        share: ti.template(),
        found: ti.template(),
        budget: ti.template(),
        rng: ti.template(),
    ):
        """Whether a tentative collision at index p is real. Draws the next `budget` too.

        It is drawn before what is found decides anything: the processor works on it while the look-up is under way.
        """
        u = rand2(rng)
        draw = u[0] * most
        budget = sampling.minus_log(1.0 - u[1])  # noqa: F841 (handed back)
        real = draw < least
        if not real:
            s = 0.0
            row = 0
            if ti.static(kind == "grid"):
                s = one_of_eight(field, p, rng)
            elif ti.static(kind == "uniform"):
                s = interpolated(field, p)
            else:
                found = interpolated(field, p)
                row = block(labels, p)
                s = tabulated(table, 0, found, wall_hu, row)
                if ti.static(similar):
                    if reduced:
                        s *= look.straight(table, found, wall_hu, row)[2]
                if ti.static(graded):
                    # Six look-ups, for which a factor that can only take away need not be known where s is too low.
                    if ti.static(chromatic) or draw < s:
                        s *= opacity(field, table, p, inv, row)
            if ti.static(chromatic):
                real = spectral(table, found, s, most, shadow, wall_hu, row, hero, share, rng)
            else:
                real = draw < s
        elif ti.static(kind == "tissue"):
            found = interpolated(field, p)
        return real

    return SimpleNamespace(collides=collides)
