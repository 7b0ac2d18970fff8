"""Rendering a view: short launches of the path tracer until every sample is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from endorender.errors import UserError
from endorender.render.device import backend, launches, rng
from endorender.render.medium.prepared import prepare, refuse_inside
from endorender.render.medium.traits import Traits
from endorender.render.transport.film import Radiance
from endorender.render.transport.world import packed
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue


def shareable(a: Scene, b: Scene) -> bool:
    """Whether one set of paths can carry both: they may differ in albedo and in the colour of lights only."""
    if a.medium is not b.medium or isinstance(a.medium, GridMedium):
        return False
    one, two = a.to_dict(), b.to_dict()
    for key in ("tissue", "label_tissues", "lights"):
        one.pop(key), two.pop(key)
    if one != two or (a.labelling is not None and a.labels is not b.labels) or len(a.lights) != len(b.lights):
        return False
    if list(a.label_tissues) != list(b.label_tissues) or not all(map(_share_paths, a.tissues, b.tissues)):
        return False
    colours = {"intensity", "irradiance", "radiance", "scale", "colour", "temperature"}
    return all(
        type(x) is type(y) and x.model_dump(exclude=colours) == y.model_dump(exclude=colours)
        for x, y in zip(a.lights, b.lights)
    )


def _share_paths(a: Tissue, b: Tissue) -> bool:
    return a.shares_paths(b)


def radiance(
    scenes: Sequence[Scene],
    spp: int,
    seed: int,
    frame: int = 0,
    progress: Callable[[float], None] | None = None,
    roulette: float | None = None,
) -> list[Radiance]:
    """Path-trace one view under one or several conditions with the same paths.

    scenes: the conditions; every pair must be `shareable`. spp: samples per pixel. seed, frame: key of the random
    numbers; the same ones give the same bytes on the same device. progress: called with the share done, at least
    twice a second. roulette: throughput below which paths are thinned (default: a measured optimum; never biased).

    Raises UserError for a camera in tissue or conditions that cannot share paths.
    """
    scenes = list(scenes)
    if spp < 1:
        raise UserError(f"spp must be at least 1, got {spp}", "INVALID_VALUE")
    if not all(shareable(scenes[0], s) for s in scenes[1:]):
        raise UserError("these conditions scatter light differently: render them one by one", "NOT_SHAREABLE")
    backend.ensure()
    from endorender.render.integrators.volpath import tracer

    first = scenes[0]
    prepared = prepare(first.medium)
    if prepared.kind == "tissue" and first.surface == "interface":
        refuse_inside(first, prepared)
    groups, fixed = packed(scenes, prepared, roulette)
    channels = 3 * len(scenes)
    kernel = tracer(
        prepared.kind,
        first.surface,
        str(prepared.low.dtype),
        type(first.phase),
        type(first.camera),
        channels,
        groups,
        Traits.of(first),
    )
    n = first.camera.width * first.camera.height
    mean, squares, cut = (backend.resident(np.zeros((n, c), np.float32)) for c in (channels, channels, 1 + channels))
    key = rng.key(seed, frame)

    def launch(p0: int, p1: int, s0: int, s1: int, *work: Any) -> None:
        kernel(*fixed, mean, squares, cut, p0, p1, s0, s1, *work, first.max_scatterings, key)

    launches.trace(launch, n, spp, progress)
    shape = (first.camera.height, first.camera.width, len(scenes), 3)
    means = backend.fetch(mean).reshape(shape)
    variances = backend.fetch(squares).reshape(shape) / (max(spp - 1, 1) * spp)
    ended, *unspent = backend.fetch(cut).sum(0, dtype=float) / (n * spp)
    return [
        Radiance(
            np.ascontiguousarray(means[:, :, k]),
            np.ascontiguousarray(variances[:, :, k]),
            spp,
            float(ended),
            np.array(unspent[3 * k : 3 * k + 3]),
        )
        for k in range(len(scenes))
    ]
