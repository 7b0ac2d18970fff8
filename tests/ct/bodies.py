"""A made abdomen: room air and a table around a body with a colon, a stomach, bowel and the bases of the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from endorender.ct import Volume

AIR, FAT, SOFT, BONE, LUNG, FOAM, SHELL, FLUID = -1000, -100, 40, 500, -860, -930, 350, 550
TABLE_MM = (14.0, 36.0)  # its lower and upper face above the scan's lower edge
# The colon's way in parts of the body's half axes and the scan's height: (left, front, up).
COLON = (
    (0.50, 0.20, 0.12),
    (0.60, 0.00, 0.30),
    (0.62, -0.10, 0.55),
    (0.50, 0.20, 0.68),
    (0.00, 0.45, 0.58),
    (-0.45, 0.15, 0.74),
    (-0.62, -0.20, 0.62),
    (-0.62, -0.10, 0.32),
    (-0.40, 0.20, 0.16),
    (-0.10, -0.05, 0.24),
    (0.10, -0.15, 0.10),
)


@dataclass(frozen=True, eq=False)
class Body:
    """volume, and of each voxel: organ: 0 none, 1 colon, 2 stomach, 3 and up bowel; inside: (I, J, K) bool, the body;
    pools: bool, tagged fluid."""

    volume: Volume
    organ: np.ndarray
    inside: np.ndarray
    pools: np.ndarray


def body(
    shape: tuple[int, int, int] = (128, 84, 106),
    extent: tuple[float, float, float] = (384.0, 248.0, 316.0),
    seed: int = 0,
    table: bool = True,
    lungs: bool = True,
    noise: float = 12.0,
    level: float | None = None,
    width: float = 20.0,
) -> Body:
    """shape: voxels along i, j, k, which are R, A, S. extent: mm. level: mm above the body's middle up to which the
    colon holds fluid. width: radius of the colon in mm. The same arguments give the same bytes."""
    rng = np.random.default_rng([seed, 0xB0D4])
    pitch = np.array(extent) / shape
    middle = np.array([0.5 * extent[0], 0.54 * extent[1], 0.0])
    half = np.array([0.44 * extent[0], 0.38 * extent[1]])
    organ = _organs(shape, pitch, middle, half, extent, width, rng)
    hu, inside = np.empty(shape, np.int16), np.empty(shape, bool)
    pools = organ == 1
    pools &= (np.arange(shape[1]) * pitch[1] < (-np.inf if level is None else middle[1] + level))[:, None]
    x, y = np.meshgrid(*(np.arange(n) * p for n, p in zip(shape[:2], pitch)), indexing="ij")
    for k in range(shape[2]):
        plane, within = _plane(x, y, k * pitch[2], middle, half, extent, table, lungs)
        # Between bone and bowel lies soft tissue, some 6 mm of it.
        near = (organ[:, :, max(0, k - 2) : k + 3] > 0).any(axis=2)
        near = ndimage.maximum_filter(near, size=[2 * int(np.ceil(6 / p)) + 1 for p in pitch[:2]])
        plane[near & (plane == BONE)] = SOFT
        plane[organ[:, :, k] > 0] = AIR
        plane[pools[:, :, k]] = FLUID
        hu[:, :, k], inside[:, :, k] = plane, within
    # A scanner's blur and noise, slab by slab: neighbours beyond the blur's reach do not matter.
    sigma = 0.7 / pitch
    reach = int(np.ceil(4 * sigma[2]))
    out = np.empty_like(hu)
    for start in range(0, shape[2], 16):
        low, high = max(0, start - reach), min(shape[2], start + 16 + reach)
        soft = ndimage.gaussian_filter(hu[:, :, low:high].astype(np.float32), sigma)[:, :, start - low :][:, :, :16]
        soft += noise * rng.standard_normal(soft.shape, dtype=np.float32)
        out[:, :, start : start + 16] = np.clip(np.rint(soft), -1024, 3071)
    affine = np.diag([*pitch, 1.0])
    affine[:3, 3] = -0.5 * np.array(extent)
    return Body(Volume(out, affine), organ, inside, pools)


def _plane(x, y, z, middle, half, extent, table, lungs):
    """(I, J) HU of one slice without its bowel, and where the body is."""
    plane = np.full(x.shape, AIR, np.int16)
    if table:
        low, high = TABLE_MM
        sag = 14 * ((x - middle[0]) / (0.5 * extent[0])) ** 2  # the table is a shallow trough
        deep = np.minimum(y - low - sag, high + sag - y)
        wide = np.abs(x - middle[0]) < 0.46 * extent[0]
        plane[wide & (deep > 0)] = FOAM
        plane[wide & (deep > 0) & (deep < 3)] = SHELL
    girth = 1 + 0.05 * np.sin(2.5 * z / extent[2] + 0.4)
    ratio = np.hypot((x - middle[0]) / (half[0] * girth), (y - middle[1]) / (half[1] * girth))
    within = ratio < 1
    plane[within] = FAT
    plane[within & (ratio < 0.88)] = SOFT
    spine = np.hypot(x - middle[0], y - middle[1] + 0.62 * half[1]) < 18
    plane[spine] = BONE
    if lungs:
        for side in (-1, 1):
            off = np.array([x - middle[0] - side * 0.45 * half[0], y - middle[1] + 0.1 * half[1]])
            up = (z - 1.08 * extent[2]) / (0.32 * extent[2])
            dome = (off[0] / (0.36 * half[0])) ** 2 + (off[1] / (0.66 * half[1])) ** 2 + up**2
            plane[(dome < 1) & ~spine] = LUNG
    return plane, within


def _organs(shape, pitch, middle, half, extent, width, rng) -> np.ndarray:
    """(I, J, K) uint8 of hollows full of air."""
    organ = np.zeros(shape, np.uint8)

    def place(left, front, up):
        return np.array([middle[0] - left * half[0], middle[1] + front * half[1], up * extent[2]])

    def paint(number, centre, radii, turn=None):
        radii = np.broadcast_to(radii, 3)
        low = np.maximum(np.floor((centre - radii.max()) / pitch).astype(int), 0)
        high = np.minimum(np.ceil((centre + radii.max()) / pitch).astype(int) + 1, shape)
        at = [np.arange(a, b) * p - c for a, b, p, c in zip(low, high, pitch, centre)]
        at = np.meshgrid(*at, indexing="ij", sparse=True)
        part = organ[tuple(slice(a, b) for a, b in zip(low, high))]
        return at, part, sum((a / r) ** 2 for a, r in zip(at, radii)) < 1, number

    from scipy.interpolate import make_interp_spline

    corners = np.array([place(*c) for c in COLON]) + rng.normal(0, 6, (len(COLON), 3))
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    s = np.arange(0, chord[-1], 1.5)
    way = make_interp_spline(chord, corners)(s)
    radius = width + 3 * np.sin(s / 47 + rng.uniform(0, 6)) + 2 * np.sin(s / 11)
    for point, r in zip(way, radius):
        _, part, ball, _ = paint(1, point, r)
        part[ball] = 1
    for n in range(8, len(s) - 8, 15):  # folds: two thirds of a ring
        along = (way[n + 1] - way[n - 1]) / np.linalg.norm(way[n + 1] - way[n - 1])
        at, part, ball, _ = paint(1, way[n], radius[n] + 6)
        height = sum(a * t for a, t in zip(at, along))
        side = rng.normal(size=3)
        facing = sum(a * t for a, t in zip(at, side - (side @ along) * along))
        ring = (np.abs(height) < 1.5) & (sum(a**2 for a in at) > (0.6 * radius[n]) ** 2) & (facing > -0.4 * radius[n])
        part[ball & ring & (part == 1)] = 0
    _, part, ball, _ = paint(2, place(-0.25, 0.25, 0.86), (34, 26, 30))
    part[ball & (part == 0)] = 2
    for n in range(12):
        centre = place(rng.uniform(-0.3, 0.3), rng.uniform(-0.1, 0.45), rng.uniform(0.15, 0.5))
        _, part, ball, _ = paint(3 + n, centre, rng.uniform(7, 12, 3))
        free = not ndimage.binary_dilation(ball, iterations=3)[part > 0].any()
        if free:
            part[ball] = 3 + n
    return organ
