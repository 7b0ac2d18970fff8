"""One view packed for kernels: camera, tissue and lights as flat float32 arrays in the grid frame."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from endorender.errors import UserError
from endorender.render.medium import Prepared
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import TABLE_HU, Tissue

# Throughput below which a path plays roulette: the best of those tried on phantom views and on reference scenes.
# Shared by all looks of a view. It changes noise and time, never the mean.
ROULETTE = {"tissue": 0.8, "grid": 0.35, "uniform": 0.35}
# Rows of the packed table behind those of HU: colours of the mucosa layer, and what a tissue has once (`Own`).
BLOOD, VESSEL, OWN, ROWS = range(len(TABLE_HU), len(TABLE_HU) + 4)


class Own(IntEnum):
    """Columns of row OWN. Without labels kernels take all but the last from the view."""

    WALL_HU = 0
    HYBRID = 1
    SIGMA_TOP = 2
    PER_SLOPE = 3  # rows of the column of opacities to a HU/mm


class Traits(NamedTuple):
    """What a scene asks of the kernels; what is off costs nothing.

    chromatic: extinction differs between channels. similar: long paths go on by the similarity relation. graded:
    extinction depends on the gradient. coated: the coat varies. labelled: tissues by label. layered: the mucosa layer.
    refracting: light bends at the wall (`boundary`).
    """

    chromatic: bool = False
    similar: bool = False
    graded: bool = False
    coated: bool = False
    labelled: bool = False
    layered: bool = False
    refracting: bool = False

    @classmethod
    def of(cls, scene: Scene) -> Traits:
        """What this scene asks for."""
        if isinstance(scene.medium, GridMedium):
            return cls()
        labelled = scene.labelling is not None
        return cls(
            chromatic=any(t.tint is not None for t in scene.tissues),
            similar=scene.tissue.similarity_after is not None,
            graded=any(t.gradient is not None for t in scene.tissues),
            coated=labelled or bool(scene.tissue.surface_parameters),
            labelled=labelled,
            layered=scene.mucosa is not None,
            refracting=scene.boundary == "refracting",
        )

    def back(self, part: str) -> int:
        """How far from the end of the packed table's columns a part begins."""
        widths = {
            "tint": 3 * self.chromatic,
            "opacity": self.graded,
            "coat": 3 * self.coated,
            "forward": 2 * self.similar,
        }
        names = list(widths)
        return sum(int(widths[name]) for name in names[: names.index(part) + 1])


PLAIN = Traits()


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
    out[V.HYBRID], out[V.SIGMA_TOP] = own(tissue)[[Own.HYBRID, Own.SIGMA_TOP]]
    out[V.ROULETTE] = ROULETTE[prepared.kind] if roulette is None else roulette
    never = scene.max_scatterings + 1
    out[V.SIMILAR_AFTER] = never if tissue.similarity_after is None else tissue.similarity_after
    phase = scene.phase.parameters()
    out[V.PHASE : V.PHASE + len(phase)] = phase
    out[V.SIZE :] = scene.camera.parameters()
    return out


def own(tissue: Tissue) -> np.ndarray:
    """What a tissue has once, as `Own` says; float32."""
    hybrid, top = 25 * tissue.surface_weight**3 / tissue.gradient_scale, max(*tissue.sigma_t, 1e-9)
    return np.array([tissue.wall_hu, hybrid, top, (len(TABLE_HU) - 1) / tissue.steepest()], np.float32)


def pack_table(scenes: list[Scene]) -> np.ndarray:
    """(B ROWS, 1 + P + 3 K + ...): a block of rows for the scenes' tissue, then one for each label's.

    Columns: sigma_t and the P floats of the phase, each scene's albedo, then what `Traits` ask for: the mean cosine and
    the least albedo of all channels; roughness, specular weight and IOR of the coat; the factor on sigma_t along the
    gradient, whose rows run from 0 to the tissue's steepest; each channel's share of sigma_t. Below the rows along HU
    those of BLOOD, VESSEL and OWN.
    """
    traits = Traits.of(scenes[0])
    every = zip(*(s.tissues for s in scenes))
    return np.concatenate([_block(list(tissues), traits, scenes[0].surface) for tissues in every])


def _block(tissues: list[Tissue], traits: Traits, surface: str) -> np.ndarray:
    """Rows of one tissue, which the looks have in different colours."""
    tables, first = [t.table() for t in tissues], tissues[0]
    parts = [tables[0][:, :-3], *(t[:, -3:] for t in tables)]
    parts += [first.forward()[:, None], _least_albedo(tissues, traits, surface)[:, None]] if traits.similar else []
    parts += [first.coats()] if traits.coated else []
    parts += [first.opacities(np.linspace(0, first.steepest(), len(TABLE_HU)))[:, None]] if traits.graded else []
    parts += [first.tints()] if traits.chromatic else []
    rows = np.zeros((ROWS, sum(p.shape[1] for p in parts)), np.float32)
    rows[:BLOOD] = np.concatenate(parts, 1)
    colours = slice(tables[0].shape[1] - 3, tables[0].shape[1] - 3 + 3 * len(tissues))
    rows[BLOOD, colours] = np.concatenate([t.blood_albedo for t in tissues])
    rows[VESSEL, colours] = np.concatenate([t.vessel_albedo for t in tissues])
    rows[OWN, : len(Own)] = own(first)
    return rows


def _least_albedo(tissues: list[Tissue], traits: Traits, surface: str) -> np.ndarray:
    """(1025,) least albedo of all channels and looks, below 1; 0 where a collision may be with a surface (hybrid)."""
    if surface == "hybrid":
        return np.zeros(len(TABLE_HU), np.float32)
    darkest = np.min([t.table()[:, -3:].min(1) for t in tissues], 0)
    if traits.layered:
        darkest = np.minimum(darkest, min(min(*t.blood_albedo, *t.vessel_albedo) for t in tissues))
    return np.asarray(np.minimum(darkest, 0.999), np.float32)


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
