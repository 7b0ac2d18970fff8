"""What the published scripts of other people's layouts compute, written as they do."""

import numpy as np


def grid(shape):
    v, u = np.mgrid[: shape[0], : shape[1]]
    return u.astype(float), v.astype(float)


def pinhole_points(z, fx, fy, cx, cy):
    u, v = grid(z.shape)
    return np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1)


def quaternion_matrix(x, y, z, w):
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def scaramuzza_rays(shape, p, stretch=1.0):
    """As published: undo the stretch matrix, then the polynomial. p: a0 a2 a3 a4 c d e cx cy."""
    u, v = grid(shape)
    u, v = (u + 0.5) * stretch - 0.5 - p["cx"], (v + 0.5) * stretch - 0.5 - p["cy"]
    det = p["c"] - p["d"] * p["e"]
    x, y = (u - p["d"] * v) / det, (-p["e"] * u + p["c"] * v) / det
    rho = np.hypot(x, y)
    return np.stack([x, y, p["a0"] + p["a2"] * rho**2 + p["a3"] * rho**3 + p["a4"] * rho**4], -1)


OLYMPUS = {
    "a0": 769.243600037458, "a2": -8.12770624150226e-4, "a3": 6.25674244578925e-7, "a4": -1.1966218214428e-9,
    "c": 0.99998688224999, "d": 0.00288273829525059, "e": -0.00296316513429569,
    "cx": 678.544839263292, "cy": 542.975887548343,
}  # fmt: skip


def c3vd_points(levels, pose_row, parameters, stretch):
    z = np.where((levels > 0) & (levels < 65535), levels / 65535 * 100, np.nan)
    rays = scaramuzza_rays(levels.shape, parameters, stretch)
    points = rays / rays[..., 2:] * z[..., None]
    m = pose_row.reshape(4, 4)
    return points @ m[:3, :3] + m[3, :3]


def radial(m, k1, k2, k3, p1, p2):
    x, y = m[..., 0], m[..., 1]
    r2 = x * x + y * y
    r = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [x * r + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * r + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
    )
