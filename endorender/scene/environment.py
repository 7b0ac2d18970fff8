"""Light from outside the volume: the same from everywhere, or a latitude-longitude map of radiance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from endorender.errors import unknown
from endorender.scene.light import RGB, Light, Vec3, lights
from endorender.scene.maps import MAPS, known, remember, shipped

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

STRIPES = [[[1.0, 1, 1], [0, 0, 0]], [[0.5, 0, 0], [0, 4, 0]], [[0, 0, 2], [0.1, 0.2, 0.3]]]


def _about_z(value: Any) -> Any:
    return (0.0, 0.0, value) if isinstance(value, (int, float)) else value


@lights.register("constant", cases=[{}, {"radiance": 2.0, "temperature": 4000}])
class Constant(Light):
    """The same radiance from every direction outside the volume."""

    radiance: RGB = (1.0, 1.0, 1.0)

    def environment(self) -> Float32[np.ndarray, "1 1 3"]:
        """(1, 1, 3) map."""
        return (self.tint() * self.radiance).astype(np.float32)[None, None]


@lights.register(
    "envmap",
    cases=[
        {"pixels": STRIPES},
        {"map": "studio", "attached": "camera", "rotation": (20, -30, 110), "scale": 2.0},
        {"map": "interior", "rotation": 90.0, "colour": (1, 0.5, 0.2)},
    ],
)
class EnvironmentMap(Light):
    """Radiance from outside as a latitude-longitude map, importance-sampled.

    Given by `pixels`, by an EXR `file` or as a shipped `map`. Its frame: the world's, whose +z is up; or, attached to
    the camera, the camera's, whose +z is forward; turned by `rotation`. Row r of H is the polar angle π r / (H − 1)
    from +z (the first and the last are the poles), column c of W the azimuth π − 2π (c + ½) / W from +x towards +y: a
    picture seen from inside, its middle towards +x. Bilinear in between.
    A file is kept by its content: configurations and datasets hold its sha256, never its path.
    """

    pixels: tuple[tuple[RGB, ...], ...] | None = Field(None, min_length=1, description="H rows of W radiances")
    file: Annotated[str | None, BeforeValidator(remember)] = Field(None, description="latitude-longitude EXR")
    map: str | None = Field(None, description=f"one that is shipped: {', '.join(MAPS)}")
    rotation: Annotated[Vec3, BeforeValidator(_about_z)] = Field(
        (0.0, 0.0, 0.0), description="degrees about x, then y, then z; one number is about z"
    )
    scale: float = Field(1.0, ge=0, description="multiplies the radiance")
    attached: Literal["camera", "world"] = Field("world", description="the frame it turns with")

    @model_validator(mode="after")
    def _one_map(self) -> EnvironmentMap:
        if [self.pixels, self.file, self.map].count(None) != 2:
            raise ValueError("an environment map is given by one of pixels, file and map")
        if self.map is not None and self.map not in MAPS:
            raise ValueError(unknown("map", self.map, MAPS))
        if self.pixels is not None and (len({len(row) for row in self.pixels}) != 1 or not self.pixels[0]):
            raise ValueError("an environment map needs rows of one length")
        return self

    def environment(self) -> Float32[np.ndarray, "H W 3"]:
        """(H, W, 3) map."""
        if self.pixels is not None:
            radiance = np.asarray(self.pixels)
        else:
            radiance = known(self.file) if self.file is not None else shipped(str(self.map))
        return (radiance * self.tint() * self.scale).astype(np.float32)

    def map_from_world(self, world_from_camera: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 3"]:
        """(3, 3) rotation: where in the map a direction of the world is looked up."""
        turned = np.eye(3)
        for axis, degrees in enumerate(self.rotation):
            c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            i, j = (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[i, i], step[i, j], step[j, i], step[j, j] = c, -s, s, c
            turned = step @ turned
        frame = np.asarray(world_from_camera, float)[:3, :3] if self.attached == "camera" else np.eye(3)
        return turned.T @ frame.T
