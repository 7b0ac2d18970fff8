"""The environment, packed for kernels: radiance on a grid of directions, and how those are drawn."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from endorender.errors import UserError
from endorender.scene.scene import Scene


def map_from_world(scene: Scene) -> np.ndarray:
    """(3, 3) rotation into the frame of the scene's environment map."""
    turned = [x.map_from_world(scene.world_from_camera) for x in scene.lights if hasattr(x, "map_from_world")]
    return turned[0] if turned else np.eye(3)


def pack_environment(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray] | None:
    """Nodes (H, W + 1, 3 K + 2) and alias table (cells, 2) of the environment; None without one.

    A node holds the radiance of each scene, the density per steradian with which directions are drawn in the cell
    between it and the next row and column, and the cosine of its polar angle: a look-up finds all of it side by side.
    The last column is the first one again. Within a cell directions are drawn evenly, cells by the light in them.
    """
    skies = tuple(tuple(x for x in s.lights if hasattr(x, "environment")) for s in scenes)
    return _nodes(skies) if skies[0] else None


@functools.lru_cache(maxsize=4)  # a map of a million cells takes a second, and many frames share it
def _nodes(skies: tuple[tuple[Any, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
    maps = [[x.environment() for x in sky] for sky in skies]
    if any(sum(hasattr(x, "map_from_world") for x in sky) > 1 for sky in skies):
        raise UserError("a scene takes one environment map; constant light may stand beside it", "INVALID_VALUE")
    h, w = (max(m.shape[a] for per_scene in maps for m in per_scene) for a in (0, 1))
    h = max(h, 2)
    radiance = np.concatenate([sum(np.broadcast_to(m, (h, w, 3)) for m in sky) for sky in maps], -1).astype(float)
    radiance = np.concatenate([radiance, radiance[:, :1]], 1)
    theta = np.linspace(0, np.pi, h)
    cos, sin, step = np.cos(theta), np.sin(theta), np.pi / (h - 1)
    # Light in a cell, exactly: what is bilinear in θ and φ integrates against sin θ to its corners' means along φ,
    # times these two along θ.
    upper = cos[:-1] - np.diff(sin) / step
    lower = np.diff(sin) / step - cos[1:]
    middle = 0.5 * (radiance[:, :-1] + radiance[:, 1:]).mean(-1)
    power = middle[:-1] * upper[:, None] + middle[1:] * lower[:, None]
    total = power.sum()
    p = power / total if total > 0 else np.full(power.shape, 1 / power.size)
    nodes = np.zeros((h, w + 1, radiance.shape[-1] + 2), np.float32)
    nodes[..., :-2] = radiance
    nodes[:-1, :-1, -2] = p / ((cos[:-1] - cos[1:]) * 2 * np.pi / w)[:, None]
    nodes[..., -1] = cos[:, None]
    return nodes, alias_table(p.ravel())


def alias_table(p: np.ndarray) -> np.ndarray:
    """(N, 2) float32 alias table (Vose 1991) of probabilities: chance to keep an entry, and its other."""
    n = len(p)
    scaled = (p * n).tolist()
    keep, other = [1.0] * n, list(range(n))
    small = [i for i in range(n) if scaled[i] < 1]
    large = [i for i in range(n) if scaled[i] >= 1]
    while small and large:
        s, b = small.pop(), large[-1]
        keep[s], other[s] = scaled[s], b
        scaled[b] -= 1 - scaled[s]
        if scaled[b] < 1:
            small.append(large.pop())
    return np.stack([keep, other], 1).astype(np.float32)
