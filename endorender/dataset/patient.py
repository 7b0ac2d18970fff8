"""A patient made ready: the CT read, the lumen found, the flight planned; from there any view of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.config import RenderConfig
from endorender.dataset.hidden_lumen import hollow
from endorender.dataset.patients import Patient
from endorender.dataset.variation import seed_of
from endorender.dataset.view import View
from endorender.errors import Notice, UserError

if TYPE_CHECKING:
    from jaxtyping import Float, Real, Shaped, UInt8

    from endorender.ct import Prepared, Volume
    from endorender.scene import Scene, Scope

# Called with: the share of a view's frames that is done since the last row, what is going on.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Hashes:
    """Of what a patient's frames are rendered from: the CT as read, the files of its masks (`labels`, `label`)."""

    ct: str
    labels: str | None
    label: str | None


@dataclass(frozen=True)
class Ready:
    """A patient ready to be rendered.

    facts: what the manifest says of the volume. scene: without a variation's tissue. poses: (V, 4, 4)
    world_from_camera, mm. inside: (I, J, K) of the lumen, from `hidden_lumen.hollow`. drawn: camera and trajectory of
    each view, or of all where they do not vary. scope: the instrument, if it has a body.
    """

    config: RenderConfig
    alias: str
    facts: dict[str, Any]
    scene: Scene
    poses: Float[np.ndarray, "V 4 4"]
    inside: UInt8[np.ndarray, "I J K"]
    drawn: list[dict[str, Any]]
    scope: dict[str, Any] | None = None

    def view(self, n: int) -> View:
        """View number n."""
        return View(
            self.config,
            self.alias,
            n,
            self.facts,
            self._scene(n),
            self.inside,
            self.drawn[n % len(self.drawn)]["trajectory"] if self.config.trajectory else None,
            self._scene(n + 1) if n + 1 < len(self.poses) else None,
            self.scope,
        )

    def _scene(self, n: int) -> Scene:
        from endorender.scene import cameras

        # Of a camera that does not vary there is one for all views.
        camera = cameras.build(self.drawn[n % len(self.drawn)]["camera"])
        return self.scene.with_(world_from_camera=self.poses[n], camera=camera)


def prepare(config: RenderConfig, alias: str, known: Hashes | None, report: Report) -> Ready:
    """Read the CT, find the lumen and plan the flight through it.

    known: what the patient's finished frames were rendered from; another CT or mask is refused.
    """
    from endorender.ct import onto
    from endorender.scene import scopes
    from endorender.scene.trajectory import poses, refuse_outside

    patient = next(p for p in config.ct if p.alias == alias)
    raw, ready, facts, labels = scanned(config, patient, known, report)
    volume = ready.volume
    drawn = [config.draw_view(alias, n) for n in range(config.views_of(alias) if config.flies_freely else 1)]
    if patient.poses:
        flight = patient.poses.array
        refuse_outside(volume, ready.lumen, flight)
        scope = _tried(config, alias, ready, flight)
    else:
        flown: dict[str, Any] = {
            name: np.array([view["trajectory"][name] for view in drawn]) for name in drawn[0]["trajectory"]
        }
        scope = _scope(config, alias, ready)
        seed = seed_of(config.seed, alias, "poses")
        flight = poses(volume, ready.lumen, ready.path, config.views, seed, scope=scope, **flown)
    mask = onto(labels, raw, volume) if labels is not None else None
    scene = outline(config, patient, volume, flight[0], ready.lumen.threshold, mask)
    body = None if scope is None else scopes.dump(scope)
    return Ready(config, alias, facts, scene, flight, hollow(ready.lumen), drawn, body)


def scanned(
    config: RenderConfig, patient: Patient, known: Hashes | None, report: Report
) -> tuple[Volume, Prepared, dict[str, Any], Shaped[np.ndarray, "A B C"] | None]:
    """The CT as read, its lumen on the grid that is rendered, what the manifest says of them, and the labels on the
    first grid. known: as for `prepare`."""
    from endorender.ct import cleanse, open_ct
    from endorender.ct import prepare as find_lumen

    alias = patient.alias
    report(0, f"{alias}: reading the CT")
    reading = partial(_reading, report, alias)
    with said_of(config.ct, alias):
        series, phase = patient.series or config.series, config.phase if patient.phase is None else patient.phase
        raw = open_ct(patient.ct, series, config.resample, config.assume_hu, reading, phase)
        digest, voxels = volume_hash(raw), voxels_hash(raw)
        if known and known.ct != digest:
            raise other_ct(alias)
        organ = _organ(config, patient, raw, known)
        labels = _labels(config, patient, raw, known)
        if config.cleanse:
            raw, _ = cleanse.cleanse(raw)
        report(0, f"{alias}: finding the lumen")
        ready = find_lumen(raw, patient.region or config.region, organ and organ[0])
    volume = ready.volume
    facts = {
        "shape": list(volume.shape),
        "spacing_mm": [round(float(s), 6) for s in volume.spacing],
        "meta": json.loads(json.dumps(dict(volume.meta))),
        "ct_sha256": digest,
        "voxels_sha256": voxels,
        **({"labels_sha256": labels[1]} if labels else {}),
        **({"label_sha256": organ[1]} if organ else {}),
    }
    return raw, ready, facts, labels and labels[0]


def _tried(config: RenderConfig, alias: str, ready: Prepared, given: np.ndarray) -> Scope | None:
    """The instrument named for poses that are given. They are kept; where it has no room there, that is said."""
    from endorender.scene import scopes

    if not isinstance(config.scope, dict):
        return None  # whoever gives poses knows what they were taken with
    scope: Scope = scopes.build(config.scope)
    if stuck := np.flatnonzero(~scope.fits(ready.volume, ready.lumen, given)).tolist():
        warnings.warn(
            f"{alias}: at {len(stuck)} of {len(given)} given poses a scope of {scope.diameter:g} mm lies in tissue, "
            f"first at number {stuck[0] + 1}",
            Notice,
            stacklevel=2,
        )
    return scope


def _scope(config: RenderConfig, alias: str, ready: Prepared) -> Scope | None:
    """The instrument that a patient is examined with."""
    from endorender.scene import scopes
    from endorender.scene.trajectory import suitable, suits

    if config.scope == "auto":
        return suitable(*ready)
    if config.scope is None:
        return None
    scope: Scope = scopes.build(config.scope)
    share = suits(*ready, scope)
    if 0 < share < 0.5:
        warnings.warn(
            f"{alias}: a scope of {scope.diameter:g} mm has room along {share:.0%} of the way; all views lie there",
            Notice,
            stacklevel=2,
        )
    return scope


def outline(
    config: RenderConfig,
    patient: Patient,
    volume: Volume,
    pose: Real[np.ndarray, "4 4"],
    threshold: float = -550.0,
    labels: Shaped[np.ndarray, "I J K"] | None = None,
) -> Scene:
    """A patient's scene without a variation's tissue, with the first view's camera."""
    from endorender.scene import Scene, cameras, lights

    return Scene(
        medium=volume,
        camera=cameras.build(config.draw_view(patient.alias, 0)["camera"]),
        world_from_camera=pose,
        lights=(lights.build(config.light),),
        threshold=threshold,
        surface=config.surface,
        boundary=config.boundary,
        coat=config.coat,
        mucosa=_mucosa(config, patient),
        labels=labels,
    )


def _reading(report: Report, alias: str, done: int, total: int, text: str) -> None:
    report(0, f"{alias}: {text}, {done} of {total}")


def other_ct(alias: str) -> UserError:
    """What is said where a patient's frames would come from two CTs."""
    return UserError(
        f"the CT of {alias} is not the one its finished frames were rendered from: "
        "give that CT again, or begin another dataset",
        "CT_CHANGED",
    )


@contextlib.contextmanager
def said_of(several: Sized, alias: str) -> Iterator[None]:
    """A scan's error names its patient where there are several: nothing else tells which."""
    try:
        yield
    except UserError as error:
        if len(several) == 1 or alias in str(error):
            raise
        raise UserError(f"{alias}: {error}", error.code) from None


def refuse_absent(config: RenderConfig) -> None:
    """Raise where a CT or mask is not there. Paths are patient data: they are told by alias."""
    from endorender.ct import mask
    from endorender.ct.limits import regular

    for n, patient in enumerate(config.ct):
        with said_of(config.ct, patient.alias):
            if patient.source == "file":
                regular(Path(patient.ct))
            for spec in config.label[n : n + 1]:
                regular(mask.chosen(spec)[0], *mask.ASKED)
            for path in config.labels[n : n + 1]:
                regular(Path(path), *mask.ASKED)


def _organ(config: RenderConfig, patient: Patient, raw: Any, known: Hashes | None) -> tuple[np.ndarray, str] | None:
    """The mask under which the patient's lumen lies, on the grid of its CT as read, and its file's hash."""
    from endorender.ct import read_organ

    if not config.label:
        return None
    organ, digest = read_organ(config.label[config.ct.index(patient)], raw)
    if known and known.label != digest:
        raise _other_mask(patient.alias)
    return organ, digest


def _other_mask(alias: str) -> UserError:
    return UserError(
        f"the mask of {alias} is not the one its finished frames were rendered with: "
        "give that mask again, or begin another dataset",
        "LABELS_CHANGED",
    )


def _labels(config: RenderConfig, patient: Patient, raw: Any, known: Hashes | None) -> tuple[np.ndarray, str] | None:
    """The patient's mask on the grid of its CT as read, and the file's hash."""
    from endorender.ct import read_mask

    if not config.labels:
        return None
    labels, digest = read_mask(config.labels[config.ct.index(patient)], raw)
    if known and known.labels != digest:
        raise _other_mask(patient.alias)
    if absent := sorted(set(config.label_tissue) - set(np.unique(labels).tolist())):
        warnings.warn(f"{patient.alias}: no voxel of the mask carries label {absent[0]}", Notice, stacklevel=2)
    return labels, digest


def _mucosa(config: RenderConfig, patient: Patient) -> Any:
    """The configured layer with a seed of the patient's own, or None."""
    from endorender.scene import mucosas

    layer = mucosa_of(config, patient)
    return None if layer is None else mucosas.build(layer)


def mucosa_of(config: RenderConfig, patient: Patient) -> dict[str, Any] | None:
    """The same as a mapping."""
    if config.mucosa is None:
        return None
    seed = seed_of(config.seed, patient.alias, "mucosa", config.mucosa["seed"])
    return {**config.mucosa, "seed": seed}


def voxels_hash(volume: Any) -> str:
    """sha256 of whole HU in the order of R, A, S: the same for a copy of a scan in another format or orientation, whose
    affine was rounded on the way. A person is known by it where datasets meet."""
    from nibabel import orientations

    hu = orientations.apply_orientation(volume.hu, orientations.io_orientation(volume.affine))
    digest = hashlib.sha256(str(hu.shape).encode())
    whole = np.issubdtype(hu.dtype, np.integer)
    for plane in hu:
        digest.update(np.ascontiguousarray(plane if whole else np.rint(plane).clip(-32768, 32767), "<i2").data)
    return digest.hexdigest()


def volume_hash(volume: Any) -> str:
    """sha256 of a CT as it was read: HU and affine."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.hu).data)
    digest.update(np.ascontiguousarray(volume.affine, np.float64).data)
    return digest.hexdigest()
