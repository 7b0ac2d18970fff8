"""Procedural patients: a family of colons as CT volumes. Figures and their sources: docs/anatomy.md."""

from __future__ import annotations

import numpy as np

from endorender.ct.phantoms.people import Person, draw
from endorender.ct.phantoms.polyps import add
from endorender.ct.phantoms.walls import ANGLES, STEP, Frame, centreline, table
from endorender.ct.volume import Volume

PITCH = 0.8  # mm
AIR, WALL, FAT = -1000.0, 35.0, -100.0  # HU


def person(seed: int) -> Person:
    """Whose colon `colon(seed)` is."""
    return draw(np.random.default_rng([seed, 0xC0107]))


def colon(seed: int) -> Volume:
    """A colon of its own: closed air-filled lumen, wall, fat, scanner blur and noise.

    seed: any whole number >= 0; the same seed gives the same bytes, two seeds two people.
    Returns int16 HU on a 0.8 mm grid, RAS axes, origin in the middle of the volume.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    rng = np.random.default_rng([seed, 0xC0107])
    someone = draw(rng)
    frame = centreline(someone, rng)
    wall = table(someone, frame, rng)
    reach = float(wall.max()) + someone.wall + 3.0
    low = frame.points.min(axis=0) - reach
    shape = np.ceil((frame.points.max(axis=0) + reach - low) / PITCH).astype(int) + 1
    distance = _signed_distance(shape, low, frame, wall)
    flesh = np.zeros(distance.shape, bool)
    for polyp in someone.polyps:
        add(polyp, distance, flesh, low, PITCH, frame, wall, rng)
    near = np.argwhere(distance < someone.wall + 3.0)
    box = tuple(slice(a, b + 1) for a, b in zip(near.min(axis=0), near.max(axis=0)))
    hu = _scan(distance[box], flesh[box], someone, rng)
    affine = np.diag([PITCH, PITCH, PITCH, 1.0])
    affine[:3, 3] = -PITCH * (np.array(hu.shape) - 1) / 2
    return Volume(hu, affine, (), {"source": "phantom", "kind": "colon", "seed": seed})


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
    hu = ndimage.gaussian_filter(hu, person.blur / PITCH)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.6)
    hu += noise * (person.noise / noise.std())
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
