"""What the foreign test sets share: views of phantoms by a renderer that is not ours, as a SimCol3D folder.

Of endorender come the wall and the poses; a script gives a `Patient` whose `shoot` makes picture and depth of one view.
Finished views lie in OUT.views until all are there, so that the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from endorender.ct.prepare import Prepared, prepare
from endorender.ct.reader import open_ct
from endorender.dataset.layouts import export
from endorender.dataset.layouts.layout import ForeignFrame, foreign_dataset
from endorender.dataset.patient import volume_hash, voxels_hash
from endorender.errors import UserError
from endorender.outputs import whole
from endorender.scene.camera import Pinhole

DEEPEST_MM = 200.0  # what SimCol3D can hold; farther walls have no depth
SET = "set.json"


class Patient(NamedTuple):
    """camera: of all views. poses: (V, 4, 4) world_from_camera, OpenCV axes, RAS mm. shoot: number of a view ->
    (H, W, 3) uint8, (H, W) z-depth in mm, NaN where there is none, and what is to be noted. told: what was drawn."""

    camera: Pinhole
    poses: np.ndarray
    shoot: Callable[[int], tuple[np.ndarray, np.ndarray, dict[str, Any]]]
    told: dict[str, Any]


Maker = Callable[[int, "Phantom", int], Patient]  # (number, its phantom, views) -> what is to be rendered


class Phantom(NamedTuple):
    """A phantom made ready, with the hashes by which training and evaluation know a person."""

    ready: Prepared
    volume: dict[str, str]


def phantom(number: int) -> Phantom:
    """`phantom:NUMBER`."""
    raw = open_ct(f"phantom:{number}")
    return Phantom(prepare(raw), {"ct_sha256": volume_hash(raw), "voxels_sha256": voxels_hash(raw)})


def arguments(doc: str, patients: Iterable[int], views: int, given: Sequence[str] | None = None) -> argparse.Namespace:
    """OUT, the phantoms' numbers and the views of each, from the command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder that is made")
    parser.add_argument("patients", type=int, nargs="*", metavar="PATIENT", help="numbers of phantoms")
    parser.add_argument("--views", type=int, default=views, help="of each patient (%(default)s)")
    found = parser.parse_args(given)
    found.patients = found.patients or list(patients)
    return found


def make(asked: argparse.Namespace, renderer: str, settings: dict[str, Any], patient_of: Maker) -> None:
    """Render what is missing of asked.patients, then write asked.out. Ends the process with a line on a user's mistake.

    settings: what decides the pictures beside patients and views, and versions: a folder begun with others is refused.
    """
    try:
        _make(asked, renderer, settings, patient_of)
    except UserError as error:
        sys.exit(f"error: {error}")


def _make(asked: argparse.Namespace, renderer: str, settings: dict[str, Any], patient_of: Maker) -> None:
    out: Path = asked.out
    if out.exists():
        raise UserError(f"{out} is there already: choose another folder", "EXISTS")
    kept = out.with_name(f"{out.name}.views")
    _begin(kept, {"renderer": renderer, "views": asked.views, **settings})
    frames: list[ForeignFrame] = []
    told: dict[str, Any] = {}
    for n, number in enumerate(asked.patients):
        alias = f"{renderer[0]}{number:03d}"
        frames_here, told[alias] = _patient(kept, renderer, alias, number, asked.views, patient_of)
        frames += frames_here
        print(f"{n + 1} of {len(asked.patients)} patients", file=sys.stderr)
    export(foreign_dataset(kept, frames, "test"), "simcol3d", out, split="test")
    facts = {"renderer": renderer, "views": asked.views, **settings, "patients": told}
    (out / SET).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(kept)
    seconds = sum(view["cpu_s"] for one in told.values() for view in one["views"])
    print(f"{len(frames)} frames, {seconds / len(frames):.1f} CPU seconds each")


def _begin(kept: Path, settings: dict[str, Any]) -> None:
    """Make the folder of finished views, or go on in one of the same settings."""
    kept.mkdir(parents=True, exist_ok=True)
    known = kept / SET
    if known.is_file():
        if json.loads(known.read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
            raise UserError(f"{kept} was begun with other settings: remove it, or choose another folder", "RESUME")
        return
    with whole(known) as (part,):
        part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _patient(
    kept: Path, renderer: str, alias: str, number: int, views: int, patient_of: Maker
) -> tuple[list[ForeignFrame], dict[str, Any]]:
    """The frames of one patient, rendered as far as they are missing; and what set.json says of it."""
    own = phantom(number)
    patient = patient_of(number, own, views)
    frames, notes = [], []
    # The layout has no words for a mask: what it hides has no depth.
    camera = {"type": "pinhole", **patient.camera.model_dump(include={"width", "height"}), **_k(patient.camera)}
    for n, pose in enumerate(patient.poses):
        path = kept / f"{alias}-{n:04d}.npz"
        if not path.is_file():
            before = time.process_time()
            image, z, noted = patient.shoot(n)
            noted = {"cpu_s": round(time.process_time() - before, 2), **noted}
            with whole(path) as (part,):
                np.savez_compressed(part, image=image, z=z.astype(np.float32), noted=json.dumps(noted))
            print(f"{alias} {n + 1}/{views}: {json.dumps(noted)}", file=sys.stderr)
        with np.load(path) as stored:
            notes.append(json.loads(str(stored["noted"])))
        frames.append(
            ForeignFrame(
                id=f"{alias}/{n:04d}/{renderer}",
                patient=alias,
                view=n,
                variation=renderer,
                camera=camera,
                world_from_camera=tuple(map(tuple, pose.tolist())),
                paths={},
                load_image=lambda path=path: _stored(path, "image"),
                load_depth=lambda path=path: _held(_stored(path, "z")),
                volume=own.volume,
            )
        )
    return frames, {"phantom": number, **patient.told, "views": notes}


def _k(camera: Pinhole) -> dict[str, float | None]:
    k = camera.K
    return {"fov": None, "fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}


def _stored(path: Path, name: str) -> np.ndarray:
    with np.load(path) as stored:
        return np.asarray(stored[name])


def _held(z: np.ndarray) -> np.ndarray:
    """(H, W) mm, NaN where it is beyond what the layout holds, instead of cut there."""
    return np.where(z <= DEEPEST_MM, z, np.nan)
