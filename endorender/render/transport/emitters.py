"""The emitters of a scene's lights, packed for kernels in the grid frame."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from endorender.render.medium.prepared import Prepared
from endorender.scene.light import Kind, Profile, Shape, shapes
from endorender.scene.scene import Scene


class E(IntEnum):
    """Columns of a packed emitter."""

    KIND = 0  # of an area from AREA on, see `numbered`
    POSITION = 1
    AXIS = 4
    U = 7  # from the centre to the rim
    V = 10  # likewise, across
    PER_AREA = 13
    HOLE = 14  # squared
    MU = 15
    LAMBERT = 16
    CONE = 17  # cosine of the outer angle
    SHARPNESS = 18  # 1 / (cosine of the inner angle − that of the outer one)
    COLOUR = 19  # of every look; where the scene has profiles, the number of the emitter's own and its table follow


def numbered() -> tuple[tuple[int, type[Shape]], ...]:
    """What stands under KIND for each registered shape."""
    return tuple((int(Kind.AREA) + n, shapes[name]) for n, name in enumerate(shapes))


def outlines(scene: Scene) -> tuple[tuple[int, type[Shape]], ...]:
    """Those of `numbered` that a scene's lights have."""
    made = [light.emitters(scene.world_from_camera).shape for light in scene.lights if hasattr(light, "emitters")]
    return tuple(one for one in numbered() if one[1] in made)


def profiles(scene: Scene) -> tuple[type[Profile], ...]:
    """Classes that a scene's lights bring to say how they fall off; the first is number 1."""
    made = [light.emitters(scene.world_from_camera).profile for light in scene.lights if hasattr(light, "emitters")]
    return tuple(dict.fromkeys(type(one) for one in made if one is not None))


def pack_emitters(scenes: list[Scene], prepared: Prepared) -> np.ndarray:
    """(N, E.COLOUR + 3 K + ...) float32, laid out as `E` says, in the grid frame."""
    rows, kinds = [], {shape: kind for kind, shape in numbered()}
    behind, own = E.COLOUR + 3 * len(scenes), profiles(scenes[0])
    tables = []
    for index, light in enumerate(scenes[0].lights):
        if not hasattr(light, "emitters"):
            continue
        per_scene = [s.lights[index].emitters(s.world_from_camera) for s in scenes]
        e = per_scene[0]
        row = np.zeros((len(e.position), E.COLOUR + 3 * len(scenes)))
        row[:, E.KIND] = e.kind if e.shape is None else kinds[e.shape]
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
        table = np.zeros(0) if e.profile is None else np.append(1 + own.index(type(e.profile)), e.profile.table())
        tables += [table] * len(row)
    out = np.zeros((max(len(tables), 1), behind + max((len(t) for t in tables), default=0)), np.float32)
    for n, (row, table) in enumerate(zip((one for many in rows for one in many), tables)):
        out[n, :behind], out[n, behind : behind + len(table)] = row, table
    return out
