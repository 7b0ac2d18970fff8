"""From a CT and photographs of a clinic to a tissue, a light's exposure and a response that look like them.

With poses the pictures are compared pixel by pixel; without, each of a few plausible views of this lumen is to have the
photographs' colours at every percentile of luminance (`target.by_rank`), which says nothing of where things are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from endorender import ct as scans
from endorender.errors import Notice, UserError, plain, unknown
from endorender.inverse import pose as where
from endorender.inverse.develop import developed
from endorender.inverse.fit import Fit, Plan, fit
from endorender.inverse.photographs import Photographs, lens_of, photographs, wall_of
from endorender.inverse.response import refuse_lens
from endorender.inverse.target import by_rank
from endorender.inverse.unknowns import EXPOSURE, GAMMA
from endorender.registry import validated
from endorender.render import radiance
from endorender.scene import LOOKS, Endoscope, Pinhole, Scene, Tissue, lights
from endorender.scene.response import LUMA, Response
from endorender.scene.trajectory import poses as plausible
from endorender.scene.trajectory import refuse_outside

# What is fitted where nothing else is said. White balance stands at 1: the light's and the tissue's colours multiply.
WITH_POSES = ("tissue.albedo", "phase.g", "tissue.roughness", EXPOSURE, GAMMA)
WITHOUT = ("tissue.albedo", EXPOSURE)
PLAIN: dict[str, Any] = {"contrast": 1.0, "veil": (0.0, 0.0, 0.0), "gamma": 2.2}
FIRST_SPP = 16
VIEWS = 6  # plausible views, or photographs that are used at most
LIKE = 0.5  # correlation with the shaded wall below which a search has found nothing
VAGUE_MM, VAGUE_RAD = 0.5, np.radians(1.5)  # spread of a refined pose that people are told of
POSE = "the pose of photograph"
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

    def __repr__(self) -> str:
        found = self.found
        return f"Calibrated({self.method}; loss {found.before.loss:.3g} -> {found.after.loss:.3g})"

    def _repr_png_(self) -> bytes:
        """Photographs, and pictures before and after, for notebooks."""
        from endorender.inverse.report import before_after, png

        return png(before_after(self.found))


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
    region: int | Sequence[int] | None = None,
    label: str | None = None,
    series: str | None = None,
    phase: str | int | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    cleanse: bool = False,
    plan: Plan | None = None,
    seed: int = 0,
    progress: Said | None = None,
) -> Calibrated:
    """Fit how the wall looks.

    ct: a path, "sample" or "phantom:SEED". images, camera, poses, variation: see `photographs`. refine: search poses
    near the given ones and refine them. look: where the tissue starts. light: the scope's, as known. response: what
    is known of it, over a plain gamma. names: what to fit (docs/gradients.md), without `camera`. size: longer side of
    the pictures that are compared, pixels. views: photographs used at most, or plausible views. region, label: as for
    `ct.prepare` and `ct.read_organ`. cleanse: turn tagged fluid into air first. Poses that do not lie in the lumen are
    refused by number; those that are refined, once they were.
    """
    say = progress or (lambda done, total, text: None)
    if refine and poses is None:
        raise UserError("--pose refines poses: give those to start from with --poses", "POSES")
    taken = photographs(images, camera, poses, variation)
    if taken.poses is None and not taken.alike:
        raise UserError(
            "the photographs have cameras of their own, and without poses they are compared all together: give "
            "--poses, or photographs of one camera",
            "CALIBRATION",
        )
    notes: tuple[str, ...] = ()
    if wall := wall_of(Path(images)):
        notes = (
            f"the photographs were rendered with {plain(wall)}, and are fitted with a straight wall (surface "
            "interface, boundary straight): parameters are those that look like them so, not those that made them",
        )
    if lens := lens_of(Path(images)):
        notes += (
            f"the photographs were developed with {lens}, which a fit takes for light and tissue: parameters are those "
            "that look like them so, not those that made them",
        )
    for note in notes:
        warnings.warn(note, Notice, stacklevel=2)
    known = validated(Response, {**PLAIN, **(response or {})}, "response")
    given = known.exposure
    refuse_lens(known)
    say(0, 1, "reading the CT")
    raw = scans.open_ct(ct, series, resample, assume_hu, lambda done, total, text: say(0, 1, text), phase)
    organ = None if label is None else scans.read_organ(label, raw)[0]
    if cleanse:
        raw, _ = scans.cleanse.cleanse(raw)
    say(0, 1, "finding the lumen")
    ready = scans.prepare(raw, region, organ)
    if taken.poses is not None and not refine:
        refuse_outside(ready.volume, ready.lumen, taken.poses, what=POSE)
    base = _scenes(ready, look, light, seed, views if taken.poses is None else 1)
    small = taken.resized(size)
    scenes = [s.with_(camera=small.camera) for s in base]
    plan = plan or Plan()
    refined = None
    names = list(names or (WITHOUT if taken.poses is None else WITH_POSES))
    toned = known.gamma is not None and "gamma" not in (response or {})
    if known.gamma is None and GAMMA in names:
        names.remove(GAMMA)
    if any(name.startswith("camera.") for name in names):
        raise UserError("poses are fitted by --pose, beside the appearance", "UNKNOWN_NAME")
    if taken.poses is None:
        visible = small.camera.visible()
        shown = small.images[:, visible].reshape(-1, 3)
        known, exposures = _begun(scenes, shown, known, seed, toned, statistics=True)
        method = (
            f"no poses: colours and luminance of {len(taken.images)} photographs at every percentile, matched over "
            f"{len(scenes)} plausible views of this lumen; nothing was compared place by place"
        )
    else:
        chosen = np.unique(np.linspace(0, len(taken.images) - 1, min(views, len(taken.images))).round().astype(int))
        small = small.chosen(chosen)
        scenes = [scenes[0].with_(world_from_camera=p, camera=c) for p, c in zip(taken.poses[chosen], small.cameras)]
        if not taken.alike:
            notes += ("the photographs have cameras of their own; the configuration holds the first one's",)
        shown = small.images
        if refine:
            scenes, said = _posed(scenes, small, known, seed, say)
            notes += said
            refined = np.array(taken.poses)
            refined[chosen] = [s.world_from_camera for s in scenes]
            refuse_outside(ready.volume, ready.lumen, refined, chosen, POSE)
        known, exposures = _begun(scenes, shown, known, seed, toned)
        method = f"{len(scenes)} of {len(taken.images)} photographs, compared pixel by pixel from their poses"
    if given is not None:
        exposures = [given] * len(exposures)
    known = known.model_copy(update={"exposure": float(np.exp(np.mean(np.log(exposures))))})

    def told(step: int, total: int, loss: float, values: Any) -> None:
        say(step, total, f"fitting, loss {loss:.5f}")

    found = fit(scenes, shown, known, names, exposures=exposures, statistics=taken.poses is None, plan=plan,
                seed=seed, progress=told)  # fmt: skip
    luma = float(np.mean([np.percentile(i.reshape(-1, 3) @ LUMA, METERED) for i in taken.images]))
    return Calibrated(found, taken.camera, luma, refined, method, notes)


def _scenes(ready: scans.Prepared, look: str, light: Any, seed: int, views: int) -> list[Scene]:
    """Scenes with a small pinhole, one for each plausible view."""
    if look not in LOOKS:
        raise UserError(unknown("look", look, LOOKS), "UNKNOWN_NAME")
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


def _begun(
    scenes: Sequence[Scene], shown: np.ndarray, response: Response, seed: int, gamma: bool, statistics: bool = False
) -> tuple[Response, list[float]]:
    """Response and exposures to start from (`develop`)."""
    light = []
    for number, scene in enumerate(scenes, 1):
        try:
            light.append(radiance([scene], FIRST_SPP, seed)[0].mean)
        except UserError as error:
            if statistics or error.code == "STOPPED":
                raise
            raise UserError(f"from the pose of photograph {number}: {error}", error.code) from None
    visible = np.stack([scene.camera.visible() for scene in scenes])
    wanted = [by_rank(shown, x[None], v[None])[0] for x, v in zip(light, visible)] if statistics else list(shown)
    return developed(light, wanted, visible, response, gamma)


def _posed(
    scenes: list[Scene], small: Photographs, response: Response, seed: int, say: Said
) -> tuple[list[Scene], tuple[str, ...]]:
    """Views at refined poses: by a search on the geometry, then by traced pictures."""
    found, notes = [], []
    for n, scene in enumerate(scenes):
        label = f"photograph {n + 1}"
        told = partial(_told, say, n, len(scenes), label)
        say(n, len(scenes), f"searching the pose of {label}")
        pose, like = where.search(scene, small.images[n], response, seed=seed + n)
        if like < LIKE:
            notes.append(f"{label}: no pose near the given one looks like it (correlation {like:.2f}); it is kept")
            found.append(scene)
            continue
        try:
            pose, spread = where.refine(
                scene.with_(world_from_camera=pose), small.images[n], response, seed=seed + n, progress=told
            )
        except UserError as error:
            if error.code == "STOPPED":
                raise
            notes.append(f"{label}: {error}; the pose that the geometry tells was taken")
            spread = np.zeros(6)
        if np.linalg.norm(spread[:3]) > VAGUE_MM or np.linalg.norm(spread[3:]) > VAGUE_RAD:
            notes.append(f"{label}: its pose is known to {np.linalg.norm(spread[:3]):.1f} mm and "
                         f"{np.degrees(np.linalg.norm(spread[3:])):.1f} degrees only")  # fmt: skip
        found.append(scene.with_(world_from_camera=pose))
    return found, tuple(notes)


def _told(say: Said, done: int, total: int, label: str, step: int, steps: int) -> None:
    say(done, total, f"refining the pose of {label}, {step + 1}/{steps}")
