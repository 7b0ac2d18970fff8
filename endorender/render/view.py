"""One view packed for kernels: camera, tissue and lights as flat float32 arrays in the grid frame."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from endorender.render.medium import Prepared
from endorender.scene.camera import PARAMETERS
from endorender.scene.scene import Scene
from endorender.scene.tissue import TABLE_HU

# Throughput below which a path plays roulette: the best of those tried on phantom views and on reference scenes.
# Shared by all looks of a view. It changes noise and time, never the mean.
ROULETTE = {"tissue": 0.8, "grid": 0.35}


BLOOD, VESSEL = len(TABLE_HU), len(TABLE_HU) + 1  # rows of the packed table behind those of HU


class V(IntEnum):
    """Where each value begins in the packed view."""

    ORIGIN = 0
    ROTATION = 3
    WORLD = 12
    CAMERA = 21
    INVERSE = 29
    WIDTH = 32
    THRESHOLD = 33
    WALL_HU = 34
    IOR = 35
    ROUGHNESS = 36
    SPECULAR = 37
    HYBRID = 38
    SIGMA_TOP = 39
    ROULETTE = 40
    PHASE = 41
    SIZE = 42


def pack_view(scene: Scene, prepared: Prepared, roulette: float | None = None) -> np.ndarray:
    """(42,) float32, laid out as `V` says."""
    out = np.zeros(V.SIZE, np.float32)
    m = np.asarray(scene.world_from_camera, float)
    tissue = scene.tissue
    out[V.ORIGIN : V.ROTATION] = prepared.to_grid(m[:3, 3])
    out[V.ROTATION : V.WORLD] = (prepared.rotation.T @ m[:3, :3]).ravel()
    out[V.WORLD : V.CAMERA] = prepared.rotation.ravel()
    out[V.CAMERA : V.CAMERA + PARAMETERS] = scene.camera.parameters()
    out[V.INVERSE : V.WIDTH] = 1 / prepared.spacing
    out[V.WIDTH] = scene.camera.width
    out[V.THRESHOLD] = scene.threshold
    out[V.WALL_HU] = tissue.wall_hu
    out[V.IOR] = tissue.ior
    out[V.ROUGHNESS] = tissue.roughness
    out[V.SPECULAR] = tissue.specular
    out[V.HYBRID] = 25 * tissue.surface_weight**3 / tissue.gradient_scale
    out[V.SIGMA_TOP] = max(max(tissue.sigma_t), 1e-9)
    out[V.ROULETTE] = ROULETTE[prepared.kind] if roulette is None else roulette
    out[V.PHASE] = scene.phase.parameter
    return out


def pack_table(scenes: list[Scene]) -> np.ndarray:
    """(N + 2, 2 + 3 K): sigma_t and phase parameter of the first scene, then each scene's albedo.

    Below the N rows along HU one with the albedos of blood-rich mucosa, one with those of vessels.
    """
    tables = [scene.tissue.table() for scene in scenes]
    rows = np.concatenate([tables[0][:, :2], *(t[:, 2:] for t in tables)], 1)
    blood = np.concatenate([[0, 0], *(s.tissue.blood_albedo for s in scenes)])
    vessel = np.concatenate([[0, 0], *(s.tissue.vessel_albedo for s in scenes)])
    return np.concatenate([rows, [blood, vessel]]).astype(np.float32)


def pack_emitters(scenes: list[Scene], prepared: Prepared) -> np.ndarray:
    """(N, 8 + 3 K): position, axis (grid frame), radius, mu, then each scene's intensity."""
    rows = []
    for index in range(len(scenes[0].lights)):
        if not hasattr(scenes[0].lights[index], "emitters"):
            continue
        per_scene = [s.lights[index].emitters(s.world_from_camera) for s in scenes]
        e = per_scene[0]
        columns = [prepared.to_grid(e.position), e.axis @ prepared.rotation, e.radius[:, None], e.mu[:, None]]
        rows.append(np.concatenate(columns + [s.intensity for s in per_scene], 1))
    return np.concatenate(rows).astype(np.float32) if rows else np.zeros((1, 8 + 3 * len(scenes)), np.float32)


def pack_environment(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray] | None:
    """Map (H, W, 3 K) and alias table (H W, 3): threshold, other texel, probability. None without one."""
    maps = [[x.environment() for x in s.lights if hasattr(x, "environment")] for s in scenes]
    if not maps[0]:
        return None
    h, w = (max(m.shape[a] for m in maps[0]) for a in (0, 1))
    summed = [sum(_spread(m, h, w) for m in per_scene) for per_scene in maps]
    env = np.concatenate(summed, -1).astype(np.float32)
    edges = np.cos(np.pi * np.arange(h + 1) / h)
    power = env.mean(-1).astype(float) * (edges[:-1] - edges[1:])[:, None]
    return env, alias_table(power.ravel())


def _spread(m: np.ndarray, h: int, w: int) -> np.ndarray:
    """A map repeated onto a finer grid of texels; exact where the sizes divide."""
    rows = np.arange(h) * m.shape[0] // h
    cols = np.arange(w) * m.shape[1] // w
    return m[rows][:, cols]


def alias_table(weights: np.ndarray) -> np.ndarray:
    """(N, 3) float32 alias table (Vose 1991): keep-probability, alias, probability."""
    n = len(weights)
    total = weights.sum()
    p = weights / total if total > 0 else np.full(n, 1 / n)
    scaled = p * n
    out = np.stack([np.ones(n), np.arange(n), p], 1)
    small = [i for i in range(n) if scaled[i] < 1]
    large = [i for i in range(n) if scaled[i] >= 1]
    while small and large:
        s, b = small.pop(), large[-1]
        out[s, :2] = scaled[s], b
        scaled[b] -= 1 - scaled[s]
        if scaled[b] < 1:
            small.append(large.pop())
    return out.astype(np.float32)
