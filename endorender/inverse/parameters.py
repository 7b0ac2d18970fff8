"""What of a scene can be fitted: by name, into the scene and back from the kernels' gradient. Numpy only.

| name | shape | |
| --- | --- | --- |
| `tissue.sigma_t`, `tissue.albedo` | (N,), (N, 3) | at the tissue's N control points |
| `tissue.roughness`, `tissue.specular` | () | of the coat (`interface`) |
| `medium.sigma_t`, `medium.albedo` | (I, J, K), (I, J, K, 3) | of a GridMedium's voxels |
| `phase.NAME` | () or (N,) | a parameter of the phase function, of all tissue or at the control points |
| `lights.I.NAME` | as in the light | intensity, irradiance, radiance, scale, colour, mu, position or guides |
| `camera.pose` | (6,) | world_from_camera · exp(ξ): mm along, then radians about the camera's axes |
| `camera.focal` | () | focal length along x, pixels; the one along y keeps its share of it |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import expm

from endorender.errors import UserError, hint
from endorender.registry import validated
from endorender.render.images.gradient import Gradient
from endorender.render.medium.prepared import prepare
from endorender.render.transport.emitters import E, pack_emitters
from endorender.scene.camera import Pinhole
from endorender.scene.light import lights
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import TABLE_HU, Tissue

Values = Mapping[str, np.ndarray]
STRENGTHS = ("intensity", "irradiance", "radiance", "scale", "colour", "mu")
PLACES = ("position", "guides")


def names(scene: Scene) -> list[str]:
    """Every parameter of this scene that `apply` takes and `chain` differentiates."""
    grid = isinstance(scene.medium, GridMedium)
    out = [f"{'medium' if grid else 'tissue'}.{name}" for name in ("sigma_t", "albedo")]
    if scene.surface == "interface":
        out += [f"tissue.{name}" for name in ("roughness", "specular") if name not in scene.tissue.surface_parameters]
    out += [f"phase.{name}" for name in type(scene.phase).PARAMETERS]
    movable = scene.surface == "volume"
    for i, light in enumerate(scene.lights):
        fields = [f for f in STRENGTHS if hasattr(light, f) and not (f == "colour" and light.temperature is not None)]
        fields += [f for f in PLACES if hasattr(light, f) and movable]
        out += [f"lights.{i}.{f}" for f in fields]
    skyless = all(hasattr(light, "emitters") for light in scene.lights)
    return out + (["camera.pose", "camera.focal"] if movable and skyless and type(scene.camera) is Pinhole else [])


def wanted(scene: Scene, asked: Sequence[str]) -> tuple[str, ...]:
    """Which of `coverage.WANTED` these parameters need."""
    out = set()
    for name in asked:
        first, last = name.split(".")[0], name.split(".")[-1]
        if last == "sigma_t":
            out |= {"sigma_t", "air"}
        elif last == "albedo" or first == "phase":
            out.add("albedo" if last == "albedo" else "phase")
        elif first == "tissue":
            out.add("coat")
        elif first == "camera":
            out |= {"pose", "places"}
        elif last in PLACES:
            out.add("places")
        else:
            out.add("lights" if hasattr(scene.lights[int(name.split(".")[1])], "emitters") else "sky")
    return tuple(out)


def current(scene: Scene, name: str) -> np.ndarray:
    """The value that a parameter has in the scene, float64."""
    if name not in names(scene):
        raise UserError(
            f"{name!r} cannot be fitted here{hint(name, names(scene))}; these can: {', '.join(names(scene))}",
            "UNKNOWN_NAME",
        )
    first, *middle, last = name.split(".")
    if first == "medium":
        return np.array(getattr(scene.medium, last), float)
    if first == "tissue":
        return np.array(getattr(scene.tissue, last), float)
    if first == "phase":
        varying = {} if isinstance(scene.medium, GridMedium) else scene.tissue.phase_parameters
        return np.array(varying.get(last, getattr(scene.phase, last)), float)
    if first == "lights":
        return np.array(getattr(scene.lights[int(middle[0])], last), float)
    return np.zeros(6) if last == "pose" else np.array(scene.camera.K[0, 0])


def apply(scene: Scene, values: Values) -> Scene:
    """The scene with these values in it; raises UserError where the scene does not take one."""
    for name, value in values.items():
        old = current(scene, name)
        spread = name.startswith("phase.") and value.shape == (len(scene.tissue.hu),)
        if value.shape != old.shape and not (spread and not isinstance(scene.medium, GridMedium)):
            raise UserError(f"{name} has the shape {old.shape}, got {value.shape}", "INVALID_VALUE")
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        where, _, last = name.rpartition(".")
        parts.setdefault(where, {})[last] = value.tolist() if value.size < 4096 else value
    for where, changes in parts.items():
        scene = _with_part(scene, where, changes)
    return scene


def _with_part(scene: Scene, where: str, changes: dict[str, Any]) -> Scene:
    medium, tissue = scene.medium, scene.tissue
    if where == "medium":
        assert isinstance(medium, GridMedium)
        held = {"sigma_t": medium.sigma_t, "albedo": medium.albedo} | changes
        fields = {name: np.asarray(value, np.float32) for name, value in held.items()}
        try:
            return scene.with_(medium=GridMedium(**fields, affine=medium.affine, phase=medium.phase))
        except ValueError as error:
            raise UserError(f"medium: {error}", "INVALID_VALUE") from None
    if where == "tissue":
        return scene.with_(tissue=_custom(tissue, changes))
    if where == "phase":
        fixed = {name: value for name, value in changes.items() if not isinstance(value, list)}
        phase = validated(type(scene.phase), {**scene.phase.model_dump(), **fixed}, "phase")
        if isinstance(medium, GridMedium):
            return scene.with_(medium=GridMedium(medium.sigma_t, medium.albedo, medium.affine, phase))
        varying = {name: value for name, value in changes.items() if isinstance(value, list)}
        held = {**tissue.phase_parameters, **varying}
        return scene.with_(tissue=_custom(tissue, {"phase": phase, "phase_parameters": held}))
    if where == "camera":
        if "focal" in changes:
            k, camera = scene.camera.K, scene.camera
            focal = {"fx": changes["focal"], "fy": changes["focal"] * k[1, 1] / k[0, 0], "cx": k[0, 2], "cy": k[1, 2]}
            fields = camera.model_dump() | focal | {"fov": None, "calibrated": None}
            scene = scene.with_(camera=validated(type(camera), fields, "camera"))
        if "pose" in changes:
            scene = scene.with_(world_from_camera=moved(scene.world_from_camera, np.array(changes["pose"])))
        return scene
    index = int(where.split(".")[1])
    every = list(scene.lights)
    every[index] = lights.build({**lights.dump(every[index]), **changes})
    return scene.with_(lights=tuple(every))


def _custom(tissue: Tissue, changes: dict[str, Any]) -> Tissue:
    """A plain tissue, whatever this one is derived from."""
    fields = {name: getattr(tissue, name) for name in Tissue.model_fields}
    return validated(Tissue, {**fields, **changes}, "tissue")


def moved(world_from_camera: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """world_from_camera · exp(ξ) for ξ in se(3): translation (mm), rotation vector; camera frame."""
    x, y, z, a, b, c = xi
    generator = np.array([[0, -c, b, x], [c, 0, -a, y], [-b, a, 0, z], [0, 0, 0, 0.0]])
    return np.asarray(np.asarray(world_from_camera, float) @ expm(generator))


def chain(scene: Scene, values: Values, found: Gradient, asked: Sequence[str]) -> dict[str, np.ndarray]:
    """Gradients by parameter. scene: without the values; found: the gradient at the scene with them."""
    at = apply(scene, values)
    return {name: _chained(scene, at, name, values[name], found) for name in asked}


def _chained(scene: Scene, at: Scene, name: str, value: np.ndarray, found: Gradient) -> np.ndarray:
    first, *middle, last = name.split(".")
    if first == "medium":
        return np.asarray(getattr(found, last))
    if name in ("tissue.roughness", "tissue.specular"):
        return np.array(getattr(found, last))
    if first == "phase" or first == "tissue":
        return _along_hu(at, name, value, found)
    if first == "lights":
        return _of_light(at, int(middle[0]), last, value, found)
    if last == "focal":
        return np.array(found.focal / float(value))
    out = np.zeros(6)
    for i, step in enumerate(np.eye(6) * 1e-5):
        d = (moved(scene.world_from_camera, value + step) - moved(scene.world_from_camera, value - step)) / 2e-5
        spin = d[:3, :3] @ at.world_from_camera[:3, :3].T
        out[i] = d[:3, 3] @ found.shift + np.array([spin[2, 1], spin[0, 2], spin[1, 0]]) @ found.turn
    return out


def _along_hu(at: Scene, name: str, value: np.ndarray, found: Gradient) -> np.ndarray:
    """From the table's rows to the control points between which they are interpolated."""
    tissue, last = at.tissue, name.split(".")[-1]
    points = np.stack([np.interp(TABLE_HU, tissue.hu, e) for e in np.eye(len(tissue.hu))], 1)
    table = found.table
    if name == "tissue.sigma_t":
        assert table is not None
        return points.T @ table[:, 0]
    if name == "tissue.albedo":
        assert table is not None
        return points.T @ table[:, -3:]
    # Numbers of the device's phase function by the parameter that users know, at every HU.
    given = {} if isinstance(at.medium, GridMedium) else tissue.phase_parameters
    n = 1 if isinstance(at.medium, GridMedium) else len(TABLE_HU)
    held = {
        p: np.interp(TABLE_HU, tissue.hu, given[p]) if p in given else np.full(n, getattr(at.phase, p))
        for p in type(at.phase).PARAMETERS
    }
    h = 1e-5 * np.maximum(1, np.abs(held[last]))
    up, down = (at.phase.along(n, {**held, last: held[last] + s * h}) for s in (1, -1))
    by_row = ((up - down) / (2 * h[:, None]) * (found.phase if table is None else table[:, 1:-3])).sum(1)
    return points.T @ by_row if value.shape else np.array(by_row.sum())


def _of_light(at: Scene, index: int, field: str, value: np.ndarray, found: Gradient) -> np.ndarray:
    light = at.lights[index]
    if not hasattr(light, "emitters"):
        return _of_sky(at, index, field, value, found)
    rows = _rows(at, index)
    mine = found.emitters[rows]
    if field == "mu":
        return np.array(mine[:, E.MU].sum())
    # What is packed is linear in every field, so a step of 1 is exact.
    base = pack_emitters([at], prepare(at.medium))[rows].astype(float)
    out = np.zeros(value.size)
    for i in range(value.size):
        step = value.astype(float).ravel().copy()
        step[i] += 1
        changed = _with_part(at, f"lights.{index}", {field: step.reshape(value.shape).tolist()})
        packed = pack_emitters([changed], prepare(at.medium))[rows].astype(float)
        out[i] = ((packed - base) * mine).sum()
    return out.reshape(value.shape)


def _rows(scene: Scene, index: int) -> slice:
    """Where a light stands among the packed emitters."""
    counts = [
        len(light.emitters(scene.world_from_camera).position) if hasattr(light, "emitters") else 0
        for light in scene.lights
    ]
    return slice(sum(counts[:index]), sum(counts[: index + 1]))


def _of_sky(at: Scene, index: int, field: str, value: np.ndarray, found: Gradient) -> np.ndarray:
    if sum(not hasattr(light, "emitters") for light in at.lights) > 1:
        raise UserError("gradients cover one environment, not a sum of several", "NOT_DIFFERENTIABLE")
    if not np.all(value > 0):
        raise UserError(
            f"lights.{index}.{field} must be above 0 to be fitted: where it is 0 no path tells", "INVALID_VALUE"
        )
    by_channel = found.sky / value
    return by_channel if value.shape else np.array(by_channel.sum())


__all__ = ["apply", "chain", "current", "moved", "names", "wanted"]
