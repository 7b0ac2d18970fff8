"""The wall as a rough border of two refractive indices: GGX microfacets that reflect and refract.

Walter et al. 2007, Microfacet Models for Refraction through Rough Surfaces: eq. 20, 21 (value), 13 to 17 (the two half
vectors), 33, 34 (GGX). Normals are drawn as they are seen (Heitz 2018), and facets hide each other by Smith's function,
for reflected light of both directions together (Heitz 2014, eq. 99), for refracted light of each alone (Walter).

Light that hits more than one facet is missing from that model. What a direction lacks, L = 1 - E, is given back by one
further lobe over both sides, after Kulla, Conty 2017: f = L(i) L(o) / ∫ L dμ with dμ = n² |cos| dω. It holds all of the
light that lacks, on whichever side it begins, and is the same in both directions. By which side such light leaves, E
does not tell: the lobe takes them alike in dμ. That is our choice.

Values are of radiance over the square of the index, in which a border keeps light: see `render.transport.refraction`.
"""

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from endorender.scene.surface import ALPHA, IOR, LEAST_COS, NODES, Coat, coats, smith, visible_normals
from endorender.scene.surface import device as microfacets

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

LEAST_IOR = 1.01  # below, a half vector of light that is hardly bent is lost in float32
WITHIN = NODES[0]  # first row of what is lacking within the denser side
MEAN = 2 * NODES[0]  # rows of the cosine-weighted means, two for each side


@functools.cache
def lacking() -> "Float32[np.ndarray, '68 16 16']":
    """(68, 16, 16) float32 over (cos θ, α, IOR), at `surface.NODES`: 1 - E from outside, from within; their means."""
    u, v, w = (np.linspace(0, 1, n) for n in NODES)
    alpha, ior = ALPHA[0] * (ALPHA[1] / ALPHA[0]) ** v, IOR[0] + (IOR[1] - IOR[0]) * w**4
    lack = [np.stack([1 - turned(u * u, alpha, float(eta)) for eta in side], -1) for side in (ior, 1 / ior)]
    # The mean 2 ∫ L cos d cos = 4 ∫ L u³ du, of what the device makes of the table: linear in u between nodes.
    last = NODES[0] - 1
    fine = (np.arange(64 * last) + 0.5) / (64 * last)
    at = (fine * last).astype(int)
    share = (fine * last - at)[:, None, None]
    weight = 4 * fine**3 / len(fine)
    mean = [np.tensordot(weight, side[at] * (1 - share) + side[at + 1] * share, 1) for side in lack]
    rows = [*lack, *(np.stack([m, m]) for m in mean)]
    return np.ascontiguousarray(np.concatenate(rows), np.float32)


def turned(
    cos: "Float[np.ndarray, ' N']", alpha: "Float[np.ndarray, ' A']", eta: float, nodes: int = 24
) -> "Float[np.ndarray, 'N A']":
    """(N,) cos θ, (A,) α, index beyond over before -> (N, A): E, what facets reflect and refract at the first hit.

    Over visible normals, and both ways to go on from each.
    """
    share, height, met = visible_normals(cos, alpha, nodes)
    c, a = np.maximum(cos, LEAST_COS)[:, None, None], alpha[None, :, None]
    k = 1 - (1 - met * met) / (eta * eta)
    through = np.sqrt(np.maximum(0, k))
    parallel, across = (eta * met - through) / (eta * met + through), (met - eta * through) / (met + eta * through)
    fresnel = np.where(k > 0, 0.5 * (parallel**2 + across**2), 1.0)
    up, down = 2 * met * height - c, (met / eta - through) * height - c / eta
    back = np.where(up > 0, (1 + smith(c, a)) / (1 + smith(c, a) + smith(up, a)), 0)
    on = np.where(down < 0, 1 / (1 + smith(down, a)), 0)
    return np.asarray((share * (fresnel * back + (1 - fresnel) * on)).sum(-1))


@coats.register("rough_dielectric")
class RoughDielectric(Coat):
    """Rough border of two refractive indices (GGX): reflects and refracts; the tissue's roughness and ior, no weight.

    With `boundary: refracting`. As roughness falls it becomes that boundary's smooth wall with `specular` 1.
    """

    role: ClassVar[Literal["film", "cover", "border"]] = "border"

    def data(self) -> "Float32[np.ndarray, 'C A I']":
        """`lacking`."""
        return lacking().copy()

    def unfit(self, roughness: float, ior: float) -> str | None:
        """There has to be a border."""
        if ior < LEAST_IOR:
            return f"rough_dielectric is a border of two indices: ior must be at least {LEAST_IOR}, got {ior:g}"
        return None

    @staticmethod
    @functools.cache
    def device() -> SimpleNamespace:
        """See Coat."""
        from endorender.engine import ti

        vec2, vec3 = ti.math.vec2, ti.math.vec3
        ggx = microfacets()

        @ti.func
        def fresnel(cos, eta):
            """From either side: all of it beyond the critical angle."""
            out = 1.0
            if 1.0 - cos * cos < eta * eta:
                out = ggx.fresnel(cos, eta)
            return out

        @ti.func
        def lack(table: ti.template(), cos, alpha, eta):
            """1 - E at a cosine on the side where the index beyond over before is eta."""
            first = ti.select(eta < 1.0, ti.static(WITHIN), 0)
            return ggx.between(table, first, ti.abs(cos), alpha, ti.max(eta, 1.0 / eta))

        @ti.func
        def share(table: ti.template(), alpha, eta):
            """Of the further lobe: ∫ L n² cos dω / π before the surface and behind it, the index before being 1."""
            ior, before = ti.max(eta, 1.0 / eta), ti.static(MEAN)
            if eta < 1.0:
                before += 2
            return vec2(
                ggx.between(table, before, 0.0, alpha, ior),
                eta * eta * ggx.between(table, ti.static(2 * MEAN + 2) - before, 0.0, alpha, ior),
            )

        @ti.func
        def first_hit(wi, wo, n, alpha, eta):
            """Of light that hits one facet: value × |cos|, and density of its being drawn.

            The density has what a steep facet sends to the other side than it is meant for; of that the value is 0.
            """
            out = vec2(0.0)
            ci, co = wi.dot(n), wo.dot(n)
            if ci > 0.0:
                li, lo = ggx.lam(ci, alpha), ggx.lam(co, alpha)
                for way in ti.static(range(2)):  # reflected, refracted
                    h = wi + (eta if ti.static(way == 1) else 1.0) * wo
                    squared = ti.max(h.norm_sqr(), 1e-20)
                    h *= ti.select(h.dot(n) < 0.0, -1.0, 1.0) / ti.sqrt(squared)
                    mi, mo = wi.dot(h), wo.dot(h)
                    seen = ggx.ndf(h.dot(n), alpha) * mi / ((1.0 + li) * ti.max(ci, 1e-6))
                    if mi > 0.0:
                        mirrored = fresnel(mi, eta)
                        if ti.static(way == 0):
                            density = mirrored * seen / (4.0 * mi)
                            out[1] += density
                            if co > 0.0:
                                out[0] = density * (1.0 + li) / (1.0 + li + lo)
                        elif mo < 0.0:
                            density = (1.0 - mirrored) * seen * eta * eta * -mo / squared
                            out[1] += density
                            if co < 0.0:
                                out[0] = density / (1.0 + lo)
            return out

        @ti.func
        def albedo(table: ti.template(), cos, here):
            return 1.0

        @ti.func
        def sample(table: ti.template(), wi, n, here, u):
            alpha, eta = here[0], here[2]
            again = lack(table, wi.dot(n), alpha, eta)
            out = vec3(0.0)
            if u[2] < again:
                sides = share(table, alpha, eta)
                r, phi = ti.sqrt(u[0]), 6.28318531 * u[1]
                z = ti.sqrt(1.0 - u[0])
                if u[2] * (sides[0] + sides[1]) >= again * sides[0]:
                    z = -z
                out = ggx.to_world(n, vec3(r * ti.cos(phi), r * ti.sin(phi), z))
            else:
                w = ggx.to_local(n, wi)
                h = ggx.facet(w, alpha, u[0], u[1])
                met = w.dot(h)
                if (u[2] - again) < (1.0 - again) * fresnel(met, eta):
                    out = 2.0 * met * h - w
                else:
                    through = ti.sqrt(ti.max(1.0 - (1.0 - met * met) / (eta * eta), 0.0))
                    out = (met / eta - through) * h - w / eta
                out = ggx.to_world(n, out)
            return out

        @ti.func
        def pdf(table: ti.template(), wi, wo, n, here):
            alpha, eta = here[0], here[2]
            again = lack(table, wi.dot(n), alpha, eta)
            sides, co = share(table, alpha, eta), wo.dot(n)
            side = (sides[1] if co < 0.0 else sides[0]) / ti.max(sides[0] + sides[1], 1e-20)
            return (1.0 - again) * first_hit(wi, wo, n, alpha, eta)[1] + again * side * ti.abs(co) / 3.14159265

        @ti.func
        def evaluate(table: ti.template(), wi, wo, n, here):
            alpha, eta = here[0], here[2]
            sides, co = share(table, alpha, eta), wo.dot(n)
            other, squared = eta, 1.0
            if co < 0.0:
                other, squared = 1.0 / eta, eta * eta
            again = lack(table, wi.dot(n), alpha, eta) * lack(table, co, alpha, other)
            further = again * squared * ti.abs(co) / (3.14159265 * ti.max(sides[0] + sides[1], 1e-20))
            return vec2(first_hit(wi, wo, n, alpha, eta)[0] + further, 0.0)

        return SimpleNamespace(albedo=albedo, sample=sample, pdf=pdf, eval=evaluate)
