"""A photograph from outside: which files are one, whether it shows a lumen, and the calibration of its camera.

Nothing of a file's name or path is said: they are patient data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.errors import UserError
from endorender.safe_yaml import parse_yaml
from endorender.scene.camera import cameras
from endorender.scene.posefile import read_text
from endorender.scene.response import LUMA

if TYPE_CHECKING:
    from jaxtyping import UInt8

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SHEETS = ("contact_sheet.png",)  # of our own datasets: no photographs
FLATTEST = 24.0  # between the darkest and the brightest tenth of luma; a lumen's view has more (our choice)
DARKEST = 30.0  # luma of the brightest tenth below which nothing is lit


def listed(folder: Path) -> list[Path]:
    """The pictures of a folder by name. Errors (UserError): NOT_FOUND, NO_IMAGES."""
    if not folder.is_dir():
        raise UserError("the folder of photographs is not there: check --images", "NOT_FOUND")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name not in SHEETS)
    if not found:
        raise UserError(f"the folder of photographs holds none ({', '.join(SUFFIXES)})", "NO_IMAGES")
    return found


def fault(image: UInt8[np.ndarray, "H W 3"]) -> tuple[str, str] | None:
    """Why a picture shows no lit wall around something darker: a code and the words after "photograph 3"; or None.

    image: (H, W, 3) uint8.
    """
    if image.shape[0] < 8 or image.shape[1] < 8:
        return "SIZE", "is smaller than 8 pixels"
    luma = image.reshape(-1, 3) @ LUMA
    low, high = np.percentile(luma, [10, 90])
    if high < DARKEST:
        return "NO_LUMEN", "is black"
    # Borders that a scope leaves black are no lumen: what is left within them must still fall from bright to dark.
    inside = luma[luma > 0.02 * 255]
    if high - low < FLATTEST or high - np.percentile(inside, 10) < FLATTEST:
        return "NO_LUMEN", "shows no lumen, it is nearly uniform"
    return None


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
