"""Draws that every vertex makes: exponential distances and directions about an axis.

Logarithm and sine are polynomials (the C library's cost a tenth of a vertex each), good to 2e-7 and 1e-7.
"""

from endorender.engine import ti
from endorender.render.device.rng import draw64, rand

vec3 = ti.math.vec3


@ti.func
def minus_log(x):
    """-ln x for 0 < x <= 1: exponent by bits, then ln(1 + r) = 2 artanh(r / (2 + r)) as an odd series."""
    bits = ti.bit_cast(ti.cast(x, ti.f32), ti.i32)
    # Mantissa in [sqrt(1/2), sqrt(2)): |s| <= 0.1716, where the series' next term is below 2e-8.
    shifted = bits - 0x3F3504F3
    e = shifted >> 23
    m = ti.bit_cast((shifted & 0x007FFFFF) + 0x3F3504F3, ti.f32)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = s * (2.0 + z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * 0.22222222))))
    return -(ti.cast(e, ti.f32) * 0.69314718 + series)


@ti.func
def exponential(rng: ti.template()):
    """A draw with density exp(-x)."""
    return minus_log(1.0 - rand(rng))


@ti.func
def turned(u):
    """(cos, sin) of 2 pi u, 0 <= u <= 1."""
    q = 4.0 * u
    k = ti.floor(q + 0.5)
    a = (q - k) * 1.57079633  # in [-pi/4, pi/4]
    z = a * a
    s = a * (1.0 + z * (-0.16666667 + z * (8.3333310e-3 + z * (-1.9840874e-4 + z * 2.7525562e-6))))
    c = 1.0 + z * (-0.5 + z * (4.1666638e-2 + z * (-1.3888397e-3 + z * 2.4760495e-5)))
    i = ti.cast(k, ti.i32)
    x = ti.select((i & 1) == 1, -s, c)
    y = ti.select((i & 1) == 1, c, s)
    flip = ti.select((i & 2) == 2, -1.0, 1.0)
    return ti.math.vec2(flip * x, flip * y)


@ti.func
def around(d, cos_theta, u):
    """Unit direction at angle theta from unit d, azimuth 2 pi u (axes: Duff et al. 2017)."""
    sin_theta = ti.sqrt(ti.max(0.0, (1.0 - cos_theta) * (1.0 + cos_theta)))  # no cancellation at the poles
    cs = turned(u)
    x, y = sin_theta * cs[0], sin_theta * cs[1]
    s = ti.select(d.z < 0.0, -1.0, 1.0)
    a = -1.0 / (s + d.z)
    b = d.x * d.y * a
    w = vec3(
        (1.0 + s * d.x * d.x * a) * x + b * y + d.x * cos_theta,
        s * b * x + (s + d.y * d.y * a) * y + d.y * cos_theta,
        -s * d.x * x - d.y * y + d.z * cos_theta,
    )
    # One Newton step back to unit length: a path of hundreds of turns must not drift.
    return w * (1.5 - 0.5 * w.norm_sqr())


@ti.func
def corner(p, nx, ny, nz, rng: ti.template()):
    """One of the eight nodes about index p of an (nx, ny, nz) grid, drawn with its trilinear weight."""
    q = ti.math.clamp(ti.cast(ti.floor(p), ti.i32), 0, ti.math.ivec3(nx, ny, nz) - 2)
    f = p - q
    u = draw64(rng)  # holds three numbers of 21 bits
    for a in ti.static(range(3)):
        if ti.cast((u >> ti.u64(21 * a)) & ti.u64(0x1FFFFF), ti.f32) + 0.5 < f[a] * 2097152.0:
            q[a] += 1
    return q
