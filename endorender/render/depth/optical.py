"""Depths that depend on how dense the tissue is: where half of the light has collided, and where it does on average.

Both follow the ray through a pixel's centre by quadrature, without noise. What counts is extinction alone: the coat
of the wall and the albedo do not enter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.ct.volume import Volume
from endorender.engine import ti
from endorender.errors import UserError
from endorender.render.depth.exact import Geometry, camera_in_grid, geometry
from endorender.render.device import backend, launches
from endorender.render.device.cache import kernels, per_object
from endorender.render.medium.field import Medium
from endorender.render.medium.labels import blocks, held_blocks
from endorender.render.medium.majorants import extinction_range
from endorender.render.medium.prepared import CELL, prepare
from endorender.render.medium.table import pack_table
from endorender.render.medium.traits import Traits
from endorender.render.transport import tracking
from endorender.scene.scene import Labelling, Scene
from endorender.scene.tissue import Tissue

OPTICAL = ("median", "expected")
EMPTY, SOLID, MIXED = 0, 1, 2  # cells: nothing to collide with; tissue; (interface) the wall may pass
STEPS = 8  # of the quadrature in a voxel's shortest edge
OPAQUE = 20.0  # optical depth behind which nothing counts any more: 2e-9 of the light
GAP_LIMIT = 0.5  # voxels between surface and median depth above which the depth misleads
GAP_RAYS = 1024
RAYS = 1 << 12  # of a launch: a ray through 500 voxels of thin tissue takes 8000 look-ups, 0.2 ms


@dataclass(frozen=True)
class Depth:
    """float32 (H, W) mm, NaN where undefined. z_depth: along the camera's z axis. distance: along the ray."""

    z_depth: np.ndarray
    distance: np.ndarray


@kernels
def _marcher(surface: str, dtype: str, traits: Traits):
    t = tracking.device("tissue", surface, dtype, traits)
    WALL = surface == "interface"
    EDGE = float(CELL)
    FAR = tracking.FAR

    @ti.func
    def extinction(m: ti.template(), x):
        return t.sigma(m, x * m.inv, t.value(m, x))

    @ti.kernel
    def march(
        field: ti.types.ndarray(),
        table: ti.types.ndarray(),
        labels: ti.types.ndarray(),
        cells: ti.types.ndarray(),
        directions: ti.types.ndarray(),
        origin: ti.math.vec3,
        inv: ti.math.vec3,
        threshold: float,
        wall_hu: float,
        median: ti.types.ndarray(),
        expected: ti.types.ndarray(),
        first: ti.i32,
        last: ti.i32,
    ):
        for i in range(first, last):
            d = ti.math.vec3(directions[i, 0], directions[i, 1], directions[i, 2])
            m = ti.static(Medium(field, None, cells, table, labels, inv, threshold, wall_hu))
            span = t.clip(m, origin, d)
            voxel = 1.0 / ti.max(inv.x, inv.y, inv.z)
            oi, di = origin * inv, d * inv
            tau, weight, moment = 0.0, 0.0, 0.0
            s = span[0]
            inside = True
            if ti.static(WALL):
                inside = t.value(m, origin + s * d) >= threshold
            while s < span[1] and tau < OPAQUE:
                # 1. The cell that lies ahead, and where the ray leaves it.
                at = oi + di * (s + 1e-4 * voxel)
                end = span[1]
                index = ti.Vector([0, 0, 0])
                for a in ti.static(range(3)):
                    index[a] = ti.math.clamp(ti.cast(at[a] / EDGE, ti.i32), 0, cells.shape[a] - 1)
                    if ti.abs(di[a]) > 1e-12:
                        edge = (index[a] + ti.select(di[a] > 0.0, 1, 0)) * EDGE
                        leave = (edge - oi[a]) / di[a]
                        end = ti.min(end, ti.select(leave > s, leave, FAR))
                end = ti.max(end, s + 1e-4 * voxel)
                kind = cells[index[0], index[1], index[2]]
                if ti.static(WALL):
                    if kind != MIXED:
                        inside = kind == SOLID
                # 2. From wall to wall within it.
                seek = s
                while kind != EMPTY and s < end:
                    stop, hit = end, -1.0
                    if ti.static(WALL):
                        if kind == MIXED:
                            hit = t.crossing(field, oi, di, seek, end, threshold, inside)
                            if hit >= 0.0:
                                stop = hit
                    if inside:
                        # 3. Simpson's rule in short steps.
                        n = ti.max(1, ti.cast(ti.ceil((stop - s) / voxel * STEPS), ti.i32))
                        h = (stop - s) / n
                        before = extinction(m, origin + s * d)
                        for k in range(n):
                            a = s + k * h
                            half = extinction(m, origin + (a + 0.5 * h) * d)
                            after = extinction(m, origin + (a + h) * d)
                            step = (before + 4.0 * half + after) * h / 6.0
                            rest = 0.69314718 - tau
                            if rest > 0.0 and step >= rest:
                                # Extinction as a straight line over the step: exact on a ramp.
                                root = ti.sqrt(ti.max(before * before + 2.0 * rest * (after - before) / h, 0.0))
                                median[i] = a + ti.min(2.0 * rest / ti.max(before + root, 1e-20), h)
                            # Mean place of the flights that end in the step, as if it were even.
                            mean = 0.5 - step / 12.0
                            if step > 0.05:
                                mean = 1.0 / step - ti.exp(-step) / (1.0 - ti.exp(-step))
                            part = ti.exp(-tau) * (1.0 - ti.exp(-step))
                            weight += part
                            moment += part * (a + h * mean - span[0])
                            tau += step
                            before = after
                    s = stop
                    if hit >= 0.0:
                        inside = not inside
                        seek = hit + 1e-3 * voxel
                        if seek >= end:
                            break
                s = end
            if weight > 1e-6:
                expected[i] = span[0] + moment / weight

    return march


@per_object
def _cells(medium: Volume, tissue: Tissue, surface: str, threshold: float, labelling: Labelling | None) -> Any:
    """(A, B, C) int32: EMPTY, SOLID or MIXED."""
    prepared = prepare(medium)
    low, high = prepared.low.astype(np.float32), prepared.high.astype(np.float32)
    if surface == "interface":
        kinds = np.where(high < threshold, EMPTY, np.where(low >= threshold, SOLID, MIXED))
    else:
        found = blocks(medium, labelling, surface, threshold)
        kinds = np.where(extinction_range(prepared, tissue, surface, labelling, found)[0] > 0, SOLID, EMPTY)
    return backend.resident(np.ascontiguousarray(kinds, np.int32))


def _along(scene: Scene, in_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) unit directions, camera frame -> median and expected distance (N,), NaN where undefined."""
    backend.ensure()
    prepared = prepare(scene.medium)
    if prepared.kind != "tissue":
        raise UserError("depths need a CT volume: a GridMedium has none", "INVALID_VALUE")
    origin, rotation = camera_in_grid(prepared, scene.world_from_camera)
    held = [backend.resident(np.full(len(in_camera), -1, np.float32)) for _ in OPTICAL]
    kernel = _marcher(scene.surface, str(prepared.low.dtype), Traits.of(scene))
    given = (
        prepared.field,
        backend.resident(pack_table([scene])),
        held_blocks(scene),
        _cells(scene.medium, scene.tissue, scene.surface, scene.threshold, scene.labelling),
        backend.resident((in_camera @ rotation.T).astype(np.float32)),
        ti.math.vec3(*origin),
        ti.math.vec3(*(1 / prepared.spacing)),
        scene.threshold,
        scene.tissue.wall_hu,
        *held,
    )
    for part in launches.parts(len(in_camera), RAYS):
        kernel(*given, *part)
        backend.wait()
    median, expected = (backend.fetch(a) for a in held)
    return np.where(median < 0, np.nan, median), np.where(expected < 0, np.nan, expected)


def optical_depths(scene: Scene) -> dict[str, Depth]:
    """The depths of a view that depend on its tissue, by name.

    `median`: where the transmittance along the ray is 1/2; NaN where it never falls so low. `expected`: the mean of
    the free flights that end in a collision, E[t | collides]. In the `interface` mode tissue starts at the wall; in
    the others what lies before it (the scanner's ramp) counts too.
    """
    camera = scene.camera
    rays = camera.unproject(camera.pixels())
    visible = camera.visible()
    out = {}
    for name, values in zip(OPTICAL, _along(scene, rays[visible])):
        distance = np.full(visible.shape, np.nan, np.float32)
        distance[visible] = values
        out[name] = Depth((distance * rays[..., 2]).astype(np.float32), distance)
    return out


def depth_gaps(scene: Scene, tissues: Mapping[str, Tissue], seen: Geometry | None = None) -> dict[str, float]:
    """How far surface and median depth part under each tissue: the median over the view's pixels, in voxels.

    A voxel counts by its shortest edge. About a thousand pixels are looked at, evenly spread; one whose ray keeps
    more than half of its light counts as infinitely far. seen: the view's geometry, if it is at hand.
    """
    seen = seen or geometry(scene)
    stride = max(1, int(np.ceil(np.sqrt(seen.mask.size / GAP_RAYS))))
    some = (slice(stride // 2, None, stride),) * 2
    at = np.zeros(seen.mask.shape, bool)
    at[some] = seen.mask[some]
    if not at.any():
        at = seen.mask
    rays = scene.camera.unproject(scene.camera.pixels()[at])
    voxel = float(prepare(scene.medium).spacing.min())
    gaps = {}
    for name, tissue in tissues.items():
        median, _ = _along(scene.with_(tissue=tissue), rays)
        gap = np.nan_to_num(np.abs(median - seen.distance[at]) / voxel, nan=np.inf)
        gaps[name] = float(np.median(gap)) if gap.size else np.inf
    return gaps
