"""One view for kernels: camera, tissue and modes as one flat float32 array in the grid frame, and that unpacked."""

from enum import IntEnum

import numpy as np

from endorender.engine import ti
from endorender.render.medium.prepared import Prepared
from endorender.render.medium.table import Own, own
from endorender.render.transport.environment import map_from_world
from endorender.scene.camera import FILM, PARAMETERS
from endorender.scene.phase import MOST_FLOATS
from endorender.scene.scene import Scene

vec3, mat3 = ti.math.vec3, ti.math.mat3

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
    MAX_SCATTERINGS = 47
    SIZE = 48


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
    out[V.MAX_SCATTERINGS] = scene.max_scatterings  # below 2²⁴, and so exact
    never = scene.max_scatterings + 1
    out[V.SIMILAR_AFTER] = never if tissue.similarity_after is None else tissue.similarity_after
    phase = scene.phase.parameters()
    out[V.PHASE : V.PHASE + len(phase)] = phase
    out[V.SIZE :] = scene.camera.parameters()
    return out


# Widths are said: `float` would be that of whoever started the engine when this file is read.
View = ti.types.struct(
    lens=vec3,  # camera position, mm
    turn=mat3,  # grid_from_camera
    to_map=mat3,  # of the environment, from grid
    film=ti.types.vector(FILM, ti.f32),
    optics=ti.types.vector(PARAMETERS, ti.f32),
    inv=vec3,  # 1 / spacing
    width=ti.i32,
    threshold=ti.f32,
    wall_hu=ti.f32,
    ior=ti.f32,
    alpha=ti.f32,
    specular=ti.f32,
    hybrid=ti.f32,
    sigma_top=ti.f32,
    roulette=ti.f32,
    similar_after=ti.i32,
    max_scatterings=ti.i32,
    phase=ti.types.vector(MOST_FLOATS, ti.f32),  # of a GridMedium
    nudge=ti.f32,  # mm past an event: a thousandth of a voxel
)


@ti.func
def unpack(view: ti.template()):
    """What `pack_view` made, by names."""
    q = View()
    q.lens = vec3(view[V.ORIGIN], view[V.ORIGIN + 1], view[V.ORIGIN + 2])
    q.turn = ti.Matrix([[view[V.ROTATION + 3 * r + c] for c in range(3)] for r in range(3)])
    q.to_map = ti.Matrix([[view[V.MAP + 3 * r + c] for c in range(3)] for r in range(3)])
    q.film = ti.Vector([view[V.FILM + c] for c in range(FILM)])
    q.optics = ti.Vector([view[V.SIZE + c] for c in range(PARAMETERS)])
    q.inv = vec3(view[V.INVERSE], view[V.INVERSE + 1], view[V.INVERSE + 2])
    q.width = ti.cast(view[V.WIDTH], ti.i32)
    q.threshold, q.wall_hu = view[V.THRESHOLD], view[V.WALL_HU]
    q.ior, q.alpha, q.specular = view[V.IOR], view[V.ROUGHNESS], view[V.SPECULAR]
    q.hybrid, q.sigma_top = view[V.HYBRID], view[V.SIGMA_TOP]
    q.roulette = view[V.ROULETTE]
    q.similar_after = ti.cast(view[V.SIMILAR_AFTER], ti.i32)
    q.max_scatterings = ti.cast(view[V.MAX_SCATTERINGS], ti.i32)
    q.phase = ti.Vector([view[V.PHASE + c] for c in range(MOST_FLOATS)])
    q.nudge = 1e-3 / ti.max(q.inv.x, q.inv.y, q.inv.z)
    return q
