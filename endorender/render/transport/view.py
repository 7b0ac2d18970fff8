"""One view packed for kernels: camera, tissue and modes as one flat float32 array in the grid frame."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from endorender.render.medium.prepared import Prepared
from endorender.render.medium.table import Own, own
from endorender.render.transport.environment import map_from_world
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.scene import Scene

# Throughput below which a path plays roulette: the best of those tried on phantom views and on reference scenes.
# Shared by all looks of a view. It changes noise and time, never the mean.
ROULETTE = {"tissue": 0.8, "grid": 0.35, "uniform": 0.35}


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
