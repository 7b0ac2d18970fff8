"""One view: its geometry once, every variation over it, as files and rows of the manifest.

Variations that may share light paths are traced together.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender import __version__
from endorender.dataset import exr, flow
from endorender.dataset.config import RenderConfig
from endorender.dataset.frame import frame_id
from endorender.dataset.hidden_lumen import hidden_lumen
from endorender.dataset.negative import Negative
from endorender.dataset.variation import Variation, draw, seed_of
from endorender.errors import Notice, UserError
from endorender.generator import engine

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt8

    from endorender.render import Geometry, Guides, Radiance
    from endorender.scene import Scene

AXES = {
    "world": "patient space, RAS+, mm",
    "camera": "OpenCV: x right, y down, z forward; integer pixel coordinates are pixel centres",
    "transforms": "target_from_source",
}
DEPTH = {
    "surface": "first crossing of the HU threshold that the lumen was segmented with, on the trilinear HU field",
    "median": "where the transmittance along the ray is 1/2 (layer median of a traced variation, when asked for)",
    "expected": "mean free flight of the rays that collide (layer expected of a traced variation, when asked for)",
    "z_depth": "along the camera's z axis, mm, float32 (channel Z)",
    "distance": "along the ray, mm, float32 (channel distance.V)",
    "invalid": "NaN, and mask.V is 0",
}


@dataclass(frozen=True)
class View:
    """A pose in a patient. facts: what the manifest says of the volume. scene: without a variation's tissue.

    inside: (I, J, K) of the lumen, from `hidden_lumen.hollow`. trajectory: what was drawn for the flight, where the
    configuration says something of it. following: the scene from the next pose, to which optical flow leads.
    scope: the instrument that has room at the pose.
    """

    config: RenderConfig
    patient: str
    number: int
    facts: dict[str, Any]
    scene: Scene
    inside: UInt8[np.ndarray, "I J K"]
    trajectory: dict[str, Any] | None = None
    following: Scene | None = None
    scope: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """`PATIENT/VIEW`."""
        return f"{self.patient}/{self.number:04d}"


@dataclass(frozen=True)
class Shot:
    """A variation of a view, rendered.

    radiance: (H, W, 3) linear, as it was traced. guides, mirrored: what its denoiser asks for, if it is to be denoised.
    layers: further (H, W, 3) arrays by EXR layer name.
    depths: further (H, W) channels, mm. gap: voxels from surface to median depth. cut: share of the paths that were
    ended by max_scatterings.
    group: the variations that were traced together with this one; empty for the synthetic renderer. spp: of its pixels.
    """

    name: str
    scene: Scene
    parameters: dict[str, Any]
    radiance: Float[np.ndarray, "H W 3"]
    layers: dict[str, Shaped[np.ndarray, "H W *channels"]]
    group: tuple[str, ...] = ()
    seed: int = 0
    depths: dict[str, Float[np.ndarray, "H W"]] = field(default_factory=dict)
    gap: float | None = None
    cut: float | None = None
    guides: Guides | None = None
    mirrored: Float[np.ndarray, "H W 3"] | None = None
    spp: int = 0


def render_view(view: View, names: Sequence[str], fresh: bool, report: Callable[[float], None]) -> Iterator[Negative]:
    """Render the named variations, one after the other: all that needs a device. fresh: the view's geometry is not on
    disk yet.

    report: gets the number of frames done since the last one.
    """
    from endorender.render import geometry

    report(0)
    scenes, parameters = {}, {}
    layer = view.scene.to_dict()["mucosa"]
    for v in view.config.columns:
        parameters[v.name] = parameters_of(view.config, view.patient, view.number, v, layer)
        scenes[v.name] = dressed(view.scene, parameters[v.name], view.config.label_tissue)
    seen = geometry(view.scene.with_(label_tissues=_built(view.config.label_tissue)))
    if not seen.mask.any():
        raise UserError(
            f"{view.patient}, view {view.number}: no wall in sight; choose another lumen with --region", "NO_WALL"
        )
    shared = _geometry(view, seen) if fresh else None
    for shot in _shots(view, scenes, parameters, seen, names, report):
        yield _negative(view, shot, shared, seen.z_depth)
        shared = None
        report(0)


def parameters_of(
    config: RenderConfig, patient: str, view: int, variation: Variation, mucosa: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is drawn for a frame. mucosa: the patient's layer. Depends on the names and the configuration alone."""
    rng = np.random.default_rng(seed_of(config.seed, patient, view, variation.name))
    spread = seed_of(config.seed, patient, variation.name, "spread")
    return draw(variation, config.light, rng, config.response, mucosa, view, spread)


def _shots(
    view: View,
    scenes: dict[str, Scene],
    parameters: dict[str, Any],
    seen: Geometry,
    names: Sequence[str],
    report: Callable[[float], None],
) -> Iterator[Shot]:
    from endorender.render import guides, in_parts, radiance, recoloured, synthetic

    config = view.config
    for v in config.columns:
        if v.look is None and v.name in names:
            yield Shot(v.name, scenes[v.name], parameters[v.name], synthetic(scenes[v.name], seen), {})
    for group in groups({v.name: scenes[v.name] for v in config.columns if v.look}):
        wanted = [n for n in group if n in names]
        if not wanted:
            continue
        # All of the group are traced even if one is wanted: alone, its noise would differ. Any name of the
        # group would do for the seed; with the first it is a matter of the configuration alone.
        seed = seed_of(config.seed, view.patient, view.number, group[0])
        progress = partial(_scaled, report, len(wanted))
        depths, gap = _depths(view, scenes[group[0]], seen, wanted)
        lean_on, mirrored = {}, {}
        if config.denoise:
            parts = in_parts([scenes[n] for n in group], config.spp, seed, progress=progress, noise=config.noise)
            traced = [light for light, _ in parts]
            mirrored = {name: part for name, (_, part) in zip(group, parts)}
            lean_on = dict(zip(wanted, guides([scenes[n] for n in wanted])))
        else:
            traced = radiance([scenes[n] for n in group], config.spp, seed, progress=progress, noise=config.noise)
        _say_of_cut_paths(view, traced[0], wanted)
        for name, light in zip(group, traced):
            if name in wanted:
                layers = {"albedo": recoloured(seen, scenes[name]).albedo, "variance": light.variance}
                yield Shot(
                    name, scenes[name], parameters[name], light.mean, layers, group, seed, depths, gap, light.cut,
                    lean_on.get(name), mirrored.get(name), light.spp,
                )  # fmt: skip


def _depths(
    view: View, scene: Scene, seen: Geometry, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], float | None]:
    """Channels of the depths that depend on the tissue, and the gap; all of a group share its extinction."""
    from endorender.render import depth_gaps, optical_depths
    from endorender.render.depth.optical import GAP_LIMIT

    gap = depth_gaps(scene, {"all": scene.tissue}, seen)["all"]
    if gap > GAP_LIMIT:
        warnings.warn(
            f"{view.patient}: in {', '.join(names)} half of the light ends more than {GAP_LIMIT} voxels from the "
            "surface whose depth is stored: raise sigma_t, or store the median depth as well",
            Notice,
            stacklevel=2,
        )
    channels: dict[str, np.ndarray] = {}
    if len(view.config.depth) > 1:
        for name, depth in optical_depths(scene).items():
            if name in view.config.depth:
                channels |= {f"{name}.Z": depth.z_depth, f"{name}.distance": depth.distance}
    return channels, round(gap, 4) if np.isfinite(gap) else None


def _say_of_cut_paths(view: View, traced: Radiance, names: Sequence[str]) -> None:
    from endorender.render.transport.film import CUT_LIMIT

    if (traced.cut or 0) > CUT_LIMIT:
        warnings.warn(
            f"{view.patient}: in {', '.join(names)} {traced.cut:.1%} of the light paths were cut off after "
            f"{view.scene.max_scatterings} scatterings, so the picture is too dark: lower the albedo or sigma_t",
            Notice,
            stacklevel=2,
        )


def _scaled(report: Callable[[float], None], count: int, done: float) -> None:
    report(done * count)


def groups(scenes: dict[str, Scene]) -> list[tuple[str, ...]]:
    """Names of the scenes, gathered so that each group may be traced by one set of paths."""
    from endorender.render import shareable

    found: list[list[str]] = []
    for name, scene in scenes.items():
        home = next((g for g in found if shareable(scenes[g[0]], scene)), None)
        if home is None:
            found.append([name])
        else:
            home.append(name)
    return [tuple(g) for g in found]


def dressed(scene: Scene, parameters: dict[str, Any], labelled: Mapping[int, Any] | None = None) -> Scene:
    """The scene under one variation's tissue and light. labelled: the tissues by label, the same for all."""
    from endorender.scene import lights, mucosas, tissues

    changes: dict[str, Any] = {"lights": (lights.build(parameters["light"]),)}
    if "mucosa" in parameters:
        changes["mucosa"] = mucosas.build(parameters["mucosa"])
    if "tissue" in parameters:
        changes["tissue"] = tissues.build(parameters["tissue"])
        changes["label_tissues"] = _built(labelled)
    return scene.with_(**changes)


def _built(labelled: Mapping[int, Any] | None) -> dict[int, Any]:
    """Label -> tissue of a configuration's `label_tissue`."""
    from endorender.scene import tissues

    return {label: tissues.build(spec) for label, spec in (labelled or {}).items()}


def _geometry(view: View, seen: Geometry) -> tuple[dict[str, np.ndarray], dict[str, exr.Attribute]]:
    """Channels and attributes of the view's geometry."""
    channels = {
        "Z": seen.z_depth,
        "distance.V": seen.distance,
        **exr.split_rgb("normal", seen.normal, "XYZ"),
        "mask.V": seen.mask.astype(np.float32),
        "tissue.V": seen.tissue.astype(np.float32),
        **flow.channels(view.scene, view.following, seen),
        "hides.V": hidden_lumen(view.scene, seen.distance, view.inside).astype(np.float32),
    }
    return channels, {
        **_header(view),
        "units": "mm",
        "normalFrame": "camera",
        "flowUnits": "px",
        "depthDefinition": DEPTH["surface"],
    }


def _negative(view: View, shot: Shot, shared: Any, z_depth: np.ndarray) -> Negative:
    """What is left to be developed. shared: geometry that goes with the first frame of the view. z_depth: (H, W)."""
    denoised = bool(shot.group) and view.config.denoise
    header = {
        **_header(view),
        "units": "linear scene-referred RGB",
        "variation": shot.name,
        "seed": str(shot.seed),
        "spp": shot.spp,
        "denoised": int(denoised),
    }
    told = shot.scene.to_dict()
    row = {
        "id": frame_id(view.patient, view.number, shot.name),
        "patient": view.patient,
        "engine": " ".join(engine().values()),
        "scene": {
            "threshold_hu": told["threshold"],
            "surface": told["surface"],
            "boundary": told["boundary"],
            **({"coat": told["coat"]} if "coat" in told else {}),
            "mucosa": told["mucosa"],
            **({"label_tissues": told["label_tissues"]} if told["label_tissues"] else {}),
            **({"surface_to_median_voxels": shot.gap, "paths_cut": shot.cut} if shot.group else {}),
            **({"trajectory": view.trajectory} if view.trajectory else {}),
            **({"scope": view.scope} if view.scope else {}),
        },
        "view": view.number,
        "variation": shot.name,
        "parameters": shot.parameters,
        "seed": shot.seed,
        "traced_with": shot.group,
        "K": view.scene.camera.K.tolist(),
        "camera": told["camera"],
        "world_from_camera": told["world_from_camera"],
        "volume": view.facts,
        "spp": shot.spp,
        "denoised": denoised,
    }
    return Negative(
        row=row,
        header=header,
        radiance=shot.radiance,
        guides=shot.guides,
        mirrored=shot.mirrored,
        layers=shot.layers,
        depths=shot.depths,
        mask=view.scene.camera.visible(),
        z_depth=z_depth,
        focal=float(view.scene.camera.K[0, 0]),
        noise=seed_of(view.config.seed, view.patient, view.number, shot.name, "response"),
        geometry=shared,
    )


def _header(view: View) -> dict[str, exr.Attribute]:
    """EXR attributes that place a view: camera, K and pose, as JSON."""
    told = view.scene.to_dict()
    return {
        "axes": json.dumps(AXES),
        "camera": json.dumps(told["camera"]),
        "K": json.dumps(view.scene.camera.K.tolist()),
        "worldFromCamera": json.dumps(told["world_from_camera"]),
        "generator": f"endorender {__version__}",
    }
