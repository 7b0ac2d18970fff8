"""One view packed for kernels: camera, tissue and lights as flat float32 arrays in the grid frame."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import Any

import numpy as np

from endorender.errors import UserError
from endorender.render.medium import Prepared
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.scene import Scene
from endorender.scene.tissue import TABLE_HU

# Throughput below which a path plays roulette: the best of those tried on phantom views and on reference scenes.
# Shared by all looks of a view. It changes noise and time, never the mean.
ROULETTE = {"tissue": 0.8, "grid": 0.35, "uniform": 0.35}
BLOOD, VESSEL = len(TABLE_HU), len(TABLE_HU) + 1  # rows of the packed table behind those of HU


class V(IntEnum):
    """Where each value begins in the packed view. The camera's parameters follow at SIZE."""

    ORIGIN = 0
    ROTATION = 3
    MAP = 12
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
    SIMILAR_AFTER = 46  # behind the phase's: five floats suffice for every function
    SIZE = 47


class E(IntEnum):
    """Columns of a packed emitter."""

    KIND = 0
    POSITION = 1
    AXIS = 4
    U = 7  # from the centre to the rim
    V = 10  # likewise, across
    PER_AREA = 13
    HOLE = 14  # squared share of the radius
    MU = 15
    LAMBERT = 16
    CONE = 17  # cosine of the outer angle
    SHARPNESS = 18  # 1 / (cosine of the inner angle − that of the outer one)
    COLOUR = 19


def pack_view(scene: Scene, prepared: Prepared, roulette: float | None = None) -> np.ndarray:
    """(SIZE + PARAMETERS,) float32, laid out as `V` says."""
    out = np.zeros(V.SIZE + PARAMETERS, np.float32)
    m = np.asarray(scene.world_from_camera, float)
    tissue = scene.tissue
    out[V.ORIGIN : V.ROTATION] = prepared.to_grid(m[:3, 3])
    out[V.ROTATION : V.MAP] = (prepared.rotation.T @ m[:3, :3]).ravel()
    out[V.MAP : V.FILM] = (map_from_world(scene) @ prepared.rotation).ravel()
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
    never = scene.max_scatterings + 1
    out[V.SIMILAR_AFTER] = never if tissue.similarity_after is None else tissue.similarity_after
    phase = scene.phase.parameters()
    out[V.PHASE : V.PHASE + len(phase)] = phase
    out[V.SIZE :] = scene.camera.parameters()
    return out


def pack_table(scenes: list[Scene]) -> np.ndarray:
    """(N + 2, 1 + P + 3 K): sigma_t and the P floats of the phase of the first scene, then each scene's albedo.

    One column more, the mean cosine, where the similarity relation is asked for, and three where extinction differs
    between channels: each one's share of sigma_t. Below the N rows along HU one with the albedos of blood-rich mucosa,
    one with those of vessels.
    """
    tables = [scene.tissue.table() for scene in scenes]
    tints = [] if scenes[0].tissue.tint is None else [scenes[0].tissue.tints()]
    forward = [] if scenes[0].tissue.similarity_after is None else [scenes[0].tissue.forward()[:, None]]
    along_hu = np.concatenate([tables[0][:, :-3], *(t[:, -3:] for t in tables), *forward, *tints], 1)
    rows = np.zeros((len(along_hu) + 2, along_hu.shape[1]), np.float32)
    rows[:BLOOD] = along_hu
    colours = slice(tables[0].shape[1] - 3, tables[0].shape[1] - 3 + 3 * len(scenes))
    rows[BLOOD, colours] = np.concatenate([s.tissue.blood_albedo for s in scenes])
    rows[VESSEL, colours] = np.concatenate([s.tissue.vessel_albedo for s in scenes])
    return rows


def pack_emitters(scenes: list[Scene], prepared: Prepared) -> np.ndarray:
    """(N, E.COLOUR + 3 K) float32, laid out as `E` says, in the grid frame."""
    rows = []
    for index, light in enumerate(scenes[0].lights):
        if not hasattr(light, "emitters"):
            continue
        per_scene = [s.lights[index].emitters(s.world_from_camera) for s in scenes]
        e = per_scene[0]
        row = np.zeros((len(e.position), E.COLOUR + 3 * len(scenes)))
        row[:, E.KIND] = e.kind
        row[:, E.POSITION : E.AXIS] = prepared.to_grid(e.position)
        row[:, E.AXIS : E.U] = e.axis @ prepared.rotation
        if e.half is not None:
            row[:, E.U : E.PER_AREA] = (e.half @ prepared.rotation).reshape(-1, 6)
            row[:, E.PER_AREA] = 1 / e.area
        row[:, E.HOLE] = e.hole**2
        row[:, E.MU] = e.mu
        row[:, E.LAMBERT] = e.lambert
        row[:, E.CONE] = e.cone[0]
        row[:, E.SHARPNESS] = 1 / max(e.cone[1] - e.cone[0], 1e-6)
        row[:, E.COLOUR :] = np.concatenate([s.intensity for s in per_scene], 1)
        rows.append(row)
    return np.concatenate(rows or [np.zeros((1, E.COLOUR + 3 * len(scenes)))]).astype(np.float32)


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
