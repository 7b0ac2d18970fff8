"""The wet coat of mucosa: GGX microfacets with dielectric Fresnel reflection, and a Lambertian base.

Directions: `wi` points from the surface to where the path came from, `wo` to where it goes, both unit and on the
side of the normal `n`. Walter et al. 2007 (GGX); Heitz 2018, Sampling the GGX distribution of visible normals.
"""

import functools
from types import SimpleNamespace


@functools.cache
def device() -> SimpleNamespace:
    """Taichi functions `fresnel`, `frame`, `to_world`, `sample`, `pdf`, `eval` of the coat."""
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
    def sample(wi, n, alpha, u, v):
        """Reflected direction by a visible normal. It may lie below the surface: then its value is 0."""
        w = to_local(n, wi)
        s = vec3(alpha * w.x, alpha * w.y, w.z).normalized()
        # A spherical cap of visible directions (Dupuy & Benyoub 2023) avoids a branch on the tangent frame.
        phi = 6.28318531 * u
        z = (1.0 - v) * (1.0 + s.z) - s.z
        r = ti.sqrt(ti.max(0.0, 1.0 - z * z))
        h = vec3(r * ti.cos(phi), r * ti.sin(phi), z) + s
        h = vec3(alpha * h.x, alpha * h.y, ti.max(h.z, 1e-6)).normalized()
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

    return SimpleNamespace(fresnel=fresnel, to_world=to_world, to_local=to_local, sample=sample, pdf=pdf, eval=evaluate)
