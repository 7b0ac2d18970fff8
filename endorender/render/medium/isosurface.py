"""The wall as the root of the trilinear field along a ray."""

from endorender.engine import ti
from endorender.render.medium.field import FAR

vec3 = ti.math.vec3


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
