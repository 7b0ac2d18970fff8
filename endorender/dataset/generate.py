"""From CTs to a dataset, patient by patient.

Nothing here depends on what was rendered before, so an interrupted dataset continues where it stopped and
ends up with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from endorender import __version__
from endorender.dataset.config import Patient, RenderConfig, fingerprint
from endorender.dataset.frame import SCHEMA, frame_id
from endorender.dataset.variation import seed_of
from endorender.dataset.view import AXES, DEPTH, View, render_view
from endorender.dataset.writer import Writer
from endorender.errors import Notice, UserError

HOPELESS = 8  # views that fail before any frame is there: then it is no matter of single frames

# Called with: frames done (a fraction counts), frames in all, what is going on.
Progress = Callable[[float, int, str], None]


def generate(
    config: RenderConfig,
    out: str | Path,
    resume: bool = False,
    only: str | Collection[str] | None = None,
    progress: Progress | None = None,
    retry_failed: bool = False,
) -> Path:
    """Render a dataset into the folder `out` and return that folder.

    resume: continue what was begun there; the configuration must be the same. only: render this frame
    ("PATIENT/VIEW/VARIATION") or these, again if need be. Errors: UserError, nothing in `out` is lost.
    A view that fails is recorded in failed.jsonl and the run goes on; retry_failed: continue, and try those again.
    """
    from endorender.dataset.pages import finished, write_pages

    ids = [frame_id(p.alias, n, v.name) for p in config.ct for n in range(config.views) for v in config.columns]
    chosen = None if only is None else {only} if isinstance(only, str) else set(only)
    if chosen is not None and (unknown := sorted(chosen - set(ids))):
        raise UserError(f"no frame is called {unknown[0]!r}; they run from {ids[0]} to {ids[-1]}", "UNKNOWN_FRAME")
    for patient in config.ct:
        # Said now, not in the middle of the night when this patient's turn comes.
        if patient.source == "file" and not Path(patient.ct).exists():
            raise UserError(f"{patient.ct}: no such file or folder (also: sample, phantom:SEED)", "NOT_FOUND")
    for mask in config.labels:
        if not Path(mask).is_file():
            raise UserError(f"{mask}: no such file; a mask of labels is a NIfTI file", "NOT_FOUND")
    writer = Writer(Path(out), describe(config, len(ids)), ids)
    with writer.open(resume or retry_failed or chosen is not None):
        for name in chosen or ():
            writer.rows.pop(name, None)
        skipped = set() if retry_failed else set(writer.failed) - (chosen or set())
        missing = {i for i in writer.missing() if (chosen is None or i in chosen) and i not in skipped}
        for patient in config.ct:
            if any(i.startswith(f"{patient.alias}/") for i in missing):
                _patient(config, patient, writer, missing, progress or (lambda done, total, text: None))
        writer.finish()
        if not writer.missing():
            write_pages(writer, finished(writer.root))
        elif writer.failed:
            name, row = next(iter(writer.failed.items()))
            warnings.warn(
                f"{len(writer.failed)} frames failed, {name} first ({row['error']}); failed.jsonl lists them, "
                "--retry-failed tries them again",
                Notice,
                stacklevel=2,
            )
    return writer.root


def describe(config: RenderConfig, frames: int) -> dict[str, Any]:
    """dataset.json."""
    public = config.public()
    return {
        "schema": SCHEMA,
        "generator": {"name": "endorender", "version": __version__},
        "units": {"length": "mm", "ct": "HU", "radiance": "linear scene-referred RGB, relative"},
        "axes": AXES,
        "depth": DEPTH,
        "patients": [p.alias for p in config.ct],
        "variations": [v.name for v in config.columns],
        "views": config.views,
        "frames": frames,
        "splits": public["splits"],
        "configuration": public,
        "fingerprint": fingerprint(public),
    }


def _reading(report: Callable[[float, str], None], done: int, total: int, text: str) -> None:
    report(0, f"{text}, {done} of {total}")


def _patient(config: RenderConfig, patient: Patient, writer: Writer, missing: set[str], progress: Progress) -> None:
    """Read the CT, find the lumen, fly through it, and render the missing frames."""
    from endorender.ct import onto, open_ct, prepare
    from endorender.render import init
    from endorender.scene import Scene, lights
    from endorender.scene import cameras as optics
    from endorender.scene.trajectory import poses

    init(config.device)
    shown = 0.0

    def report(fraction: float, text: str) -> None:
        # Frames that were traced together are written one by one afterwards: progress does not go back for that.
        nonlocal shown
        shown = max(shown, len(writer.rows) + fraction)
        progress(shown, len(writer.ids), f"{patient.alias}: {text}")

    report(0, "reading the CT")
    reading = partial(_reading, report)
    raw = open_ct(patient.ct, patient.series or config.series, config.resample, config.assume_hu, reading)
    digest = volume_hash(raw)
    if any(r.ct_sha256 != digest for r in writer.rows.values() if r.patient == patient.alias):
        raise UserError(
            f"the CT of {patient.alias} is not the one its finished frames were rendered from: "
            "give that CT again, or choose another --out",
            "CT_CHANGED",
        )
    labels = _labels(config, patient, raw, writer)
    report(0, "finding the lumen")
    ready = prepare(raw, region=patient.region or config.region)
    volume = ready.volume
    own = [config.draw_view(patient.alias, n) for n in range(config.views if config.flies_freely else 1)]
    flown = {name: np.array([view["trajectory"][name] for view in own]) for name in own[0]["trajectory"]}
    seed = seed_of(config.seed, patient.alias, "poses")
    cameras = poses(volume, ready.lumen, ready.path, config.views, seed, **flown)
    facts = {
        "shape": list(volume.shape),
        "spacing_mm": [round(float(s), 6) for s in volume.spacing],
        "meta": json.loads(json.dumps(dict(volume.meta))),
        "ct_sha256": digest,
        **({"labels_sha256": labels[1]} if labels else {}),
    }
    scene = Scene(
        medium=volume,
        camera=optics.build(own[0]["camera"]),
        world_from_camera=cameras[0],
        lights=(lights.build(config.light),),
        threshold=ready.lumen.threshold,
        surface=config.surface,
        mucosa=_mucosa(config, patient),
        labels=onto(labels[0], raw, volume) if labels else None,
    )

    def scene_at(n: int) -> Scene:
        # Of a camera that does not vary there is one for all views.
        return scene.with_(world_from_camera=cameras[n], camera=optics.build(own[n % len(own)]["camera"]))

    for n in range(config.views):
        names = [v.name for v in config.columns if frame_id(patient.alias, n, v.name) in missing]
        if names:
            view = View(
                config,
                patient.alias,
                n,
                facts,
                scene_at(n),
                own[n % len(own)]["trajectory"] if config.trajectory else None,
                scene_at(n + 1) if n + 1 < config.views else None,
            )
            try:
                render_view(view, writer, names, partial(report, text=f"view {n}"))
            except Exception as error:
                _fail(config, view, writer, names, error)


def _fail(config: RenderConfig, view: View, writer: Writer, names: list[str], error: Exception) -> None:
    """Record what a view could not do. Raises the error where going on is of no use."""
    stopped = isinstance(error, UserError) and error.code == "STOPPED"
    if isinstance(error, (OSError, MemoryError)) or stopped:
        raise error
    # Others' messages may hold anything, a path among them: their kind must do.
    told = str(error) if isinstance(error, UserError) else type(error).__name__
    for name in names:
        frame = frame_id(view.patient, view.number, name)
        if frame not in writer.rows:
            seed = seed_of(config.seed, view.patient, view.number, name)
            writer.fail(frame, seed, getattr(error, "code", "BUG"), told)
    if not writer.rows and len({name.rsplit("/", 1)[0] for name in writer.failed}) >= min(HOPELESS, config.views):
        raise error


def _labels(config: RenderConfig, patient: Patient, raw: Any, writer: Writer) -> tuple[np.ndarray, str] | None:
    """The patient's mask on the grid of its CT as read, and the file's hash."""
    from endorender.ct import read_labels

    if not config.labels:
        return None
    labels, digest = read_labels(config.labels[config.ct.index(patient)], raw)
    if any(r.labels_sha256 != digest for r in writer.rows.values() if r.patient == patient.alias):
        raise UserError(
            f"the mask of {patient.alias} is not the one its finished frames were rendered with: "
            "give that mask again, or choose another --out",
            "LABELS_CHANGED",
        )
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


def volume_hash(volume: Any) -> str:
    """sha256 of a CT as it was read: HU and affine."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.hu).data)
    digest.update(np.ascontiguousarray(volume.affine, np.float64).data)
    return digest.hexdigest()
