"""One view packed for kernels: camera, tissue and lights as flat float32 arrays in the grid frame."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from endorender.render.medium import Prepared
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.scene import Scene

# Throughput below which a path plays roulette: the best of those tried on phantom views and on reference scenes.
# Shared by all looks of a view. It changes noise and time, never the mean.
ROULETTE = {"tissue": 0.8, "grid": 0.35, "uniform": 0.35}


class V(IntEnum):
    """Where each value begins in the packed view. The camera's parameters follow at SIZE."""

    ORIGIN = 0
    ROTATION = 3
    WORLD = 12
    FILM = 21
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
    SIZE = 46  # five floats suffice for every phase function


def pack_view(scene: Scene, prepared: Prepared, roulette: float | None = None) -> np.ndarray:
    """(SIZE + PARAMETERS,) float32, laid out as `V` says."""
    out = np.zeros(V.SIZE + PARAMETERS, np.float32)
    m = np.asarray(scene.world_from_camera, float)
    tissue = scene.tissue
    out[V.ORIGIN : V.ROTATION] = prepared.to_grid(m[:3, 3])
    out[V.ROTATION : V.WORLD] = (prepared.rotation.T @ m[:3, :3]).ravel()
    out[V.WORLD : V.FILM] = prepared.rotation.ravel()
    out[V.FILM : V.FILM + FILM] = scene.camera.film()
    out[V.INVERSE : V.WIDTH] = 1 / prepared.spacing
    out[V.WIDTH] = scene.camera.width
    out[V.THRESHOLD] = scene.threshold
    out[V.WALL_HU] = tissue.wall_hu
    out[V.IOR] = tissue.ior
    out[V.ROUGHNESS] = tissue.roughness
    out[V.SPECULAR] = tissue.specular
    out[V.HYBRID] = 25 * tissue.surface_weight**3 / tissue.gradient_scale
    top = max(tissue.sigma_t) if prepared.kind == "tissue" else prepared.high.max()
    out[V.SIGMA_TOP] = max(top, 1e-9)
    out[V.ROULETTE] = ROULETTE[prepared.kind] if roulette is None else roulette
    phase = scene.phase.parameters()
    out[V.PHASE : V.PHASE + len(phase)] = phase
    out[V.SIZE :] = scene.camera.parameters()
    return out


def pack_table(scenes: list[Scene]) -> np.ndarray:
    """(N, 1 + P + 3 K): sigma_t and the P floats of the phase of the first scene, then each scene's albedo.

    Three columns more where extinction differs between channels: each one's share of sigma_t.
    """
    tables = [scene.tissue.table() for scene in scenes]
    tints = [] if scenes[0].tissue.tint is None else [scenes[0].tissue.tints()]
    return np.concatenate([tables[0][:, :-3], *(t[:, -3:] for t in tables), *tints], 1)


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
