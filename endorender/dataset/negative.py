"""A frame once its light is traced, and how it becomes a picture: the part that needs neither device nor CT."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset import exr
from endorender.dataset.writer import Made
from endorender.errors import Notice

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped, UInt8

    from endorender.render import Guides


@dataclass(frozen=True)
class Negative:
    """Picklable, and of a patient it holds no more than the frame's files do.

    row: of the manifest, but for files and what the response settles on. header: attributes of its radiance's file.
    radiance: (H, W, 3) linear, as it was traced. guides, mirrored: for the denoiser; None: it is not denoised.
    layers: further (H, W, 3) arrays by EXR layer name. depths: further (H, W) channels, mm. mask: (H, W) bool that the
    camera shows. z_depth: (H, W) mm. focal: px. noise: the seed of the camera's. geometry: channels and attributes of
    the view's file, with its first frame.
    """

    row: dict[str, Any]
    header: dict[str, exr.Attribute]
    radiance: Float[np.ndarray, "H W 3"]
    guides: Guides | None
    mirrored: Float[np.ndarray, "H W 3"] | None
    layers: Mapping[str, Shaped[np.ndarray, "H W *channels"]]
    depths: Mapping[str, Float[np.ndarray, "H W"]]
    mask: Bool[np.ndarray, "H W"]
    z_depth: Float[np.ndarray, "H W"]
    focal: float
    noise: int
    geometry: tuple[dict[str, Float[np.ndarray, "H W"]], dict[str, exr.Attribute]] | None = None

    def developed(self) -> Made:
        """Denoised, seen by the camera, and ready to be written."""
        from endorender.scene import Response

        image = self.radiance
        if self.guides is not None:
            from endorender.render import denoise

            image = denoise(image, self.guides, self.mirrored)
        if self.row["traced_with"]:
            image = np.where(self.mask[..., None], image, 0)  # the filter bleeds over its edge
        light = (self.mask, self.z_depth, self.focal)
        parameters = self.row["parameters"]
        response = Response(**parameters["response"]).resolve(image, *light)
        picture = response.apply(image, self.noise, *light)
        stored = exr.half(image)
        for said in exr.spoilt(stored, self.mask, clipped_limit=0):
            warnings.warn(f"{self.row['patient']}: in {self.row['variation']} {said}", Notice, stacklevel=2)
        channels = exr.split_rgb("", stored)
        for layer, values in self.layers.items():
            channels |= exr.split_rgb(layer, exr.half(values))
        channels |= self.depths
        row = {**self.row, "parameters": {**parameters, "response": response.model_dump(mode="json")}}
        folder, name = self.row["id"].rsplit("/", 1)
        files: dict[str, tuple[str, Callable[[Path], Any]]] = {}
        if self.geometry is not None:
            there, header = self.geometry
            files["geometry"] = f"{folder}/geometry.exr", partial(exr.write, channels=there, header=header)
        files["radiance"] = f"{folder}/{name}.exr", partial(exr.write, channels=channels, header=self.header)
        files["image"] = f"{folder}/{name}.png", partial(write_png, image=picture)
        return Made(row, files)


def write_png(path: Path, image: UInt8[np.ndarray, "H W *channels"]) -> None:
    """(H, W, 3), or grey (H, W), uint8 as PNG without any metadata."""
    from PIL import Image

    Image.fromarray(image).save(path, format="PNG", compress_level=6)
