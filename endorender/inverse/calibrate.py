"""From a CT and photographs of a clinic to a tissue, a light's exposure and a response that look like them.

With poses the pictures are compared pixel by pixel; without, each of a few plausible views of this lumen is to have the
photographs' colours at every percentile of luminance (`target.by_rank`), which says nothing of where things are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from endorender import ct as scans
from endorender.errors import UserError
from endorender.inverse import pose as where
from endorender.inverse.fit import Fit, Plan, fit
from endorender.inverse.photographs import Photographs, photographs
from endorender.inverse.target import BURNT, linear
from endorender.inverse.unknowns import EXPOSURE, GAMMA
from endorender.registry import validated
from endorender.render import radiance
from endorender.scene import LOOKS, Endoscope, Pinhole, Scene, Tissue, lights
from endorender.scene.response import LUMA, Response
from endorender.scene.trajectory import poses as plausible

# What is fitted where nothing else is said. White balance stands at 1: the light's and the tissue's colours multiply.
WITH_POSES = ("tissue.albedo", "phase.g", "tissue.roughness", EXPOSURE, GAMMA)
WITHOUT = ("tissue.albedo", EXPOSURE)
PLAIN: dict[str, Any] = {"contrast": 1.0, "veil": (0.0, 0.0, 0.0), "gamma": 2.2}
VIEWS = 6  # plausible views, or photographs that are used at most
METERED = 75.0  # percentile by which exposures begin

Said = Callable[[float, int, str], None]  # what is done, of how much, what is going on


@dataclass(frozen=True)
class Calibrated:
    """found: the fit of appearance. camera: at the photographs' full size. luma: that the photographs are metered at.

    poses: (N, 4, 4) refined, or None. method: one line for people on what was compared with what. notes: what else
    they must know.
    """

    found: Fit
    camera: Any
    luma: float
    poses: np.ndarray | None
    method: str
    notes: tuple[str, ...] = ()


def calibrate(
    ct: str,
    images: str | Path,
    camera: str | Path | Mapping[str, Any],
    poses: str | Path | None = None,
    *,
    refine: bool = False,
    variation: str | None = None,
    look: str = "pale_pink",
    light: Any = None,
    response: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    size: int = 64,
    views: int = VIEWS,
    region: int | None = None,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    plan: Plan | None = None,
    seed: int = 0,
    progress: Said | None = None,
) -> Calibrated:
    """Fit how the wall looks.

    ct: a path, "sample" or "phantom:SEED". images, camera, poses, variation: see `photographs`. refine: search poses
    near the given ones and refine them. look: where the tissue starts. light: the scope's, as known. response: what
    is known of it, over a plain gamma. names: what to fit (docs/gradients.md), without `camera`. size: longer side of
    the pictures that are compared, pixels. views: photographs used at most, or plausible views.
    """
    say = progress or (lambda done, total, text: None)
    if refine and poses is None:
        raise UserError("--pose refines poses: give those to start from with --poses", "POSES")
    taken = photographs(images, camera, poses, variation)
    developed = validated(Response, {**PLAIN, **(response or {})}, "response")
    say(0, 1, "reading the CT")
    raw = scans.open_ct(ct, series, resample, assume_hu, lambda done, total, text: say(0, 1, text))
    base = _scenes(raw, look, light, region, seed, views if taken.poses is None else 1, say)
    small = taken.resized(size)
    scenes = [s.with_(camera=small.camera) for s in base]
    plan = plan or Plan()
    notes: tuple[str, ...] = ()
    refined = None
    names = list(names or (WITHOUT if taken.poses is None else WITH_POSES))
    if developed.gamma is None and GAMMA in names:
        names.remove(GAMMA)
    if any(name.startswith("camera.") for name in names):
        raise UserError("poses are fitted by --pose, beside the appearance", "UNKNOWN_NAME")
    if taken.poses is None:
        visible = small.camera.visible()
        shown = small.images[:, visible].reshape(-1, 3)
        exposures = [_exposure(s, shown, developed, seed) for s in scenes]
        method = (
            f"no poses: colours and luminance of {len(taken.images)} photographs at every percentile, matched over "
            f"{len(scenes)} plausible views of this lumen; nothing was compared place by place"
        )
    else:
        chosen = np.unique(np.linspace(0, len(taken.images) - 1, min(views, len(taken.images))).round().astype(int))
        small = Photographs(small.images[chosen], small.camera, taken.poses[chosen])
        scenes = [scenes[0].with_(world_from_camera=p) for p in taken.poses[chosen]]
        shown = small.images
        if refine:
            scenes, notes = _posed(scenes, small, developed, seed, say)
            refined = np.array(taken.poses)
            refined[chosen] = [s.world_from_camera for s in scenes]
        exposures = [_exposure(s, p.reshape(-1, 3), developed, seed, n) for n, (s, p) in enumerate(zip(scenes, shown))]
        method = f"{len(scenes)} of {len(taken.images)} photographs, compared pixel by pixel from their poses"
    developed = developed.model_copy(update={"exposure": float(np.exp(np.mean(np.log(exposures))))})

    def told(step: int, total: int, loss: float, values: Any) -> None:
        say(step, total, f"fitting, loss {loss:.5f}")

    found = fit(scenes, shown, developed, names, exposures=exposures, statistics=taken.poses is None, plan=plan,
                seed=seed, progress=told)  # fmt: skip
    luma = float(np.mean([np.percentile(i.reshape(-1, 3) @ LUMA, METERED) for i in taken.images]))
    return Calibrated(found, taken.camera, luma, refined, method, notes)


def _scenes(raw: Any, look: str, light: Any, region: int | None, seed: int, views: int, say: Said) -> list[Scene]:
    """Scenes with a small pinhole, one for each plausible view. raw: the CT."""
    if look not in LOOKS:
        raise UserError(f"no look is called {look!r}; there are: {', '.join(LOOKS)}", "UNKNOWN_NAME")
    say(0, 1, "finding the lumen")
    ready = scans.prepare(raw, region=region)
    flown = plausible(ready.volume, ready.lumen, ready.path, views, seed)
    lit = Endoscope() if light is None else lights.build(light)
    return [
        Scene(ready.volume, Pinhole(width=64, height=64), p, (lit,), _start(LOOKS[look].tissue), ready.lumen.threshold)
        for p in flown
    ]


def _start(tissue: Tissue) -> Tissue:
    """A plain tissue with control points where a wall is seen: air, the wall, and what shines brighter in CT."""
    hu = (min(tissue.hu), tissue.wall_hu, max(max(tissue.hu), tissue.wall_hu + 100))
    row = tissue.table(np.array(hu))
    fields = {name: getattr(tissue, name) for name in ("phase", "wall_hu", "ior", "roughness", "specular")}
    return Tissue(hu=hu, sigma_t=row[:, 0].astype(float), albedo=row[:, -3:].astype(float), **fields)


def _exposure(scene: Scene, pixels: np.ndarray, response: Response, seed: int, number: int | None = None) -> float:
    """With which the scene is as bright as the photograph where that is well lit."""
    try:
        light = radiance([scene], 8, seed)[0].mean[scene.camera.visible()] @ LUMA
    except UserError as error:
        if number is None or error.code == "STOPPED":
            raise
        raise UserError(f"from the pose of photograph {number + 1}: {error}", error.code) from None
    wanted = linear(pixels[pixels.max(-1) < BURNT] / 255, response) @ LUMA
    lit = np.percentile(light, METERED)
    if lit <= 0:
        raise UserError("no light returns from the wall in one of the views: check poses and region", "NO_WALL")
    return float(np.percentile(wanted, METERED) / lit)


def _posed(
    scenes: list[Scene], small: Photographs, response: Response, seed: int, say: Said
) -> tuple[list[Scene], tuple[str, ...]]:
    """Views at refined poses: by a search on the geometry, then by gradients where the camera is a pinhole."""
    found, notes = [], []
    for n, scene in enumerate(scenes):
        say(n, len(scenes), f"searching the pose of photograph {n + 1}")
        pose, like = where.search(scene, small.images[n], response, seed=seed + n)
        if like < 0.5:
            notes.append(f"photograph {n + 1}: no pose near the given one looks like it (correlation {like:.2f})")
            pose = np.asarray(scene.world_from_camera, float)
        found.append(scene.with_(world_from_camera=pose))
    if type(small.camera) is not Pinhole:
        notes.append("poses were searched on the geometry only: gradients of them need a pinhole")
        return found, tuple(notes)
    clear = [where.clear(s) for s in found]
    exposures = [_exposure(s, p.reshape(-1, 3), response, seed, n) for n, (s, p) in enumerate(zip(clear, small.images))]
    fixed = response.model_copy(update={"exposure": exposures[0]})

    def told(step: int, total: int, loss: float, values: Any) -> None:
        say(step, total, f"refining poses, loss {loss:.5f}")

    poses, done = where.refine(clear, small.images, fixed, exposures, replace(where.PLAN, repeats=0), seed, told)
    if done.stopped:
        notes.append(f"refining poses by gradients {done.stopped}: the best so far were taken")
    if done.stopped == "interrupted":
        raise KeyboardInterrupt
    return [s.with_(world_from_camera=p) for s, p in zip(found, poses)], tuple(notes)
