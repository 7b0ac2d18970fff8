"""Looking up the field: trilinear values, gradients, extinction, and where a ray passes the domain.

Positions in the grid frame (mm), or as an index where a function says so. Functions of `m` are given a `Medium`.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.medium.table import OWN, ROWS, Own
from endorender.render.medium.traits import PLAIN, Traits

vec3 = ti.math.vec3
FAR = 1e30


class Medium(NamedTuple):
    """What a kernel has of a medium: its arrays (see `prepared`, `majorants`, `table`, `labels`), three of its numbers.

    Made within a kernel, by `ti.static(Medium(...))`: a name for what is there already, nothing is copied. Neither
    engine takes arrays in a bundle as the argument of a kernel on both; functions take it as a template.
    """

    field: Any  # (I, J, K) HU or sigma_t
    smooth: Any = None  # (I', J', K') blurred, for normals
    cells: Any = None  # (A, B, C, 2) local majorants
    table: Any = None  # optics along HU
    labels: Any = None  # (I, J, K) which tissue
    inv: Any = None  # 1 / spacing, mm⁻¹
    threshold: Any = None  # HU of the wall
    wall_hu: Any = None  # HU that what lies just behind the wall is lifted to


@kernels
def device(kind: str, surface: str, traits: Traits = PLAIN) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode."""
    ORIGIN = 0.0 if kind == "tissue" else 0.5
    WALL = surface == "interface"
    OPACITY = traits.back("opacity")

    @ti.func
    def one_of_eight(field: ti.template(), p, rng: ti.template()):
        """The field at one node about index p, drawn by its trilinear weight: right on average, one look-up."""
        q = sampling.corner(p, field.shape[0], field.shape[1], field.shape[2], rng)
        return ti.cast(field[q.x, q.y, q.z], ti.f32)

    @ti.func
    def interpolated(field: ti.template(), p):
        """Trilinear value at index p."""
        i = ti.math.clamp(ti.cast(p.x, ti.i32), 0, field.shape[0] - 2)
        j = ti.math.clamp(ti.cast(p.y, ti.i32), 0, field.shape[1] - 2)
        k = ti.math.clamp(ti.cast(p.z, ti.i32), 0, field.shape[2] - 2)
        fx, fy, fz = p.x - i, p.y - j, p.z - k
        a0 = ti.math.mix(ti.cast(field[i, j, k], ti.f32), ti.cast(field[i, j, k + 1], ti.f32), fz)
        a1 = ti.math.mix(ti.cast(field[i, j + 1, k], ti.f32), ti.cast(field[i, j + 1, k + 1], ti.f32), fz)
        b0 = ti.math.mix(ti.cast(field[i + 1, j, k], ti.f32), ti.cast(field[i + 1, j, k + 1], ti.f32), fz)
        b1 = ti.math.mix(ti.cast(field[i + 1, j + 1, k], ti.f32), ti.cast(field[i + 1, j + 1, k + 1], ti.f32), fz)
        return ti.math.mix(ti.math.mix(a0, a1, fy), ti.math.mix(b0, b1, fy), fx)

    @ti.func
    def value(m: ti.template(), x):
        """Trilinear value of the field at x."""
        return interpolated(m.field, x * m.inv)

    @ti.func
    def gradient(field: ti.template(), x, inv):
        """Central differences over one voxel either side, per mm."""
        g = vec3(0.0)
        # A loop, not an unrolled sum: one look-up in the machine code instead of six halves the compile time.
        for k in range(6):
            e = vec3(ti.select(k < 2, 1.0, 0.0), ti.select((k >= 2) & (k < 4), 1.0, 0.0), ti.select(k >= 4, 1.0, 0.0))
            e *= ti.select(k % 2 == 0, 1.0, -1.0)
            g += e * interpolated(field, (x + e / inv) * inv)
        return 0.5 * g * inv

    @ti.func
    def normal(m: ti.template(), x):
        """Unit normal towards lower HU, from the blurred field, which may be kept at half the resolution."""
        pitch = 0.5 if m.smooth.shape[0] * 3 < m.field.shape[0] * 2 else 1.0
        g = -gradient(m.smooth, x, m.inv * pitch)
        length = g.norm()
        if length < 1e-6:
            g = -gradient(m.field, x, m.inv)
            length = ti.max(g.norm(), 1e-6)
        return g / length

    @ti.func
    def block(m: ti.template(), p):
        """First row of the table for the tissue of the voxel nearest to index p."""
        row = 0
        if ti.static(traits.labelled):
            q = ti.cast(ti.floor(p + 0.5), ti.i32)
            q = ti.math.clamp(q, 0, ti.math.ivec3(m.labels.shape[0], m.labels.shape[1], m.labels.shape[2]) - 1)
            row = ti.cast(m.labels[q.x, q.y, q.z], ti.i32) * ti.static(ROWS)
        return row

    @ti.func
    def tabulated(m: ti.template(), column, v, row):
        """A column of the tissue's table at HU v. row: from `block`; the tissue's wall_hu holds then."""
        h = v
        if ti.static(WALL):
            if ti.static(traits.labelled):
                h = ti.max(v, m.table[row + OWN, Own.WALL_HU])
            else:
                h = ti.max(v, m.wall_hu)
        u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
        i = ti.cast(u, ti.i32)
        f = u - i
        if ti.static(traits.labelled):
            i += row
        return ti.math.mix(m.table[i, column], m.table[i + 1, column], f)

    @ti.func
    def straight(m: ti.template(), v, row):
        """By the similarity relation, at HU v: mean cosine g, least albedo a of all channels, and 1 - a g."""
        column = m.table.shape[1] - ti.static(traits.back("forward"))
        g = tabulated(m, column, v, row)
        least = tabulated(m, column + 1, v, row)
        return vec3(g, least, 1.0 - g * least)

    @ti.func
    def opacity(m: ti.template(), p, row):
        """Factor on the extinction at index p, by the length of the gradient of the HU as measured."""
        steep = gradient(m.field, p / m.inv, m.inv).norm()
        u = ti.min(steep * m.table[row + OWN, Own.PER_SLOPE], 1023.999)
        i = ti.cast(u, ti.i32)
        column = m.table.shape[1] - ti.static(OPACITY)
        return ti.math.mix(m.table[row + i, column], m.table[row + i + 1, column], u - i)

    @ti.func
    def sigma(m: ti.template(), p, v):
        """Extinction at index p, where the field is v."""
        s = v
        if ti.static(kind == "tissue"):
            row = block(m, p)
            s = tabulated(m, 0, v, row)
            if ti.static(traits.graded):
                s *= opacity(m, p, row)
        return s

    @ti.func
    def clip(m: ti.template(), o, d):
        """Interval of t inside the domain; empty when [1] <= [0]."""
        near, far = 0.0, FAR
        for a in ti.static(range(3)):
            lo = ti.static(ORIGIN) - o[a] * m.inv[a]
            hi = m.field.shape[a] - 1.0 - ti.static(ORIGIN) - o[a] * m.inv[a]
            if ti.abs(d[a]) > 1e-12:
                r = 1.0 / (d[a] * m.inv[a])
                near = ti.max(near, ti.min(lo * r, hi * r))
                far = ti.min(far, ti.max(lo * r, hi * r))
            elif lo > 0.0 or hi < 0.0:
                far = -1.0
        return ti.math.vec2(near, far)

    return SimpleNamespace(
        one_of_eight=one_of_eight,
        interpolated=interpolated,
        value=value,
        gradient=gradient,
        normal=normal,
        block=block,
        tabulated=tabulated,
        straight=straight,
        opacity=opacity,
        sigma=sigma,
        clip=clip,
    )
