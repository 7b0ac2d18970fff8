"""Cameras. OpenCV axes: x right, y down, z forward; integer pixel coordinates are pixel centres.

Each class gives the numpy pair `project`, `unproject`, and `device()`, a Taichi function `ray(u, v, p)` that does
what `unproject` does with `p = parameters()`. What lies between the optics and the picture (vignetting, the black
border, a lens with an aperture) is in `film()`, the same for every class.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Real

cameras = Registry("camera")
PARAMETERS = 12  # floats that describe any camera's optics to its device function
FILM = 8  # floats of `film()`
MASKS = ("none", "circle", "octagon", "corners")
FOLDS = "distortion folds the image over: "  # what a lens is refused for that sends two directions to one place


class Camera(Model):
    """What every camera has: a size in pixels, vignetting, and the border that an endoscope's tube leaves black."""

    LENS: ClassVar[bool] = False  # whether rays start on a lens rather than in a point

    width: int = Field(320, ge=1, le=16384, description="pixels")
    height: int = Field(240, ge=1, le=16384, description="pixels")
    vignetting: float = Field(0.0, ge=0, le=16, description="n of cosⁿ θ off the axis; 0: none")
    mask: Literal["none", "circle", "octagon", "corners"] = Field("none", description="what is seen; black outside")
    mask_diameter: float = Field(1.0, gt=0, le=4, description="of the mask, an octagon's across flats; of mask_of")
    mask_of: Literal["height", "width"] = "height"
    mask_corner: float = Field(
        0.209,
        ge=0,
        le=1,
        description="of the mask `corners`: what a cut corner takes of either edge, part of the height",
    )

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """(3, 3) intrinsics in pixels."""
        raise TypeError("a camera defines its intrinsics")  # pragma: no cover

    @property
    def distortion(self) -> tuple[float, ...]:
        """Coefficients beyond K, as the device function takes them."""
        return ()

    @property
    def stretch(self) -> tuple[float, float]:
        """Pixels of this picture per pixel of the one that the intrinsics were given for, across and down."""
        return 1.0, 1.0

    def parameters(self) -> Float32[np.ndarray, " 12"]:
        """(12,) fx, fy, cx, cy, and the distortion, as the device function takes them."""
        k = self.K
        return self._packed(k[0, 0], k[1, 1], k[0, 2], k[1, 2], *self.distortion)

    @staticmethod
    def _packed(*values: float) -> np.ndarray:
        return np.array([*values, *[0.0] * (PARAMETERS - len(values))], np.float32)

    def film(self) -> Float32[np.ndarray, " 8"]:
        """(8,) vignetting, mask's kind, its radii across and down, its centre (px); focus, radius of the lens (mm).

        The mask is centred in the picture. It is round on the sensor: an ellipse where pixels are not square.
        """
        sx, sy = self.stretch
        # A hair wider than asked for, so that rounding puts pixels on the very rim inside for host and device alike.
        side = self.mask_diameter / 2 * (1 + 1e-5)
        radii = (side * self.height * sx / sy, side * self.height)
        if self.mask_of == "width":
            radii = (side * self.width, side * self.width * sy / sx)
        if self.mask == "corners":
            # Two edges that meet in a corner are cut alike where x + y on the sensor exceeds what is left of them.
            reach = ((self.width * sy / sx + self.height) / 2 - self.mask_corner * self.height) * (1 + 1e-5)
            radii = (reach * sx / sy, reach)
        centre = ((self.width - 1) / 2, (self.height - 1) / 2)
        return np.array([self.vignetting, MASKS.index(self.mask), *radii, *centre, *self._lens()], np.float32)

    def _lens(self) -> tuple[float, float]:
        return 0.0, 0.0

    def visible(self) -> Bool[np.ndarray, "{self.height} {self.width}"]:
        """(H, W) bool: pixels whose centre the mask lets through."""
        _, kind, rx, ry, cx, cy, *_ = self.film().astype(float)
        x, y = (np.abs(a) for a in np.moveaxis((self.pixels() - (cx, cy)) / (rx, ry), -1, 0))
        if kind == MASKS.index("circle"):
            return np.asarray(x * x + y * y <= 1)
        if kind == MASKS.index("octagon"):
            return np.asarray(np.maximum(np.maximum(x, y), (x + y) * math.sqrt(0.5)) <= 1)
        if kind == MASKS.index("corners"):
            return np.asarray(x + y <= 1)
        return np.ones(x.shape, bool)

    def falloff(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """(..., 3) unit directions, camera frame -> (...) share of the light that vignetting leaves."""
        return np.asarray(np.maximum(directions[..., 2], 0) ** self.vignetting)

    def pixels(self) -> Float[np.ndarray, "{self.height} {self.width} 2"]:
        """(H, W, 2) coordinates (u, v) of the pixel centres."""
        return np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), -1).astype(float)

    def border(self) -> Float[np.ndarray, "N 2"]:
        """(N, 2) points (u, v) on the picture's outer edge, corners included."""
        t = np.linspace(-0.5, 0.5, 65)
        unit = np.array([point for side in (-0.5, 0.5) for a in t for point in ((a, side), (side, a))])
        return unit * (self.width, self.height) + ((self.width - 1) / 2, (self.height - 1) / 2)

    def resized(self, width: int, height: int) -> Camera:
        """The same optics on another pixel grid.

        A field of view keeps its width and square pixels. Intrinsics in pixels are stretched with the picture, as
        one resizes a photograph: where the new shape is another, pixels are no longer square.
        """
        return self.model_copy(update={"width": width, "height": height})


def scaled(k: Real[np.ndarray, "3 3"], stretch: tuple[float, float]) -> Float[np.ndarray, "3 3"]:
    """(3, 3) intrinsics on a picture stretched by (across, down); integer coordinates stay pixel centres."""
    sx, sy = stretch
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]) @ k


class Calibrated(Camera):
    """A camera whose intrinsics may be given in pixels, for a picture of the size `calibrated`."""

    calibrated: tuple[int, int] | None = Field(
        None, description="[width, height] that the intrinsics in pixels were given for; none: this picture's"
    )

    @property
    def stretch(self) -> tuple[float, float]:
        """Pixels of this picture per pixel of the one that the intrinsics were given for, across and down."""
        w, h = self.calibrated or (self.width, self.height)
        return self.width / w, self.height / h

    def resized(self, width: int, height: int) -> Camera:
        """The same optics on another pixel grid; see Camera."""
        of = self.calibrated or (self.width, self.height)
        return self.model_copy(update={"width": width, "height": height, "calibrated": of})


class Focal(Calibrated):
    """A camera with a focal length: from its field of view, or fx, fy, cx, cy as calibrations give them."""

    fov: float | None
    fx: float | None = Field(None, gt=0, description="focal length, pixels; instead of fov")
    fy: float | None = Field(None, gt=0, description="pixels; none: fx")
    cx: float | None = Field(None, description="principal point, pixels; none: the centre")
    cy: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _fx_instead_of_fov(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("fx") is not None and "fov" not in values:
            return {**values, "fov": None}
        return values

    @model_validator(mode="after")
    def _one_way(self) -> Focal:
        if (self.fov is None) == (self.fx is None):
            raise ValueError("the focal length comes from either fov or fx")
        if self.fx is None and any(v is not None for v in (self.fy, self.cx, self.cy, self.calibrated)):
            raise ValueError("fy, cx, cy and calibrated go with fx")
        if self.calibrated and min(self.calibrated) < 1:
            raise ValueError("calibrated is a width and a height in pixels")
        return self

    def _focal(self) -> float:
        """Focal length in pixels that the field of view asks for."""
        raise TypeError("a camera defines its focal length")  # pragma: no cover

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """(3, 3) intrinsics in pixels."""
        w, h = self.calibrated or (self.width, self.height)
        cx = (w - 1) / 2 if self.cx is None else self.cx
        cy = (h - 1) / 2 if self.cy is None else self.cy
        fx = self._focal() if self.fx is None else self.fx
        return scaled(np.array([[fx, 0, cx], [0, self.fy or fx, cy], [0, 0, 1.0]]), self.stretch)

    def resized(self, width: int, height: int) -> Camera:
        """The same optics on another pixel grid; see Camera."""
        return super().resized(width, height) if self.fx is not None else Camera.resized(self, width, height)

    def _normalised(self, uv: np.ndarray) -> np.ndarray:
        """(..., 2) pixels -> (..., 2) on the plane z = 1, before any distortion is undone."""
        k = self.K
        return np.asarray((uv - k[:2, 2]) / k[[0, 1], [0, 1]])


@cameras.register(
    "pinhole",
    cases=[
        {},
        {"fov": 60, "width": 64, "height": 48, "vignetting": 2},
        {"fx": 90, "fy": 80, "cx": 30.2, "cy": 25, "width": 60, "height": 50, "mask": "octagon"},
        {"fx": 180, "calibrated": [120, 100], "width": 60, "height": 40, "mask": "circle", "mask_of": "width"},
    ],
)
class Pinhole(Focal):
    """Perspective projection without distortion."""

    fov: float | None = Field(100.0, gt=0, lt=179, description="full horizontal angle, degrees")

    def _focal(self) -> float:
        assert self.fov is not None
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)

    def unproject(self, uv: Real[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 2) pixels -> (..., 3) unit directions, camera frame."""
        d = np.concatenate([self._normalised(uv), np.ones((*uv.shape[:-1], 1))], -1)
        return d / np.linalg.norm(d, axis=-1, keepdims=True)

    def project(self, points: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """(..., 3) points, camera frame -> (..., 2) pixels; NaN at and behind the camera's plane."""
        z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        k = self.K
        return points[..., :2] / z * k[[0, 1], [0, 1]] + k[:2, 2]

    @staticmethod
    @functools.cache
    def device() -> Any:
        """Taichi function `ray(u, v, p) -> unit direction`."""
        from endorender.engine import ti

        @ti.func
        def ray(u, v, p):
            return ti.math.vec3((u - p[2]) / p[0], (v - p[3]) / p[1], 1.0).normalized()

        return ray


@cameras.register("thin_lens", cases=[{}, {"fov": 70, "focus": 8.0, "aperture": 1.5, "width": 64, "height": 48}])
class ThinLens(Pinhole):
    """A pinhole's projection through a thin lens: sharp on the plane z = focus, blurred before and behind it.

    Rays start anywhere on the lens and meet the pinhole's ray on that plane (Cook, Porter, Carpenter 1984). Depth
    and `project` are those of the lens's centre.
    """

    LENS: ClassVar[bool] = True

    focus: float = Field(20.0, gt=0, description="distance of the sharp plane along z, mm")
    aperture: float = Field(0.3, gt=0, description="diameter of the lens, mm")

    def _lens(self) -> tuple[float, float]:
        return self.focus, self.aperture / 2
