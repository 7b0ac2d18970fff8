"""Photographs, the calibration of their camera and its poses, as they come from outside. All of it is checked here.

A photograph is known by its number, from 1 in the order of the files' names: names and paths are patient data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from endorender import pictures
from endorender.errors import UserError
from endorender.safe_yaml import parse_yaml
from endorender.scene import posefile
from endorender.scene.camera import cameras
from endorender.scene.posefile import read_text
from endorender.scene.response import LUMA

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SHEETS = ("contact_sheet.png",)  # of our own datasets: no photographs
WALL = {"surface": "interface", "boundary": "straight"}  # with which scenes are fitted
FLATTEST = 24.0  # between the darkest and the brightest tenth of luma; a lumen's view has more (our choice)
DARKEST = 30.0  # luma of the brightest tenth below which nothing is lit


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
    files = files or _listed(Path(folder))
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
    above = folder.resolve()
    info = next((f / "dataset.json" for f in (above, *above.parents[:3]) if (f / "dataset.json").is_file()), None)
    if info is None:
        return ""
    try:
        values = json.loads(read_text(info, "dataset"))["configuration"]
        found = {name: str(values.get(name, usual)) for name, usual in WALL.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""  # whose dataset.json it is, is not known
    return " and ".join(f"{name} {found[name]}" for name, usual in WALL.items() if found[name] != usual)


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError("the folder of photographs is not there: check --images", "NOT_FOUND")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name not in SHEETS)
    if not found:
        raise UserError(f"the folder of photographs holds none ({', '.join(SUFFIXES)})", "NO_IMAGES")
    return found


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
    luma = image.reshape(-1, 3) @ LUMA
    if image.shape[0] < 8 or image.shape[1] < 8:
        raise UserError(f"photograph {number} is smaller than 8 pixels", "SIZE")
    low, high = np.percentile(luma, [10, 90])
    way_out = "take it out of the folder"
    if high < DARKEST:
        raise UserError(f"photograph {number} is black: {way_out}", "NO_LUMEN")
    # Borders that a scope leaves black are no lumen: what is left within them must still fall from bright to dark.
    inside = luma[luma > 0.02 * 255]
    if high - low < FLATTEST or high - np.percentile(inside, 10) < FLATTEST:
        raise UserError(f"photograph {number} shows no lumen, it is nearly uniform: {way_out}", "NO_LUMEN")


def calibration(given: str | Path | Mapping[str, Any], width: int, height: int) -> Any:
    """The camera of pictures of this size.

    given: a mapping or a file of one, YAML or JSON: a camera as in a configuration's `camera` section (`type` and its
    parameters), alone or under the key `camera`; or `K` (3, 3) with `distortion` (OpenCV's k1 k2 p1 p2 k3 k4 k5 k6;
    with `model: fisheye` k1..k4), and `width`, `height` or `size`; a dataset's dataset.json, or the first row of its
    manifest.jsonl (`photographs` takes each frame's own).
    """
    values = dict(given) if isinstance(given, Mapping) else _mapping(Path(given))
    if "configuration" in values:
        values = dict(values["configuration"])
        if any(isinstance(value, Mapping) for value in values.get("camera", {}).values()):
            raise UserError(
                "this dataset's views have cameras of their own: give its manifest.jsonl instead of dataset.json",
                "CALIBRATION",
            )
    if isinstance(values.get("camera"), Mapping):
        values = {**{k: values[k] for k in ("size", "width", "height") if k in values}, **values["camera"]}
    if isinstance(size := values.pop("size", None), str) and "x" in size:
        values["width"], values["height"] = (int(n) if n.strip().isdigit() else 0 for n in size.split("x", 1))
    unsized = "K" in values and not {"width", "height"} & set(values)
    values = _from_matrix(values) if "K" in values else values
    if unsized and not (0.25 < values["cx"] / width < 0.75 and 0.25 < values["cy"] / height < 0.75):
        raise UserError(
            f"K has its principal point at ({values['cx']:g}, {values['cy']:g}), far from the middle of photographs of "
            f"{width}x{height}: is it for another size? Scale it with them, or give its width and height",
            "CALIBRATION",
        )
    if "type" not in values:
        raise UserError("the calibration has neither K nor a camera's type: see docs/fitting.md", "CALIBRATION")
    own = (values.get("width", width), values.get("height", height))
    if own != (width, height):
        raise UserError(
            f"the calibration is for {own[0]}x{own[1]}, the photographs are {width}x{height}: calibrate at their size, "
            "or scale K with them",
            "CALIBRATION",
        )
    try:
        camera = cameras.build({**values, "width": width, "height": height})
    except UserError as error:
        raise UserError(f"calibration: {error}", "CALIBRATION") from None
    if not np.isfinite(camera.unproject(camera.pixels())).all():
        raise UserError("the calibration gives pixels without a direction: check its distortion", "CALIBRATION")
    return camera


def _from_matrix(values: dict[str, Any]) -> dict[str, Any]:
    """K and distortion as the parameters of a camera."""
    try:
        k = np.array(values.pop("K"), float)
        given = values.pop("distortion", None)
        distortion = np.array([] if given is None else given, float).ravel()
    except (TypeError, ValueError):
        raise UserError("calibration: K and distortion must be numbers", "CALIBRATION") from None
    if k.shape != (3, 3) or not np.isfinite(k).all() or not np.isfinite(distortion).all() or k[0, 0] <= 0:
        raise UserError("calibration: K must be 3 x 3 finite numbers with focal lengths above 0", "CALIBRATION")
    fisheye = values.pop("model", "") in ("fisheye", "kannala_brandt")
    names = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    if len(distortion) > len(names):
        raise UserError(f"calibration: distortion has {len(distortion)} numbers, at most {len(names)}", "CALIBRATION")
    kind = "fisheye" if fisheye else "brown_conrady" if distortion.any() else "pinhole"
    bent = dict(zip(names, distortion.tolist())) if kind != "pinhole" else {}
    focal = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
    return {"type": kind, **{name: float(v) for name, v in focal.items()}, **bent, **values}


def _mapping(path: Path) -> dict[str, Any]:
    text = read_text(path, "calibration")
    try:
        if path.suffix == ".jsonl":
            text = text.split("\n", 1)[0]
        # JSON first: YAML reads most of it, but slowly.
        values = json.loads(text) if path.suffix in (".json", ".jsonl") else parse_yaml(text, "YAML")
    except (UserError, ValueError, RecursionError) as error:
        told = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(f"the calibration is neither YAML nor JSON{told}", "CALIBRATION") from None
    if not isinstance(values, dict):
        raise UserError("the calibration must hold `key: value` lines", "CALIBRATION")
    return values


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
