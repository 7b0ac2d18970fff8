"""Looking up the field: trilinear values, gradients, extinction, and where a ray passes the domain.

Positions in the grid frame (mm), or as an index where a function says so; `inv` is 1 / spacing.
"""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.device import sampling
from endorender.render.device.cache import kernels
from endorender.render.medium.table import OWN, ROWS, Own
from endorender.render.medium.traits import PLAIN, Traits

vec3 = ti.math.vec3
FAR = 1e30


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
    def value(field: ti.template(), x, inv):
        """Trilinear value at x."""
        return interpolated(field, x * inv)

    @ti.func
    def gradient(field: ti.template(), x, inv):
        """Central differences over one voxel either side, per mm."""
        g = vec3(0.0)
        # A loop, not an unrolled sum: one look-up in the machine code instead of six halves the compile time.
        for k in range(6):
            e = vec3(ti.select(k < 2, 1.0, 0.0), ti.select((k >= 2) & (k < 4), 1.0, 0.0), ti.select(k >= 4, 1.0, 0.0))
            e *= ti.select(k % 2 == 0, 1.0, -1.0)
            g += e * value(field, x + e / inv, inv)
        return 0.5 * g * inv

    @ti.func
    def normal(field: ti.template(), smooth: ti.template(), x, inv):
        """Unit normal towards lower HU, from the blurred field, which may be kept at half the resolution."""
        pitch = 0.5 if smooth.shape[0] * 3 < field.shape[0] * 2 else 1.0
        g = -gradient(smooth, x, inv * pitch)
        length = g.norm()
        if length < 1e-6:
            g = -gradient(field, x, inv)
            length = ti.max(g.norm(), 1e-6)
        return g / length

    @ti.func
    def block(labels: ti.template(), p):
        """First row of the table for the tissue of the voxel nearest to index p."""
        row = 0
        if ti.static(traits.labelled):
            q = ti.cast(ti.floor(p + 0.5), ti.i32)
            q = ti.math.clamp(q, 0, ti.math.ivec3(labels.shape[0], labels.shape[1], labels.shape[2]) - 1)
            row = ti.cast(labels[q.x, q.y, q.z], ti.i32) * ti.static(ROWS)
        return row

    @ti.func
    def tabulated(table: ti.template(), column, v, wall_hu, row):
        """A column of the tissue's table at HU v. row: from `block`; the tissue's wall_hu holds then."""
        h = v
        if ti.static(WALL):
            if ti.static(traits.labelled):
                h = ti.max(v, table[row + OWN, Own.WALL_HU])
            else:
                h = ti.max(v, wall_hu)
        u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
        i = ti.cast(u, ti.i32)
        f = u - i
        if ti.static(traits.labelled):
            i += row
        return ti.math.mix(table[i, column], table[i + 1, column], f)

    @ti.func
    def straight(table: ti.template(), v, wall_hu, row):
        """By the similarity relation, at HU v: mean cosine g, least albedo a of all channels, and 1 - a g."""
        column = table.shape[1] - ti.static(traits.back("forward"))
        g = tabulated(table, column, v, wall_hu, row)
        least = tabulated(table, column + 1, v, wall_hu, row)
        return vec3(g, least, 1.0 - g * least)

    @ti.func
    def opacity(field: ti.template(), table: ti.template(), p, inv, row):
        """Factor on the extinction at index p, by the length of the gradient of the HU as measured."""
        steep = gradient(field, p / inv, inv).norm()
        u = ti.min(steep * table[row + OWN, Own.PER_SLOPE], 1023.999)
        i = ti.cast(u, ti.i32)
        column = table.shape[1] - ti.static(OPACITY)
        return ti.math.mix(table[row + i, column], table[row + i + 1, column], u - i)

    @ti.func
    def sigma(field: ti.template(), labels: ti.template(), table: ti.template(), p, v, wall_hu, inv):
        """Extinction at index p, where the field is v."""
        s = v
        if ti.static(kind == "tissue"):
            row = block(labels, p)
            s = tabulated(table, 0, v, wall_hu, row)
            if ti.static(traits.graded):
                s *= opacity(field, table, p, inv, row)
        return s

    @ti.func
    def clip(field: ti.template(), o, d, inv):
        """Interval of t inside the domain; empty when [1] <= [0]."""
        near, far = 0.0, FAR
        for a in ti.static(range(3)):
            lo = ti.static(ORIGIN) - o[a] * inv[a]
            hi = field.shape[a] - 1.0 - ti.static(ORIGIN) - o[a] * inv[a]
            if ti.abs(d[a]) > 1e-12:
                r = 1.0 / (d[a] * inv[a])
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
