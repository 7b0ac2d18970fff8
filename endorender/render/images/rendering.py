"""Rendering a view, by whichever integrator: which conditions may share paths, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from endorender.errors import UserError
from endorender.render.device import backend
from endorender.render.integrators import integrators
from endorender.render.medium.prepared import Prepared, prepare, refuse_inside
from endorender.render.transport.film import Radiance
from endorender.render.transport.noise import Noise
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


def ready(scene: Scene, spp: int) -> Prepared:
    """The device started and the medium prepared. Raises UserError for a camera in tissue, or too few samples."""
    if spp < 1:
        raise UserError(f"spp must be at least 1, got {spp}", "INVALID_VALUE")
    backend.ensure()
    prepared: Prepared = prepare(scene.medium)
    if prepared.kind == "tissue" and scene.surface == "interface":
        refuse_inside(scene, prepared)
    return prepared


def radiance(
    scenes: Sequence[Scene],
    spp: int,
    seed: int,
    frame: int = 0,
    progress: Callable[[float], None] | None = None,
    integrator: Any = "volpath",
    noise: float | None = None,
    judged: int | None = None,
) -> list[Radiance]:
    """Path-trace one view under one or several conditions with the same paths.

    scenes: the conditions; every pair must be `shareable`. spp: samples per pixel. seed, frame: key of the random
    numbers; the same ones give the same bytes on the same device. progress: called with the share done, at least
    twice a second. integrator: a name, `{"type": name, ...}` or an `Integrator`; others than `volpath` take one
    condition.
    noise: standard error of a pixel's display value (1: white; `transport.noise`) at which it takes no more samples, in
    all of the first `judged` conditions (null: all of them); none takes more than `spp`. None: each takes `spp`.

    Raises UserError for a camera in tissue, conditions that cannot share paths, or a noise that is not above 0.
    """
    scenes = list(scenes)
    if not all(shareable(scenes[0], s) for s in scenes[1:]):
        raise UserError("these conditions scatter light differently: render them one by one", "NOT_SHAREABLE")
    ready(scenes[0], spp)  # before an integrator's file is read
    chosen = integrators.build(integrator)
    if len(scenes) > 1 and not chosen.shares:
        name = integrators.name_of(type(chosen))
        raise UserError(f"the integrator {name} takes one condition: render them one by one", "NOT_SHAREABLE")
    if noise is None:
        return list(chosen.trace(scenes, spp, seed, frame, progress))
    if not chosen.adapts:
        name = integrators.name_of(type(chosen))
        raise UserError(f"the integrator {name} gives every pixel the same samples: leave out noise", "INVALID_VALUE")
    if not 0 < noise < float("inf"):
        raise UserError(f"noise must be above 0, got {noise:g}", "INVALID_VALUE")
    wanted = Noise(noise, len(scenes) if judged is None else judged)
    return list(chosen.trace(scenes, spp, seed, frame, progress, wanted))
