"""Anybody's pictures with depth: two patterns of file names, and what the numbers mean."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from endorender.dataset.layouts.layout import ForeignFrame, Layout, damaged, layouts, read_tiff, size_of
from endorender.errors import UserError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
READABLE = (".png", ".tif", ".tiff", ".npy", ".npz", ".exr")


@layouts.register("pairs", cases=[{}])
class Pairs(Layout):
    """RGB-D folders of any naming: `pairs:images=rgb/*.png,depths=depth/*.png,unit=m,scale=1000@FOLDER`.

    images, depths: patterns of paths below the folder, with * for what differs (** for folders of any depth). A picture
    and a depth belong together where the stars stand for the same, or else where the last numbers in their names are
    equal. Depth: PNG, TIFF, NPY, NPZ with one array, or EXR with Z or one channel; in `unit` after division by `scale`.
    Every folder that holds pictures is a patient, p001, p002, ... in the order of their paths: names may be patients'.
    fx, fy, cx, cy or fov: a pinhole, where it is known; without it there is no distance along the ray.
    """

    READS: ClassVar[bool] = True
    WRITES: ClassVar[bool] = False

    images: str = Field("rgb/*", description="pattern of the pictures' paths")
    depths: str = Field("depth/*", description="pattern of the depths' paths")
    unit: Literal["mm", "cm", "m"] = Field("mm", description="of depth, after division by scale")
    scale: float = Field(1.0, gt=0, description="stored values a unit")
    invalid: tuple[float, ...] = Field((0.0,), description="stored values that mean no depth, beside NaN and infinity")
    fov: float | None = Field(None, gt=0, lt=180, description="full horizontal angle, degrees")
    fx: float | None = Field(None, gt=0, description="focal length, pixels")
    fy: float | None = Field(None, gt=0, description="focal length, pixels; none: fx")
    cx: float | None = Field(None, description="principal point, pixels; none: the middle")
    cy: float | None = Field(None, description="principal point, pixels; none: the middle")

    @model_validator(mode="after")
    def _known(self) -> Pairs:
        for name, pattern in (("images", self.images), ("depths", self.depths)):
            if pattern.startswith(("/", "~")) or ".." in Path(pattern).parts or "*" not in pattern:
                raise ValueError(f"{name} is a pattern with a * below the folder, such as rgb/*.png")
        if self.fov is not None and self.fx is not None:
            raise ValueError("give fov or fx, not both")
        return self

    def read(self, root: Path) -> list[ForeignFrame]:
        """See Layout."""
        images, depths = (_found(root, pattern) for pattern in (self.images, self.depths))
        for what, found, pattern in (("picture", images, self.images), ("depth", depths, self.depths)):
            if not found:
                raise UserError(f"no {what} is called {pattern} below the folder: give the pattern", "NO_FRAMES")
        together = _together(images, depths)
        folders = list(dict.fromkeys(image.parent for image, _ in together))
        count = dict.fromkeys(folders, 0)
        frames = []
        for image, depth in together:
            patient, view = f"p{folders.index(image.parent) + 1:03d}", count[image.parent]
            count[image.parent] += 1
            frames.append(
                ForeignFrame(
                    id=f"{patient}/{view:04d}/pairs",
                    patient=patient,
                    view=view,
                    variation="pairs",
                    camera=self._camera(size_of(image)),
                    world_from_camera=None,
                    paths={"image": image, "geometry": depth},
                    load_image=partial(_picture, image),
                    load_depth=partial(self._depth, depth),
                )
            )
        return frames

    def _camera(self, size: tuple[int, int]) -> dict[str, Any] | None:
        given = {key: getattr(self, key) for key in ("fov", "fx", "fy", "cx", "cy") if getattr(self, key) is not None}
        if not given:
            return None
        if "fx" in given:
            width, height = size
            given = {"fy": given["fx"], "cx": (width - 1) / 2, "cy": (height - 1) / 2} | given
        return {"type": "pinhole", "width": size[0], "height": size[1], **given}

    def _depth(self, path: Path) -> np.ndarray:
        """(H, W) z-depth in mm, NaN where invalid."""
        stored = _numbers(path)
        if stored.ndim != 2:
            raise UserError(f"{path.name} must hold one number a pixel, it is {stored.shape}", "LAYOUT_DAMAGED")
        valid = np.isfinite(stored) & ~np.isin(stored, self.invalid) & (stored > 0)
        return np.where(valid, stored / self.scale * MILLIMETRES[self.unit], np.nan)


def _found(root: Path, pattern: str) -> dict[tuple[str, ...], Path]:
    """Files by what the pattern's stars stand for."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    words = {"**/": r"((?:.*/)?)", "*": r"([^/]*)"}
    expression = re.compile("".join(words.get(part, re.escape(part)) for part in parts))
    found = {}
    for path in sorted(root.glob(pattern)):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match and path.is_file() and not path.name.startswith("."):
            # A star at the end stands for the format too, which need not be the same.
            found[(*match.groups()[:-1], match.groups()[-1].rsplit(".", 1)[0])] = path
    return found


def _together(images: dict[tuple[str, ...], Path], depths: dict[tuple[str, ...], Path]) -> list[tuple[Path, Path]]:
    """Pairs in the order of the pictures. Refuses a picture or a depth that has no other."""
    if images.keys() != depths.keys():
        images, depths = _by_number(images), _by_number(depths)
    for what, other, here, there in (("depth", "picture", images, depths), ("picture", "depth", depths, images)):
        if alone := [path.name for key, path in here.items() if key not in there]:
            raise UserError(
                f"no {what} belongs to the {other} {alone[0]}, nor to {len(alone) - 1} more: check the patterns images "
                "and depths, whose stars must stand for the same in both",
                "LAYOUT_UNPAIRED",
            )
    return [(path, depths[key]) for key, path in images.items()]


def _by_number(files: dict[tuple[str, ...], Path]) -> dict[tuple[str, ...], Path]:
    """The same by folder and the last number of the name, where every name has one of its own."""
    found: dict[tuple[str, ...], Path] = {}
    for key, path in files.items():
        numbers = re.findall(r"\d+", path.stem)
        name = (*key[:-1], str(int(numbers[-1]))) if numbers else key
        if name in found:
            return files
        found[name] = path
    return found


def _picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise damaged(path) from None


def _numbers(path: Path) -> np.ndarray:
    """The stored values, float64."""
    kind = path.suffix.lower()
    try:
        if kind in (".tif", ".tiff"):
            return read_tiff(path).astype(float)
        if kind == ".png":
            from PIL import Image

            with Image.open(path) as picture:
                return np.asarray(picture).astype(float)
        if kind == ".npy":
            return np.load(path, allow_pickle=False).astype(float)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as file:
                (name,) = file.files
                return file[name].astype(float)
        if kind == ".exr":
            from endorender.dataset import exr

            channels = exr.read(path)[0]
            return channels["Z" if "Z" in channels else next(iter(channels))].astype(float)
    except UserError:
        raise
    except Exception:  # every reader has complaints of its own: all mean the same
        raise damaged(path) from None
    raise UserError(f"{path.name} is no depth that can be read: {', '.join(READABLE)}", "LAYOUT_DAMAGED")
