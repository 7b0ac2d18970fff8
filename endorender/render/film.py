"""Rendering a view: short launches of the path tracer until every sample is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.errors import UserError
from endorender.render import backend, launches, rng
from endorender.render.exact import refuse_inside
from endorender.render.medium import Prepared, cells, coat_field, held_blocks, prepare
from endorender.render.view import E, Traits, pack_emitters, pack_environment, pack_table, pack_view
from endorender.scene.light import Kind
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue

CUT_LIMIT = 1e-3  # share of paths ended early beyond which a dataset warns


@dataclass(frozen=True)
class Radiance:
    """mean: (H, W, 3) float32 linear radiance. variance: (H, W, 3) float32, of the mean. spp: samples per pixel.

    The variance is that of independent samples. `radiance` spreads them evenly, which leaves less.
    cut: share of the paths that `max_scatterings`, or their work (`launches`), ended. unspent: (3,) throughput that
    those still had, over all paths: even light of radiance 1 all round would have brought that much more at most.
    None: not counted.
    """

    mean: np.ndarray
    variance: np.ndarray
    spp: int
    cut: float | None = None
    unspent: np.ndarray | None = None


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
    from endorender.render.volpath import tracer

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


def packed(
    scenes: Sequence[Scene], prepared: Prepared, roulette: float | None = None
) -> tuple[tuple[str, ...], list[Any]]:
    """Groups of light, see `volpath.tracer`, and what a tracer's kernel takes first, up to the alias table.

    scenes: conditions of one view that share their paths.
    """
    from endorender.render import mucosa, shading

    first, channels = scenes[0], 3 * len(scenes)
    emitters, environment = pack_emitters(list(scenes), prepared), pack_environment(list(scenes))
    groups: tuple[str, ...] = ()
    if any(hasattr(light, "emitters") for light in first.lights):
        groups += ("emitters",)
        if (emitters[:, E.KIND] >= Kind.ROUND).any():
            groups += ("areas",)
    if environment:
        light = environment[0][..., :channels]
        # Where all directions are alike a path finds the light by leaving; a shadow ray would only add noise.
        groups += ("even sky",) if (light == light[0, 0]).all() else ("environment",)
    env, alias = environment or (np.zeros((2, 2, channels + 2), np.float32), np.zeros((1, 2), np.float32))
    return groups, [
        prepared.field,
        coat_field(first).values,
        cells(first.medium, first.tissue, first.surface, first.threshold, first.labelling),
        backend.resident(pack_table(list(scenes))),
        held_blocks(first),
        prepared.albedo,
        backend.resident(first.phase.data()),
        shading.coat_albedos(first.surface),
        *mucosa.layer(first),
        *map(backend.resident, (pack_view(first, prepared, roulette), emitters, env, alias)),
    ]
