"""Vessels under a wall: shortest-path trees as capsules, found again through a spatial hash. Pure numpy and scipy.

Everything in the grid frame (mm along the grid's axes), deterministic in the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from endorender.render.medium.grid import Grid
from endorender.scene.mucosa import Mucosa

SPACING = 0.7  # mm between places on the wall that a vessel may take
MOST_PLACES = 400_000  # a wider spacing beyond it: 2000 cm² of wall
NEIGHBOURS = 10
SAME_SIDE = 0.3  # least cosine between the normals of neighbours: a vessel does not cut through a fold
WANDER = 1.3  # standard deviation of the log of a place's cost: the more, the more vessels run together
DIVE = (1.2, 3.0)  # a tree comes up from this deep (mm) around its root, within this distance (mm)
EDGE = 0.25  # a vessel's wall fades over this part of its radius,
LEAST_EDGE = 0.015  # and at least over this, mm
CELL = 0.8  # mm, edge of a cell of the hash


@dataclass(frozen=True)
class Trees:
    """Trees of vessels. start, end: (M, 3) mm. radius: (M, 2) mm at either end. area: cm² of wall."""

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    area: float


def grow(field: Grid, smooth: Grid, threshold: float, mucosa: Mucosa) -> Trees:
    """Vessels under the iso-surface of a field. field: HU. smooth: blurred HU, for normals."""
    rng = np.random.default_rng([mucosa.seed, 0x7E55E1])
    places, area = wall(field, smooth, threshold, rng)
    none = Trees(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 2)), area)
    leaves = rng.poisson(mucosa.vessels * area)
    if len(places) < 2 * NEIGHBOURS or leaves == 0:
        return none
    normals = smooth.normals(places)
    roots = rng.choice(len(places), max(1, round(area / mucosa.territory)), replace=False)
    parent, source, order = _shortest_paths(places, normals, roots, rng)
    fed = np.zeros(len(places))
    np.add.at(fed, rng.integers(0, len(places), leaves), 1.0)
    for n in order[::-1]:  # farthest first, so that a place is complete before it is added to its parent
        if parent[n] >= 0:
            fed[parent[n]] += fed[n]
    kept = np.flatnonzero((fed > 0) & (parent >= 0))
    if len(kept) == 0:
        return none
    points = _smoothed(places, parent, fed, kept)
    radius = radii(fed, mucosa)
    a, b = points[kept], points[parent[kept]]
    # A child leaves its parent with its own width: a thin branch does not flare.
    ra, rb = radius[kept], np.minimum(radius[parent[kept]], 1.25 * radius[kept])
    middle = _middles(points, parent, fed, kept)
    at = np.concatenate([a, middle, b])
    r = np.concatenate([ra, 0.5 * (ra + rb), rb])
    root = np.tile(places[source[kept]], (3, 1))
    dive = DIVE[0] * np.exp(-(((at - root) / DIVE[1]) ** 2).sum(1))
    at = _under(field, smooth, threshold, at, mucosa.depth + r + dive)
    a, middle, b = np.split(at, 3)
    half = np.stack([ra, 0.5 * (ra + rb), rb])
    return Trees(
        np.concatenate([a, middle]),
        np.concatenate([middle, b]),
        np.concatenate([half[:2].T, half[1:].T]),
        area,
    )


def radii(fed: np.ndarray, mucosa: Mucosa) -> np.ndarray:
    """Radius in mm of vessels that feed so many capillaries: r³ adds up (Murray 1926)."""
    return np.minimum(mucosa.capillary * np.cbrt(np.maximum(fed, 1.0)), mucosa.trunk)


def wall(field: Grid, smooth: Grid, threshold: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Random places (N, 3) about SPACING apart on the iso-surface, and its area in cm²."""
    found, area = [], 0.0
    tissue = field.values >= threshold
    for axis in range(3):
        one = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        two = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        crossed = tissue[one] != tissue[two]
        at = np.stack(np.unravel_index(np.flatnonzero(crossed), crossed.shape), 1)  # argwhere, three times as fast
        low = field.values[one][tuple(at.T)].astype(float)
        high = field.values[two][tuple(at.T)].astype(float)
        points = at.astype(float)
        points[:, axis] += (threshold - low) / (high - low)
        points *= field.spacing
        # Lines along an axis meet a surface |n| times per area: weighed by |n| again, the axes add up to n² = 1.
        face = float(np.prod(field.spacing)) / field.spacing[axis]
        area += face * float(np.abs(smooth.normals(points)[:, axis]).sum())
        found.append(points)
    points = np.concatenate(found)
    pitch = max(SPACING, float(np.sqrt(area / MOST_PLACES)))
    points = points[rng.permutation(len(points))]
    _, first = np.unique(np.floor(points / pitch).astype(np.int64) @ [1, 1 << 20, 1 << 40], return_index=True)
    return points[first], area / 100


def _shortest_paths(
    places: np.ndarray, normals: np.ndarray, roots: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parent of every place (-1: a root or out of reach), its root, and the places by distance from their root."""
    n = len(places)
    distance, near = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, n))
    one = np.repeat(np.arange(n), near.shape[1] - 1)
    two, length = near[:, 1:].ravel(), distance[:, 1:].ravel()
    keep = ((normals[one] * normals[two]).sum(1) > SAME_SIDE) & (length < 4 * SPACING)
    one, two, length = one[keep], two[keep], length[keep]
    cost = np.exp(WANDER * rng.standard_normal(n))
    weight = (length + 1e-6) * 0.5 * (cost[one] + cost[two])
    graph = csr_matrix((weight, (one, two)), (n, n))
    far, parent, source = dijkstra(graph, directed=False, indices=roots, min_only=True, return_predecessors=True)
    order = np.argsort(far, kind="stable")
    return np.where(parent >= 0, parent, -1), source, order[np.isfinite(far[order])]


def _smoothed(places: np.ndarray, parent: np.ndarray, fed: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Places drawn towards their neighbours in the tree, thick ones pulling more: trunks run on, branches join."""
    points = places.copy()
    up, weight = parent[kept], fed[kept][:, None]
    total = np.zeros(len(points))
    np.add.at(total, kept, weight[:, 0])
    np.add.at(total, up, weight[:, 0])
    moved = np.flatnonzero(total > 0)
    for _ in range(8):
        pull = np.zeros_like(points)
        np.add.at(pull, kept, weight * points[up])
        np.add.at(pull, up, weight * points[kept])
        points[moved] = 0.5 * points[moved] + 0.5 * pull[moved] / total[moved, None]
    return points


def _middles(points: np.ndarray, parent: np.ndarray, fed: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(M, 3) the middle of each edge on the four-point curve (Dyn, Levin, Gregory 1987) through its neighbours."""
    child = np.full(len(points), -1)
    for n in kept[np.argsort(fed[kept], kind="stable")]:  # the thickest child goes on
        child[parent[n]] = n
    up = parent[kept]
    above = np.where(parent[up] >= 0, parent[up], up)
    below = np.where(child[kept] >= 0, child[kept], kept)
    return np.asarray((9 * (points[kept] + points[up]) - points[above] - points[below]) / 16)


def _under(field: Grid, smooth: Grid, threshold: float, at: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Points moved onto the iso-surface, then below it."""
    normal = smooth.normals(at)
    step = 0.25 * float(field.spacing.min())
    for _ in range(3):
        here = field.at(at)
        slope = (field.at(at - step * normal) - field.at(at + step * normal)) / (2 * step)
        move = np.clip((here - threshold) / np.maximum(slope, 50.0), -2 * step, 2 * step)
        at = at + move[:, None] * normal
    return np.asarray(at - depth[:, None] * normal)


def hashed(trees: Trees) -> tuple[np.ndarray, np.ndarray]:
    """Capsules (M, 8) float32 (start, radius, end, radius) and their hash (H + 1 + N,) int32.

    Capsules near a cell with hash h are numbered by hash[hash[h] : hash[h + 1]]. Cells that share a hash share a
    list; the test of distance tells them apart.
    """
    a, b, r = trees.start, trees.end, trees.radius
    capsules = np.concatenate([a, r[:, :1], b, r[:, 1:]], 1).astype(np.float32)
    size = 1 << max(4, int(np.ceil(np.log2(max(1, 2 * len(a))))))
    reach = reach_of(r.max(1, initial=0.0))[:, None] if len(a) else np.zeros((0, 1))
    low = np.floor((np.minimum(a, b) - reach) / CELL).astype(np.int64)
    high = np.floor((np.maximum(a, b) + reach) / CELL).astype(np.int64)
    span = (high - low).max(0, initial=0)
    keys, ids = [], []
    for offset in np.ndindex(*(span + 1)):
        cell = low + offset
        centre = (cell + 0.5) * CELL
        along = b - a
        t = ((centre - a) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
        gap = np.linalg.norm(centre - a - np.clip(t, 0, 1)[:, None] * along, axis=1)
        inside = (cell <= high).all(1) & (gap < reach[:, 0] + 0.8661 * CELL)
        keys.append(bucket(cell[inside], size))
        ids.append(np.flatnonzero(inside))
    key, number = np.concatenate(keys), np.concatenate(ids)
    number = number[np.argsort(key, kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=size))]) + size + 1
    return capsules, np.concatenate([offsets, number]).astype(np.int32)


def reach_of(radius: np.ndarray) -> np.ndarray:
    """Distance from its axis at which a vessel has faded away."""
    return np.asarray(radius * (1 + EDGE) + LEAST_EDGE)


def bucket(cell: np.ndarray, size: int) -> np.ndarray:
    """Hash of cells (N, 3) (Teschner et al. 2003), as the device computes it."""
    c = cell.astype(np.int64)
    mixed = (c[:, 0] * 73856093) ^ (c[:, 1] * 19349663) ^ (c[:, 2] * 83492791)
    return np.asarray(mixed & (size - 1))
