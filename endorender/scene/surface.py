"""What a surface does to light: coats, found by their registry, and the first of them, wet GGX.

Others stand in `endorender.scene.surfaces`, one file each. The wet coat of mucosa: microfacets with dielectric Fresnel
reflection, over tissue or a Lambertian base.

Directions: `wi` points from the surface to where the path came from, `wo` to where it goes, both unit and on the
side of the normal `n`. Walter et al. 2007 (GGX); Heitz 2018, Sampling the GGX distribution of visible normals.

What the base gets is what the coat leaves: 1 - E with E the coat's *directional albedo*, the share of light from one
direction that it reflects into all (Kulla, Conty 2017, Revisiting Physically Based Shading at Imageworks).
"""

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

coats = Registry("coat")

ALPHA, IOR = (0.02, 1.0), (1.0, 3.0)  # that the table of directional albedos covers
NODES = (32, 16, 16)  # even in the square root of cos, in the logarithm of α, in the fourth root of IOR - 1
LEAST_COS = 1e-4


@functools.cache
def directional_albedo() -> "Float32[np.ndarray, '32 16 16']":
    """(32, 16, 16) float32 over `NODES` of (cos θ, α, IOR): what a coat of weight 1 reflects in all.

    Between nodes, linear in what they are even in, it is within 0.005 of the integral (tests/scene/test_surface.py).
    """
    u, v, w = (np.linspace(0, 1, n, dtype=np.float32) for n in NODES)
    alpha = ALPHA[0] * (ALPHA[1] / ALPHA[0]) ** v
    return integrated(u * u, alpha, IOR[0] + (IOR[1] - IOR[0]) * w**4)


def visible_normals(
    cos: "Float[np.ndarray, ' N']", alpha: "Float[np.ndarray, ' A']", nodes: int
) -> "tuple[Float[np.ndarray, ' Q'], Float[np.ndarray, 'N A Q'], Float[np.ndarray, 'N A Q']]":
    """Facets that a direction sees, by Gauss's rule in the two numbers that `sample` takes: (Q,) weights, and for each
    (N,) cos θ and (A,) α (N, A, Q) cosine to the normal, and to the direction."""
    x, weight = (a.astype(cos.dtype) for a in np.polynomial.legendre.leggauss(nodes))
    phi, v = (a.ravel() for a in np.meshgrid(np.pi * (0.5 + 0.5 * x), 0.5 + 0.5 * x, indexing="ij"))
    share = 0.25 * np.outer(weight, weight).ravel()
    c, a = np.maximum(cos, LEAST_COS)[:, None, None], alpha[None, :, None]
    s = np.sqrt(1 - c * c)
    length = np.sqrt(a * a * s * s + c * c)
    z = (1 - v) * (1 + c / length) - c / length
    r = np.sqrt(np.maximum(0, 1 - z * z))
    h = np.stack([a * (r * np.cos(phi) + a * s / length), a * r * np.sin(phi), np.maximum(z + c / length, 1e-9)])
    h /= np.linalg.norm(h, axis=0)
    return share, h[2], np.maximum(h[0] * s + h[2] * c, 0)


def smith(cos: "Float[np.ndarray, '...']", alpha: "Float[np.ndarray, '...']") -> "Float[np.ndarray, '...']":
    """Λ of the GGX distribution: 1 / (1 + Λ) of its facets are seen."""
    c = np.maximum(np.abs(cos), 1e-6)
    return np.asarray(0.5 * (np.sqrt(1 + alpha * alpha * (1 - c * c) / (c * c)) - 1))


def integrated(
    cos: "Float32[np.ndarray, ' N']",
    alpha: "Float32[np.ndarray, ' A']",
    ior: "Float32[np.ndarray, ' K']",
    nodes: int = 16,
) -> "Float32[np.ndarray, 'N A K']":
    """(N,) cos θ, (A,) α, (K,) IOR, float32 -> (N, A, K) directional albedo E = ∫ F G2 / G1 over visible normals."""
    share, height, met = visible_normals(cos, alpha, nodes)
    c, a = np.maximum(cos, LEAST_COS)[:, None, None], alpha[None, :, None]
    out = 2 * met * height - c
    shadowed = (1 + smith(c, a)) / (1 + smith(c, a) + smith(out, a))
    share = np.where(out > 0, shadowed, 0) * share
    found = np.empty((len(cos), len(alpha), len(ior)), np.float32)
    for k, n in enumerate(ior):
        through = np.sqrt(np.maximum(0, 1 - (1 - met * met) / (n * n)))
        parallel, across = (n * met - through) / (n * met + through), (met - n * through) / (met + n * through)
        found[..., k] = (share * 0.5 * (parallel**2 + across**2)).sum(-1)
    return found


@functools.cache
def device() -> SimpleNamespace:
    """Taichi functions `fresnel`, `albedo`, `frame`, `to_world`, `sample`, `pdf`, `eval` of the coat."""
    from endorender.engine import ti

    vec3 = ti.math.vec3

    @ti.func
    def fresnel(cos_i, ior):
        """Unpolarised dielectric reflectance from outside, cos_i >= 0."""
        sin2_t = (1.0 - cos_i * cos_i) / (ior * ior)
        cos_t = ti.sqrt(ti.max(0.0, 1.0 - sin2_t))
        r_par = (ior * cos_i - cos_t) / (ior * cos_i + cos_t)
        r_per = (cos_i - ior * cos_t) / (cos_i + ior * cos_t)
        return 0.5 * (r_par * r_par + r_per * r_per)

    @ti.func
    def between(table: ti.template(), first, cos, alpha, ior):
        """A table over `NODES`, whose rows begin at `first`, between its nodes."""
        at = vec3(
            ti.sqrt(ti.math.clamp(cos, 0.0, 1.0)),
            ti.log(alpha * ti.static(1.0 / ALPHA[0])) * ti.static(float(1.0 / np.log(ALPHA[1] / ALPHA[0]))),
            ti.sqrt(ti.sqrt(ti.max(ior - ti.static(IOR[0]), 0.0) * ti.static(1.0 / (IOR[1] - IOR[0])))),
        )
        last = vec3(NODES[0] - 1, NODES[1] - 1, NODES[2] - 1)
        at = ti.math.clamp(at, 0.0, 1.0) * last
        i = ti.min(ti.cast(at, ti.i32), ti.cast(last, ti.i32) - 1)
        f = at - i
        out = 0.0
        for corner in range(8):  # a loop: one look-up in the machine code instead of eight
            e = ti.math.ivec3(corner & 1, (corner >> 1) & 1, corner >> 2)
            w = ti.select(e == 1, f, 1.0 - f)
            out += w.x * w.y * w.z * table[first + i.x + e.x, i.y + e.y, i.z + e.z]
        return out

    @ti.func
    def albedo(table: ti.template(), cos, alpha, ior):
        """What a coat of weight 1 reflects of light from one direction in all. table: `directional_albedo`."""
        return between(table, 0, cos, alpha, ior)

    @ti.func
    def frame(n):
        """Columns t, b, n: right-handed axes around unit n (Duff et al. 2017)."""
        s = ti.select(n.z < 0.0, -1.0, 1.0)
        a = -1.0 / (s + n.z)
        b = n.x * n.y * a
        t = vec3(1.0 + s * n.x * n.x * a, s * b, -s * n.x)
        return ti.Matrix.cols([t, vec3(b, s + n.y * n.y * a, -n.y), n])

    @ti.func
    def to_world(n, v):
        """v given around +z -> the same around unit n."""
        return frame(n) @ v

    @ti.func
    def to_local(n, w):
        """Inverse of `to_world`."""
        return frame(n).transpose() @ w

    @ti.func
    def lam(cos, alpha):
        """Smith's Λ of GGX."""
        tan2 = ti.max(0.0, 1.0 - cos * cos) / ti.max(cos * cos, 1e-12)
        return 0.5 * (ti.sqrt(1.0 + alpha * alpha * tan2) - 1.0)

    @ti.func
    def ndf(cos_h, alpha):
        """GGX distribution of normals."""
        c2 = cos_h * cos_h
        # 1 - c² from the half vector cancels near the peak; alpha keeps the sum above zero.
        q = (1.0 - c2) + alpha * alpha * c2
        return alpha * alpha / (3.14159265 * q * q)

    @ti.func
    def facet(w, alpha, u, v):
        """A visible normal, drawn; all around +z."""
        s = vec3(alpha * w.x, alpha * w.y, w.z).normalized()
        # A spherical cap of visible directions (Dupuy & Benyoub 2023) avoids a branch on the tangent frame.
        phi = 6.28318531 * u
        z = (1.0 - v) * (1.0 + s.z) - s.z
        r = ti.sqrt(ti.max(0.0, 1.0 - z * z))
        h = vec3(r * ti.cos(phi), r * ti.sin(phi), z) + s
        return vec3(alpha * h.x, alpha * h.y, ti.max(h.z, 1e-6)).normalized()

    @ti.func
    def sample(wi, n, alpha, u, v):
        """Reflected direction by a visible normal. It may lie below the surface: then its value is 0."""
        w = to_local(n, wi)
        h = facet(w, alpha, u, v)
        return to_world(n, 2.0 * w.dot(h) * h - w)

    @ti.func
    def pdf(wi, wo, n, alpha):
        """Density of `sample` per steradian."""
        p = 0.0
        ci = wi.dot(n)
        if ci > 0.0 and wo.dot(n) > -ci:  # else the half vector is below the surface
            h = (wi + wo).normalized()
            p = ndf(h.dot(n), alpha) / ((1.0 + lam(ci, alpha)) * 4.0 * ti.max(ci, 1e-6))
        return p

    @ti.func
    def evaluate(wi, wo, n, alpha, ior):
        """BRDF × cos of the coat, without its weight."""
        f = 0.0
        ci, co = wi.dot(n), wo.dot(n)
        if ci > 0.0 and co > 0.0:
            h = (wi + wo).normalized()
            g2 = 1.0 / (1.0 + lam(ci, alpha) + lam(co, alpha))
            f = fresnel(ti.max(wi.dot(h), 0.0), ior) * ndf(h.dot(n), alpha) * g2 / (4.0 * ti.max(ci, 1e-6))
        return f

    return SimpleNamespace(
        fresnel=fresnel,
        between=between,
        albedo=albedo,
        to_world=to_world,
        to_local=to_local,
        lam=lam,
        ndf=ndf,
        facet=facet,
        sample=sample,
        pdf=pdf,
        eval=evaluate,
    )


class Coat(Model):
    """What every surface is: how it turns light, how that is drawn, and what becomes of the rest.

    role: `film`: it lies on the tissue and reflects; the rest passes as the scene's `boundary` says, and light that
    comes from within passes too. `cover`: nothing passes. `border`: it is the border of two refractive indices, met
    from either side, and sends light to both; it bends light by itself.
    """

    role: ClassVar[Literal["film", "cover", "border"]] = "film"

    def data(self) -> "Float32[np.ndarray, 'C A I']":
        """float32 table for the functions below, of any sizes; by default a dummy."""
        return np.zeros((1, 1, 1), np.float32)

    def clash(self, surface: str, boundary: str) -> str | None:
        """Why it cannot be in a scene with these modes, and the way out; None where it can."""
        name = coats.name_of(type(self))
        if self.role == "border" and (surface, boundary) != ("interface", "refracting"):
            return f"{name} bends light at a wall: it needs surface interface and boundary refracting"
        if self.role == "cover" and (surface, boundary) != ("interface", "straight"):
            return f"{name} lets nothing pass a wall: it needs surface interface and boundary straight"
        return None

    def unfit(self, roughness: float, ior: float) -> str | None:
        """Why it cannot be what a tissue's surface is with this least roughness and least index; None where it can."""
        return None

    @staticmethod
    def device() -> SimpleNamespace:
        """Taichi functions, of unit directions that point away from the surface with normal n, which faces wi.

        table: `data`. here: roughness, weight and refractive index of the tissue at the place, which a coat may take as
        it likes; for a border the index is that beyond it over that before it, seen from wi.

        `albedo(table, cos, here)`: share of the light at this cosine that is turned, into all directions, 0..1; of a
        cover and a border 1, and what they absorb shows in `eval`. `eval(table, wi, wo, n, here)`: vec2 of BSDF × |cos|
        towards wo: of light that keeps its colour, and (cover) of light that is given the tissue's. `sample(table, wi,
        n, here, u)`: wo, from three uniform numbers; `pdf(table, wi, wo, n, here)`: its density per steradian.

        Of a border, wo may lie behind the surface, and `eval` is of radiance over the square of the index (see
        `render.transport.refraction`): eval(wi, wo) / (|cos o| n_o²) is the same with wi and wo swapped.

        `normal(table, x, n)`: optional; unit normal of its bumps at x, mm on the volume's axes, of a film or a cover on
        a wall with normal n. What they would send below the wall is sent up again, mirrored in the wall's plane.
        """
        raise NotImplementedError


@coats.register("wet_ggx")
class WetGGX(Coat):
    """A film of water on mucosa: GGX microfacets, Fresnel; with the tissue's roughness, specular weight and ior."""

    def data(self) -> "Float32[np.ndarray, 'C A I']":
        """`directional_albedo`."""
        return directional_albedo().copy()

    @staticmethod
    @functools.cache
    def device() -> SimpleNamespace:
        """`device` with the tissue's weight."""
        from endorender.engine import ti

        ggx = device()

        @ti.func
        def albedo(table: ti.template(), cos, here):
            return here[1] * ggx.albedo(table, cos, here[0], here[2])

        @ti.func
        def sample(table: ti.template(), wi, n, here, u):
            return ggx.sample(wi, n, here[0], u[0], u[1])

        @ti.func
        def pdf(table: ti.template(), wi, wo, n, here):
            return ggx.pdf(wi, wo, n, here[0])

        @ti.func
        def evaluate(table: ti.template(), wi, wo, n, here):
            return ti.math.vec2(here[1] * ggx.eval(wi, wo, n, here[0], here[2]), 0.0)

        return SimpleNamespace(albedo=albedo, sample=sample, pdf=pdf, eval=evaluate)
