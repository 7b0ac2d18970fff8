"""Moving along a ray: trilinear look-up, the wall's root, and one walk for free flights and shadow rays.

Positions in the grid frame (mm); `inv` is 1 / spacing; t is in mm along unit directions.
"""

from types import SimpleNamespace

from endorender.engine import ti
from endorender.render.cache import kernels
from endorender.render.rng import rand

vec3 = ti.math.vec3
NOTHING, COLLISION, SURFACE = 0, 1, 2
FAR = 1e30


@kernels
def device(kind: str, surface: str, cell: int, dtype: str) -> SimpleNamespace:
    """Taichi functions for one kind of medium and surface mode, cells of `cell` voxels.

    dtype of the field only keys the cache. `walk` returns (event, t, field value there).
    """
    ORIGIN = 0.5 if kind == "grid" else 0.0
    WALL = surface == "interface"
    CELL = float(cell)

    @ti.func
    def value(field: ti.template(), x, inv):
        """Trilinear value at x."""
        p = x * inv
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
        """Unit normal towards lower HU, from the blurred field."""
        g = -gradient(smooth, x, inv)
        length = g.norm()
        if length < 1e-6:
            g = -gradient(field, x, inv)
            length = ti.max(g.norm(), 1e-6)
        return g / length

    @ti.func
    def sigma(table: ti.template(), v, wall_hu):
        """Extinction of a field value."""
        s = v
        if ti.static(kind == "tissue"):
            h = v
            if ti.static(WALL):
                h = ti.max(h, wall_hu)
            u = ti.math.clamp((h + 1024.0) * 0.25, 0.0, 1023.999)
            i = ti.cast(u, ti.i32)
            s = ti.math.mix(table[i, 0], table[i + 1, 0], u - i)
        return s

    @ti.func
    def clip(field: ti.template(), o, d, inv):
        """Interval of t inside the domain; empty when [1] <= [0]."""
        near, far = 0.0, FAR
        for a in ti.static(range(3)):
            lo = ti.static(ORIGIN) / inv[a]
            hi = (field.shape[a] - 1 - ti.static(ORIGIN)) / inv[a]
            if ti.abs(d[a]) > 1e-12:
                t0, t1 = (lo - o[a]) / d[a], (hi - o[a]) / d[a]
                near = ti.max(near, ti.min(t0, t1))
                far = ti.min(far, ti.max(t0, t1))
            elif o[a] < lo or o[a] > hi:
                far = -1.0
        return ti.math.vec2(near, far)

    @ti.func
    def crossing(field: ti.template(), o, d, ta, tb, threshold, inside):
        """First t in [ta, tb] where the trilinear field passes the threshold, -1 without one.

        Within a patch between eight nodes the field along a ray is a cubic (Marmitt et al. 2004); its extrema split
        the patch into monotone parts. o, d in index units per mm.
        """
        found = -1.0
        t = ta
        p = o + d * t
        i = ti.math.clamp(ti.cast(p.x, ti.i32), 0, field.shape[0] - 2)
        j = ti.math.clamp(ti.cast(p.y, ti.i32), 0, field.shape[1] - 2)
        k = ti.math.clamp(ti.cast(p.z, ti.i32), 0, field.shape[2] - 2)
        s = ti.math.ivec3(ti.select(d.x > 0, 1, -1), ti.select(d.y > 0, 1, -1), ti.select(d.z > 0, 1, -1))
        step = vec3(FAR)
        nxt = vec3(FAR)
        ijk = vec3(i, j, k)
        for a in ti.static(range(3)):
            if ti.abs(d[a]) > 1e-12:
                step[a] = 1.0 / ti.abs(d[a])
                nxt[a] = (ijk[a] + ti.select(d[a] > 0, 1.0, 0.0) - o[a]) / d[a]
        while t < tb:
            te = ti.min(tb, ti.max(t, nxt.min()))
            c000, c001 = ti.cast(field[i, j, k], ti.f32), ti.cast(field[i, j, k + 1], ti.f32)
            c010, c011 = ti.cast(field[i, j + 1, k], ti.f32), ti.cast(field[i, j + 1, k + 1], ti.f32)
            c100, c101 = ti.cast(field[i + 1, j, k], ti.f32), ti.cast(field[i + 1, j, k + 1], ti.f32)
            c110, c111 = ti.cast(field[i + 1, j + 1, k], ti.f32), ti.cast(field[i + 1, j + 1, k + 1], ti.f32)
            lo = ti.min(c000, c001, c010, c011, c100, c101, c110, c111)
            hi = ti.max(c000, c001, c010, c011, c100, c101, c110, c111)
            if (inside and lo < threshold) or (not inside and hi >= threshold):
                f = ti.Vector([0.0, 0.0, 0.0, 0.0])
                for m in ti.static(range(4)):
                    q = o + d * (t + (te - t) * (m / 3.0)) - vec3(i, j, k)
                    a0 = ti.math.mix(ti.math.mix(c000, c001, q.z), ti.math.mix(c010, c011, q.z), q.y)
                    a1 = ti.math.mix(ti.math.mix(c100, c101, q.z), ti.math.mix(c110, c111, q.z), q.y)
                    f[m] = ti.math.mix(a0, a1, q.x) - threshold
                if inside:
                    f = -f  # now: looking for the first f >= 0, coming from f < 0
                k0 = f[0]
                k1 = 0.5 * (-11.0 * f[0] + 18.0 * f[1] - 9.0 * f[2] + 2.0 * f[3])
                k2 = 0.5 * (18.0 * f[0] - 45.0 * f[1] + 36.0 * f[2] - 9.0 * f[3])
                k3 = 0.5 * (-9.0 * f[0] + 27.0 * f[1] - 27.0 * f[2] + 9.0 * f[3])
                # Extrema of the cubic, in order.
                e0, e1 = 2.0, 2.0
                disc = k2 * k2 - 3.0 * k1 * k3
                if disc > 0.0:
                    w = -(k2 + ti.select(k2 > 0, 1.0, -1.0) * ti.sqrt(disc))
                    r0, r1 = 2.0, 2.0
                    if ti.abs(k3) > 1e-9:
                        r0 = w / (3.0 * k3)
                    if ti.abs(w) > 1e-9:
                        r1 = k1 / w
                    e0, e1 = ti.min(r0, r1), ti.max(r0, r1)
                a, b = 0.0, -1.0
                if k0 > 0.05:  # rounding at a patch's border: the state says otherwise already here
                    b = 0.0
                elif 0.0 < e0 < 1.0 and ((k3 * e0 + k2) * e0 + k1) * e0 + k0 >= 0.0:
                    b = e0
                else:
                    if 0.0 < e0 < 1.0:
                        a = e0
                    if a < e1 < 1.0 and ((k3 * e1 + k2) * e1 + k1) * e1 + k0 >= 0.0:
                        b = e1
                    else:
                        if a < e1 < 1.0:
                            a = e1
                        if f[3] >= 0.0:
                            b = 1.0
                if b >= 0.0:
                    for _ in range(16):
                        c = 0.5 * (a + b)
                        if ((k3 * c + k2) * c + k1) * c + k0 >= 0.0:
                            b = c
                        else:
                            a = c
                    found = t + (te - t) * b
                    break
            t = te
            if nxt.x <= nxt.y and nxt.x <= nxt.z:
                i += s.x
                nxt.x += step.x
            elif nxt.y <= nxt.z:
                j += s.y
                nxt.y += step.y
            else:
                k += s.z
                nxt.z += step.z
            if i < 0 or j < 0 or k < 0 or i > field.shape[0] - 2 or j > field.shape[1] - 2 or k > field.shape[2] - 2:
                break
        return found

    @ti.func
    def walk(
        field: ti.template(),
        cells: ti.template(),
        table: ti.template(),
        o,
        d,
        start,
        end,
        inv,
        threshold,
        wall_hu,
        inside,
        rng: ti.template(),
    ):
        """Delta tracking (Woodcock 1965) from t = start to end under the majorants of the cells, by DDA.

        inside: whether the ray starts in tissue; matters in the `interface` mode alone, where air is empty.
        """
        event = NOTHING
        hit = end
        found_value = 0.0
        oi, di = o * inv, d * inv
        u = (oi + di * start - ti.static(ORIGIN)) / ti.static(CELL)
        ix = ti.math.clamp(ti.cast(u.x, ti.i32), 0, cells.shape[0] - 1)
        iy = ti.math.clamp(ti.cast(u.y, ti.i32), 0, cells.shape[1] - 1)
        iz = ti.math.clamp(ti.cast(u.z, ti.i32), 0, cells.shape[2] - 1)
        sx, sy, sz = ti.select(d.x > 0, 1, -1), ti.select(d.y > 0, 1, -1), ti.select(d.z > 0, 1, -1)
        step = vec3(FAR)
        nxt = vec3(FAR)
        cell_index = vec3(ix, iy, iz)
        for a in ti.static(range(3)):
            if ti.abs(di[a]) > 1e-12:
                r = 1.0 / di[a]
                step[a] = ti.abs(r) * ti.static(CELL)
                edge = (cell_index[a] + ti.select(d[a] > 0, 1.0, 0.0)) * ti.static(CELL) + ti.static(ORIGIN)
                nxt[a] = (edge - oi[a]) * r
        t = start
        tau = -ti.log(1.0 - rand(rng))
        while True:
            m = cells[ix, iy, iz]
            tn = nxt.min()
            te = ti.min(tn, end)
            if m != 0.0:
                bound = ti.abs(m)
                mixed = m < 0.0
                if ti.static(WALL):
                    if not mixed and not inside:
                        # Rounding let the ray slip past the wall at a cell's border.
                        event = SURFACE
                        hit = t
                if event == NOTHING:
                    while True:
                        tq = te
                        candidate = False
                        if ti.static(WALL):
                            if inside:
                                tq = t + tau / bound
                                candidate = tq < te
                                tq = ti.min(tq, te)
                            if mixed and tq > t:
                                tc = crossing(field, oi, di, t, tq, threshold, inside)
                                if tc >= 0.0:
                                    event = SURFACE
                                    hit = tc
                                    break
                        else:
                            tq = t + tau / bound
                            candidate = tq < te
                            tq = ti.min(tq, te)
                        if not candidate:
                            if ti.static(WALL):
                                if inside:
                                    tau -= (te - t) * bound
                            else:
                                tau -= (te - t) * bound
                            tau = ti.max(tau, 0.0)
                            break
                        t = tq
                        v = value(field, o + t * d, inv)
                        if rand(rng) * bound < sigma(table, v, wall_hu):
                            event = COLLISION
                            hit = t
                            found_value = v
                            break
                        tau = -ti.log(1.0 - rand(rng))
                if event != NOTHING:
                    break
            elif ti.static(WALL):
                inside = False
            t = te
            if tn >= end:
                break
            if nxt.x <= nxt.y and nxt.x <= nxt.z:
                ix += sx
                nxt.x += step.x
            elif nxt.y <= nxt.z:
                iy += sy
                nxt.y += step.y
            else:
                iz += sz
                nxt.z += step.z
            if ix < 0 or iy < 0 or iz < 0 or ix >= cells.shape[0] or iy >= cells.shape[1] or iz >= cells.shape[2]:
                break
        return event, hit, found_value

    return SimpleNamespace(
        value=value,
        gradient=gradient,
        normal=normal,
        sigma=sigma,
        clip=clip,
        crossing=crossing,
        walk=walk,
        SURFACE=SURFACE,
        COLLISION=COLLISION,
    )
