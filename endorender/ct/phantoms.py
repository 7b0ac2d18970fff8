"""Procedural patients: a family of colons as CT volumes. Figures and their sources: docs/anatomy.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from endorender.ct.volume import Volume

PITCH = 0.8  # mm
AIR, WALL, FAT = -1000.0, 35.0, -100.0  # HU
BLUR = 0.62  # mm, standard deviation of the scanner's point spread
STEP, ANGLES = 0.25, 360  # the wall is tabled every 0.25 mm along and every degree around


@dataclass(frozen=True)
class Person:
    """What makes a colon someone's; lengths in mm, angles in radians. Drawn once by `draw`, then only read."""

    radius: float  # mean distance from centreline to wall between folds
    length: float  # of the centreline
    flexures: tuple[tuple[float, float, float], ...]  # (place 0..1 along, turn, plane of the turn)
    fold_spacing: float
    fold_height: float  # mean, in the middle between two taeniae
    fold_width: float  # falls to 1/e of its height this far from the crest
    alignment: float  # mm by which the folds of the three rows miss one another (standard deviation)
    triangle: float  # how far the section departs from a circle, part of the radius
    taenia: float  # height of the bands
    twist: float  # of the bands, per mm
    wall: float  # thickness
    noise: float  # HU, standard deviation
    polyps: int


def draw(rng: np.random.Generator) -> Person:
    """A person at random. Pure: the ranges are those of docs/anatomy.md."""
    radius = float(rng.uniform(14.5, 23.0))
    turn = rng.uniform(np.radians(55), np.radians(115), 2)
    first_plane = rng.uniform(0, 2 * np.pi)
    plane = (first_plane, first_plane + rng.choice([-1, 1]) * rng.uniform(np.radians(40), np.radians(150)))
    place = (rng.uniform(0.22, 0.36), rng.uniform(0.64, 0.78))
    return Person(
        radius=radius,
        length=float(rng.uniform(210, 250)),
        flexures=tuple((float(a), float(b), float(c)) for a, b, c in zip(place, turn, plane)),
        fold_spacing=float(rng.uniform(13, 23)),
        fold_height=float(rng.uniform(6.0, 11.0)),
        fold_width=float(rng.uniform(2.2, 3.2)),
        alignment=float(rng.uniform(0.8, 4.5)),
        triangle=float(rng.uniform(0.03, 0.09)),
        taenia=float(rng.uniform(0.7, 1.6)),
        twist=float(rng.uniform(-0.006, 0.006)),
        wall=float(rng.uniform(1.6, 2.8)),
        noise=float(rng.uniform(9, 18)),
        polyps=int(rng.integers(1, 5)),
    )


def colon(seed: int) -> Volume:
    """A colon of its own: closed air-filled lumen, wall, fat, scanner blur and noise.

    seed: any whole number >= 0; the same seed gives the same bytes, two seeds two people.
    Returns int16 HU on a 0.8 mm grid, RAS axes, origin in the middle of the volume.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    rng = np.random.default_rng([seed, 0xC0107])
    person = draw(rng)
    frame = _centreline(person, rng)
    table = _wall_table(person, frame, rng)
    reach = float(table.max()) + person.wall + 3.0
    low = frame.points.min(axis=0) - reach
    shape = np.ceil((frame.points.max(axis=0) + reach - low) / PITCH).astype(int) + 1
    distance = _signed_distance(shape, low, frame, table)
    flesh = _add_polyps(distance, low, frame, table, person, rng)
    near = np.argwhere(distance < person.wall + 3.0)
    box = tuple(slice(a, b + 1) for a, b in zip(near.min(axis=0), near.max(axis=0)))
    hu = _scan(distance[box], flesh[box], person, rng)
    affine = np.diag([PITCH, PITCH, PITCH, 1.0])
    affine[:3, 3] = -PITCH * (np.array(hu.shape) - 1) / 2
    return Volume(hu, affine, (), {"source": "phantom", "kind": "colon", "seed": seed})


@dataclass(frozen=True)
class Frame:
    """Centreline every STEP mm with a frame that does not spin about it (Bishop 1975).

    points, tangent, u, v: (N, 3).
    """

    points: np.ndarray
    tangent: np.ndarray
    u: np.ndarray
    v: np.ndarray


def _centreline(person: Person, rng: np.random.Generator) -> Frame:
    """Integrates a heading that turns at the flexures and wanders between; drawn again while it meets itself."""
    n = round(person.length / STEP) + 1
    s = np.linspace(0, 1, n)
    for attempt in range(100):
        ease = max(0.3, 1 - 0.03 * attempt)  # straighter with every failure, so that the search ends
        bend_u, bend_v = np.zeros(n), np.zeros(n)
        for place, turn, plane in person.flexures:
            # Half-width such that the tightest curve keeps a radius of at least 1.25 times the lumen's.
            width = max(0.09, 0.5 * turn * ease * 1.25 * person.radius / person.length)
            bump = np.exp(-0.5 * ((s - place) / width) ** 2)
            bump *= turn * ease / (bump.sum() * STEP)
            bend_u += bump * np.cos(plane)
            bend_v += bump * np.sin(plane)
        for bend in (bend_u, bend_v):
            for waves in (2, 3, 4):
                bend += 0.0022 * rng.normal() * np.sin(2 * np.pi * (waves * s + rng.uniform()))
        frame = _integrate(bend_u, bend_v)
        if _apart(frame.points, 2.0 * 1.25 * person.radius + 6.0):
            return frame
    raise AssertionError("no centreline found")  # ease makes the last attempts nearly straight


def _integrate(bend_u: np.ndarray, bend_v: np.ndarray) -> Frame:
    n = len(bend_u)
    points, tangent, u, v = (np.empty((n, 3)) for _ in range(4))
    p, m = np.zeros(3), np.eye(3)  # columns of m: u, v, tangent
    for i in range(n):
        points[i], u[i], v[i], tangent[i] = p, m[:, 0], m[:, 1], m[:, 2]
        p = p + STEP * m[:, 2]
        turned = m[:, 2] + STEP * (bend_u[i] * m[:, 0] + bend_v[i] * m[:, 1])
        turned /= np.linalg.norm(turned)
        first = m[:, 0] - (m[:, 0] @ turned) * turned
        first /= np.linalg.norm(first)
        m = np.stack([first, np.cross(turned, first), turned], axis=1)
    # The longest axis of the curve becomes z, the next y: the smallest box, hence the fewest voxels.
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    turn = axes[::-1] * np.sign(np.linalg.det(axes[::-1]))
    return Frame(centred @ turn.T, tangent @ turn.T, u @ turn.T, v @ turn.T)


def _apart(points: np.ndarray, least: float) -> bool:
    """Whether stretches of the curve that are not neighbours keep `least` mm from one another."""
    p = points[:: int(4 / STEP)]
    d = np.linalg.norm(p[:, None] - p[None], axis=-1)
    along = np.abs(np.subtract.outer(np.arange(len(p)), np.arange(len(p)))) * 4.0
    return bool(d[along > 1.45 * least].min(initial=np.inf) > least)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...], wrap: bool) -> np.ndarray:
    """Gaussian noise of unit deviation, correlated over sigma samples."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode=("nearest", "wrap") if wrap else "nearest")
    return np.asarray(noise / noise.std())


def _wall_table(person: Person, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """(N, ANGLES) mm: distance from the centreline to the wall, folds and bands included."""
    n = len(frame.points)
    s = np.arange(n)[:, None] * STEP
    theta = np.arange(ANGLES)[None] * (2 * np.pi / ANGLES)
    radius = person.radius * (1 + 0.09 * _smooth_noise(rng, (n,), (35 / STEP,), False))[:, None]
    band = rng.uniform(0, 2 * np.pi) + person.twist * s + 0.12 * _smooth_noise(rng, (n,), (30 / STEP,), False)[:, None]
    # phi: angle from the nearest middle between two bands, -1 .. 1 from band to band
    third = np.floor((theta - band) / (2 * np.pi / 3)).astype(int) % 3
    phi = 2 * (((theta - band) / (2 * np.pi / 3)) % 1.0) - 1
    wall = radius * (1 + person.triangle * np.cos(np.pi * phi))
    folds = np.zeros((n, ANGLES))
    places = [rng.uniform(0.3, 1.0) * person.fold_spacing]
    while places[-1] < person.length - 6:
        places.append(places[-1] + person.fold_spacing * max(0.55, 1 + 0.22 * rng.normal()))
    for row in range(3):
        for place in places:
            if rng.uniform() < 0.07:  # here and there a row has no fold
                continue
            shift = place + person.alignment * rng.normal()
            height = person.fold_height * float(np.clip(1 + 0.3 * rng.normal(), 0.4, 1.7))
            span = rng.uniform(0.85, 1.2)
            lean, bow = 0.10 * rng.normal() * person.radius, 0.10 * rng.normal() * person.radius
            width = person.fold_width * rng.uniform(0.85, 1.2)
            near = slice(max(0, int((shift - 30) / STEP)), max(0, int((shift + 30) / STEP)))
            x = phi[near]
            # Neighbouring rows overlap a little past the band, so phi runs on beyond it.
            beyond = np.where(third[near] == row, x, np.where(third[near] == (row + 1) % 3, x + 2, x - 2))
            profile = np.clip(1 - (beyond / span) ** 2, 0, None) ** 0.85
            off = s[near] - shift - lean * beyond - bow * beyond**2
            # The free edge is neither straight nor of one height.
            phase = rng.uniform(0, 2 * np.pi, 3)
            off = off + 0.5 * np.sin(5 * beyond + phase[0]) + 0.3 * np.sin(9 * beyond + phase[1])
            depth = np.minimum(height / radius[near], 0.55) * (1 + 0.07 * np.sin(6 * beyond + phase[2]))
            crest = np.exp(-_ridge(off, width))
            folds[near] = np.maximum(folds[near], depth * profile * crest)
    wall = wall * (1 - folds)
    arc = (1 - np.abs(phi)) * (np.pi / 3) * radius  # mm from the band's middle
    wall -= person.taenia * np.exp(-((arc / 4.0) ** 2))
    for size, height in ((7.0, 0.45), (2.6, 0.16)):  # mucosa is never a perfect surface
        wall += height * _smooth_noise(rng, (n, ANGLES), (size / STEP, size / person.radius * ANGLES / 6.28), True)
    end = np.minimum(s, (n - 1) * STEP - s) / (0.9 * person.radius)
    return wall * np.sqrt(np.clip(1 - np.clip(1 - end, 0, 1) ** 2, 0, 1))


def _ridge(off: np.ndarray, width: float) -> np.ndarray:
    """Exponent of a fold's profile: round within 0.6 mm of the crest, slender above, wide at the foot."""
    return ((np.sqrt(off**2 + 0.36) - 0.6) / width) ** 1.25


def _signed_distance(shape: np.ndarray, low: np.ndarray, frame: Frame, table: np.ndarray) -> np.ndarray:
    """(I, J, K) float32 mm: negative in the lumen, exact near the wall, clipped at +-8."""
    from scipy import ndimage
    from scipy.spatial import cKDTree

    # Nearest place on the centreline on a grid of half resolution, then one Newton step at every voxel.
    coarse = [np.arange(0, n + 1, 2) for n in shape]
    at = np.stack(np.meshgrid(*coarse, indexing="ij"), axis=-1) * PITCH + low
    _, nearest = cKDTree(frame.points).query(at.reshape(-1, 3))
    place = nearest.reshape([len(c) for c in coarse]).astype(np.float32)
    out = np.empty(shape, np.float32)
    last = len(frame.points) - 1
    n_j, n_k = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for i in range(shape[0]):
        a, f = divmod(i / 2, 1)
        plane = place[int(a)] * (1 - f) + (place[int(a) + 1] * f if f else 0)
        s = ndimage.map_coordinates(plane, [n_j / 2, n_k / 2], order=1)
        p = np.stack([np.full(s.shape, i, np.float32), n_j, n_k], axis=-1) * PITCH + low
        k = np.clip(np.rint(s), 0, last).astype(int)
        s = k + np.einsum("...c,...c", p - frame.points[k], frame.tangent[k]) / STEP
        k = np.clip(np.rint(s), 0, last).astype(int)
        d = p - frame.points[k]
        past = np.clip(np.abs(s - np.clip(s, 0, last)) * STEP, 0, None)
        x, y = np.einsum("...c,...c", d, frame.u[k]), np.einsum("...c,...c", d, frame.v[k])
        angle = np.arctan2(y, x) % (2 * np.pi) * (ANGLES / (2 * np.pi))
        wall = ndimage.map_coordinates(table, [np.clip(s, 0, last), angle], order=1, mode="grid-wrap")
        out[i] = np.hypot(np.hypot(x, y), past) - wall
    # The difference along the radius overstates the distance to a steep fold: divide by the slope.
    g = [np.gradient(out, PITCH, axis=a) for a in range(3)]
    slope = np.sqrt(g[0] ** 2 + g[1] ** 2 + g[2] ** 2)
    return np.clip(out / np.maximum(slope, 0.5), -8, 8)


def _add_polyps(
    distance: np.ndarray, low: np.ndarray, frame: Frame, table: np.ndarray, person: Person, rng: np.random.Generator
) -> np.ndarray:
    """Sessile domes, and now and then a head on a stalk, merged smoothly into the wall; distance in place.

    Returns (I, J, K) bool: voxels that are polyp, and so never fat.
    """
    flesh = np.zeros(distance.shape, bool)
    for _ in range(person.polyps):
        k = int(rng.uniform(0.12, 0.88) * len(table))
        a = int(rng.integers(ANGLES))
        angle = 2 * np.pi * a / ANGLES
        inward = -(frame.u[k] * np.cos(angle) + frame.v[k] * np.sin(angle))
        foot = frame.points[k] - table[k, a] * inward
        width = float(np.clip(rng.lognormal(np.log(6.5), 0.35), 3.5, 13.0))
        stalked = width > 6.0 and rng.uniform() < 0.3
        stalk = float(rng.uniform(4, 8)) if stalked else 0.0
        # Half-axes along and across: a head is nearly a ball, a sessile polyp a dome of 0.2 to 0.6 of its width.
        tall = 0.45 * width if stalked else width * float(np.clip(0.38 + 0.15 * rng.normal(), 0.2, 0.65))
        wide = 0.5 * width
        head = foot + inward * (stalk + 0.6 * tall if stalked else 0.0)
        reach = width + stalk + 6
        lo = np.maximum(np.floor((foot - reach - low) / PITCH).astype(int), 0)
        hi = np.minimum(np.ceil((foot + reach - low) / PITCH).astype(int) + 1, distance.shape)
        box = tuple(slice(a, b) for a, b in zip(lo, hi))
        p = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(lo, hi)], indexing="ij"), axis=-1) * PITCH + low
        along = (p - head) @ inward
        across = (p - head) - along[..., None] * inward
        # Lumps of a few millimetres: no polyp is a ball.
        waves = rng.normal(size=(4, 3)) * 2 * np.pi / width
        lumps = np.sin((p - head) @ waves.T + rng.uniform(0, 2 * np.pi, 4)).sum(axis=-1)
        ratio = np.sqrt((along / tall) ** 2 + (np.linalg.norm(across, axis=-1) / wide) ** 2) * (1 + 0.05 * lumps)
        solid = (ratio - 1) * min(tall, wide)
        if stalked:
            t = np.clip((p - foot) @ inward / stalk, -0.3, 1)
            neck = np.linalg.norm(p - foot - t[..., None] * stalk * inward, axis=-1) - 0.2 * width
            solid = np.minimum(solid, neck)
        # Smooth maximum (Quilez) of lumen and not-polyp: the foot blends in over 1.5 mm.
        lumen, outside = distance[box], -solid
        blend = np.clip(0.5 + 0.5 * (outside - lumen) / 1.5, 0, 1)
        distance[box] = lumen + (outside - lumen) * blend + 1.5 * blend * (1 - blend)
        flesh[box] |= solid < 0
    return flesh


def _scan(distance: np.ndarray, flesh: np.ndarray, person: Person, rng: np.random.Generator) -> np.ndarray:
    """(I, J, K) int16 HU: materials by partial volume, then blur, then correlated noise."""
    from scipy import ndimage

    # Wall thickness is measured from the lumen outwards by a true distance transform: folds are double walls.
    depth = ndimage.distance_transform_edt(distance > 0, sampling=PITCH).astype(np.float32) - PITCH / 2
    depth = np.where(distance < 1.5, np.minimum(distance, depth + PITCH), depth)
    air = np.clip(0.5 - distance / PITCH, 0, 1)
    fat = np.where(flesh, 0, np.clip(0.5 + (depth - person.wall) / PITCH, 0, 1))
    shape = distance.shape
    coarse = rng.standard_normal([(n + 7) // 4 + 1 for n in shape])
    strands = ndimage.zoom(ndimage.gaussian_filter(coarse, 1.0), 4, order=1)[: shape[0], : shape[1], : shape[2]]
    hu = (WALL + (FAT - WALL + 55 * strands) * fat).astype(np.float32)
    hu += (AIR - hu) * air
    hu = ndimage.gaussian_filter(hu, BLUR / PITCH)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.6)
    hu += noise * (person.noise / noise.std())
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
