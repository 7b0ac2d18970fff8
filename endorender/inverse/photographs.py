"""Photographs, the calibration of their camera and its poses, as they come from outside. All of it is checked here.

A photograph is known by its number, from 1 in the order of the files' names: names and paths are patient data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from endorender import pictures
from endorender.errors import UserError
from endorender.scene import posefile
from endorender.scene.photograph import calibration, fault, listed
from endorender.scene.posefile import read_text

WALL = {"surface": "interface", "boundary": "straight"}  # with which scenes are fitted
ROWS = 1000  # of a manifest that are looked at
LENS = {"vignette": "vignette", "aperture": "defocus"}  # of a response, by its parameter


@dataclass(frozen=True)
class Photographs:
    """images: (N, H, W, 3) uint8. cameras: one for each, of this size. poses: (N, 4, 4) world_from_camera, RAS mm, or
    None."""

    images: np.ndarray
    cameras: tuple[Any, ...]
    poses: np.ndarray | None

    @property
    def camera(self) -> Any:
        """The first photograph's."""
        return self.cameras[0]

    @property
    def alike(self) -> bool:
        """Whether all were taken by one camera."""
        return all(camera == self.camera for camera in self.cameras)

    def chosen(self, which: np.ndarray) -> Photographs:
        """Those at these indices."""
        poses = None if self.poses is None else self.poses[which]
        return Photographs(self.images[which], tuple(self.cameras[n] for n in which), poses)

    def resized(self, longest: int) -> Photographs:
        """Averaged down until the longer side has so many pixels, and seen by the same optics."""
        height, width = self.images.shape[1:3]
        share = min(1.0, longest / max(height, width))
        w, h = max(8, round(width * share)), max(8, round(height * share))
        if (h, w) == (height, width):
            return self
        small = tuple(camera.resized(w, h) for camera in self.cameras)
        return Photographs(np.stack([_averaged(i, w, h) for i in self.images]), small, self.poses)


def photographs(
    folder: str | Path, camera: str | Path | Mapping[str, Any], poses: str | Path | None = None,
    variation: str | None = None,
) -> Photographs:  # fmt: skip
    """Read all. camera: see `calibration`. poses: see `read_poses`. variation: of a dataset's, where it has several."""
    at: np.ndarray | None = None
    files: list[Path] = []
    if poses is not None:
        at, files = read_poses(Path(poses), Path(folder), variation)
    files = files or listed(Path(folder))
    images = read_images(files)
    if at is not None and len(at) != len(images):
        raise UserError(
            f"there are {len(at)} poses for {len(images)} photographs: give one for each, in the order of the files' "
            "names",
            "POSES",
        )
    size = (images.shape[2], images.shape[1])
    if not isinstance(camera, Mapping) and Path(camera).suffix == ".jsonl":
        return Photographs(images, _cameras(Path(camera), Path(folder), files, size), at)
    return Photographs(images, (calibration(camera, *size),) * len(images), at)


def _cameras(manifest: Path, folder: Path, files: Sequence[Path], size: tuple[int, int]) -> tuple[Any, ...]:
    """The camera of each photograph from a dataset's manifest, in which every frame has its own."""
    text = read_text(manifest, "calibration")
    try:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        own = {folder / r["files"]["image"]["path"]: json.dumps(r["camera"], sort_keys=True) for r in rows}
    except (ValueError, KeyError, TypeError, RecursionError):
        own = {}
    if not own:
        raise UserError("the calibration is no manifest.jsonl of a dataset", "CALIBRATION")
    told = [own.get(file) for file in files]
    if None in told and len(set(own.values())) > 1:
        number = told.index(None) + 1
        raise UserError(
            f"the dataset's views have cameras of their own, and its manifest does not name photograph {number}: give "
            "its folder as --images and its manifest as --poses",
            "CALIBRATION",
        )
    built = {text: calibration(json.loads(text), *size) for text in set(own.values())}
    return tuple(built[text or next(iter(own.values()))] for text in told)


def wall_of(folder: Path) -> str:
    """`boundary refracting` or the like where the photographs lie in a dataset whose wall is another than fits have,
    which is `interface` and `straight`; else empty."""
    info = _near(folder, "dataset.json")
    if info is None:
        return ""
    try:
        values = json.loads(read_text(info, "dataset"))["configuration"]
        found = {name: str(values.get(name, usual)) for name, usual in WALL.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""  # whose dataset.json it is, is not known
    return " and ".join(f"{name} {found[name]}" for name, usual in WALL.items() if found[name] != usual)


def lens_of(folder: Path) -> str:
    """`vignette`, `defocus` or both where the photographs lie in a dataset of which a picture was developed through
    such a lens, which no fit has; else empty."""
    manifest = _near(folder, "manifest.jsonl")
    if manifest is None:
        return ""
    found = set()
    try:
        with manifest.open(encoding="utf-8") as file:
            for line in islice(file, ROWS):
                response = json.loads(line)["parameters"]["response"]
                found |= {word for key, word in LENS.items() if float(response.get(key, 0)) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""  # whose manifest it is, is not known
    return " and ".join(sorted(found, reverse=True))


def _near(folder: Path, name: str) -> Path | None:
    """A dataset's file, in the folder of its photographs or at most three above."""
    above = folder.resolve()
    return next((f / name for f in (above, *above.parents[:3]) if (f / name).is_file()), None)


def read_images(files: Sequence[Path]) -> np.ndarray:
    """(N, H, W, 3) uint8 of pictures of one size that show a lumen, or UserError with the number of the one that does
    not."""
    images: list[np.ndarray] = []
    for number, file in enumerate(files, 1):
        try:
            with pictures.opened(file) as image:
                images.append(np.asarray(image.convert("RGB")))
        except pictures.Broken:
            raise UserError(f"photograph {number} cannot be read: take it out or save it anew", "DAMAGED") from None
        if images[-1].shape != images[0].shape:
            (h, w), (h0, w0) = images[-1].shape[:2], images[0].shape[:2]
            raise UserError(f"photograph {number} is {w}x{h}, the first one {w0}x{h0}: one camera has one size", "SIZE")
        refuse_without_lumen(images[-1], number)
    return np.stack(images)


def refuse_without_lumen(image: np.ndarray, number: int) -> None:
    """Raise UserError for a picture that shows no lit wall around something darker."""
    if (found := fault(image)) is not None:
        raise UserError(f"photograph {number} {found[1]}: take it out of the folder", found[0])


def read_poses(path: Path, folder: Path, variation: str | None = None) -> tuple[np.ndarray, list[Path]]:
    """(N, 4, 4) world_from_camera, and the photographs they belong to where the file says so.

    A manifest.jsonl of ours, whose pictures lie in the folder as in the dataset (of one variation); or a pose for each
    photograph in the order of their names, in any format of `posefile`.
    """
    text = read_text(path, "poses")
    files: list[Path] = []
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
            rows = [
                r
                for r in rows
                if ".." not in Path(r["files"]["image"]["path"]).parts
                and (folder / r["files"]["image"]["path"]).is_file()
            ]
            names = sorted({r["variation"] for r in rows})
            if variation is None and len(names) > 1:
                raise UserError(f"the dataset shows {', '.join(names)}: choose one with --variation", "POSES")
            rows = [r for r in rows if variation in (None, r["variation"])]
            if not rows:
                raise UserError("none of the manifest's pictures lie in the folder of photographs", "POSES")
            files = [folder / r["files"]["image"]["path"] for r in rows]
            found = np.array([r["world_from_camera"] for r in rows], float)
        else:
            return posefile.read_poses(path), []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("the poses are no manifest.jsonl of a dataset", "POSES") from None
    if found.ndim != 3 or found.shape[1:] != (4, 4):
        raise UserError("the poses are no manifest.jsonl of a dataset", "POSES")
    return posefile.rigid(found), files


def _averaged(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Smaller by averaging about linear light: of levels themselves dark would come out too dark."""
    from PIL import Image

    bands = [Image.fromarray(((image[..., c] / 255) ** 2.2).astype(np.float32)) for c in range(3)]
    small = np.stack([np.asarray(b.resize((width, height), Image.Resampling.BOX)) for b in bands], -1)
    return np.round(255 * np.clip(small, 0, 1) ** (1 / 2.2)).astype(np.uint8)
