"""A CT volume: Hounsfield units on a grid that knows where it lies in the patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct import memory
from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, Real, UInt8

AIR_HU = -1024  # what padding and the outside of a scan are taken to be


PITCH_MM = (0.02, 20.0)  # micro-CT to the thickest slices in use; outside it the unit is wrong
SHOWN_PX = 240  # of the longest side in a notebook
SHEAR_DEG = 0.1  # of the axes from perpendicular: what rounding in a header leaves


def matrix(value: Any, refusal: str) -> Real[np.ndarray, "4 4"]:
    """A (4, 4) matrix of finite real numbers, lists of lists among them; an array stays as it is. Raises UserError."""
    try:
        found = np.asarray(value)
    except ValueError:  # lists of several lengths
        found = np.empty(0)
    if found.shape != (4, 4) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise UserError(refusal, "INVALID_VALUE")
    return found if isinstance(value, np.ndarray) else found.astype(float)


def refuse_no_array(value: Any, what: str, shape: str) -> None:
    """Raise UserError for what is no numpy array of real numbers."""
    if not isinstance(value, np.ndarray):
        way_out = f"np.asarray(...) makes one, got {type(value).__name__}"
        raise UserError(f"{what} must be a numpy array {shape}: {way_out}", "INVALID_VALUE")
    if value.dtype.kind not in "iuf":
        raise UserError(f"{what} must be whole or real numbers, got {value.dtype}", "INVALID_VALUE")


def checked_affine(affine: Any) -> Float[np.ndarray, "4 4"]:
    """A world_from_voxel, float64: finite, invertible, the last row 0 0 0 1. Raises UserError for what is none."""
    refusal = "affine must be an invertible (4, 4) matrix of finite numbers"
    found = matrix(affine, refusal).astype(float, copy=False)  # whole numbers could not be moved by half a voxel
    if abs(np.linalg.det(found[:3, :3])) < 1e-9:
        raise UserError(refusal, "INVALID_VALUE")
    if not np.allclose(found[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise UserError("the last row of an affine is 0 0 0 1", "INVALID_VALUE")
    return found


def shear_of(affine: Real[np.ndarray, "4 4"]) -> float:
    """Degrees by which the axes of a world_from_voxel are off from perpendicular, at most."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arcsin(min(1.0, np.abs(unit.T @ unit - np.eye(3)).max()))))


@dataclass(frozen=True, eq=False)
class Volume:
    """CT values and their place in the patient.

    hu: (I, J, K) Hounsfield units, int16 or float32; finite, within what int16 holds.
    affine: (4, 4) world_from_voxel: index (i, j, k) -> RAS+ millimetres; voxel centres at integers. It may mirror: axes
    of a scan run in any direction. Perpendicular within 0.1 degrees, voxels of 0.02 to 20 mm.
    warnings: one line each about what was noticed or mended while reading.
    meta: an allow-list of acquisition facts (kernel, kVp, thickness, resampling); never patient data.

    Raises UserError for what no file may hold either.
    """

    hu: Real[np.ndarray, "I J K"]
    affine: Real[np.ndarray, "4 4"]
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_no_array(self.hu, "hu", "(I, J, K)")
        if self.hu.ndim != 3 or min(self.hu.shape) < 2:
            raise UserError(f"hu must be (I, J, K) with at least 2 voxels a side, got {self.hu.shape}", "INVALID_VALUE")
        # The smallest and the greatest are NaN where any voxel is. Of int16 none is looked at.
        if self.hu.dtype != np.int16 and not (self.hu.min() >= -32768 and self.hu.max() <= 32767):
            raise UserError(
                "hu must be finite and from -32768 to 32767: replace NaN and infinite voxels by air", "INVALID_VALUE"
            )
        object.__setattr__(self, "affine", checked_affine(self.affine))
        self._refuse_grid()

    def _refuse_grid(self) -> None:
        least, most = PITCH_MM
        # Resampling and cropping round a little beyond the limits that a reader keeps.
        if self.spacing.min() < 0.999 * least or self.spacing.max() > 1.001 * most:
            pitch = " x ".join(f"{s:.4g}" for s in self.spacing)
            raise UserError(
                f"the affine has voxels of {pitch} mm, a CT's are {least:g} to {most:g} mm: is it in millimetres?",
                "INVALID_VALUE",
            )
        if (shear := shear_of(self.affine)) > SHEAR_DEG + 1e-3:
            raise UserError(
                f"the affine's axes are {shear:.2f} degrees from perpendicular: straighten the volume "
                "(endorender.ct.resample.straighten)",
                "INVALID_VALUE",
            )

    @classmethod
    def from_array(cls, hu: Any, affine: Any = None, spacing: Any = None) -> Volume:
        """Of values in memory. hu: (I, J, K) Hounsfield units, anything numpy takes. affine: (4, 4) world_from_voxel,
        RAS+ mm; or spacing: (3,) mm along i, j, k of a grid whose axes are the patient's right, front and head."""
        return cls(*memory.of_array(hu, affine, spacing))

    @classmethod
    def from_sitk(cls, image: Any) -> Volume:
        """Of a SimpleITK.Image in HU."""
        return cls(*memory.of_sitk(image))

    @classmethod
    def from_monai(cls, tensor: Any) -> Volume:
        """Of a monai.data.MetaTensor (I, J, K) or (1, I, J, K) in HU, its affine RAS+ as MONAI's readers have it."""
        return cls(*memory.of_tensor(tensor, tensor, "a MetaTensor"))

    @classmethod
    def from_torchio(cls, image: Any) -> Volume:
        """Of a torchio.ScalarImage in HU."""
        return cls(*memory.of_tensor(getattr(image, "data", None), image, "a ScalarImage"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(I, J, K)."""
        i, j, k = self.hu.shape
        return i, j, k

    @cached_property
    def spacing(self) -> Float[np.ndarray, " 3"]:
        """(3,) voxel pitch along i, j, k in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @cached_property
    def voxel_from_world(self) -> Float[np.ndarray, "4 4"]:
        """(4, 4) inverse of the affine."""
        return np.linalg.inv(self.affine)

    def to_voxel(self, points_mm: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 3) RAS mm -> (..., 3) continuous voxel indices."""
        m = self.voxel_from_world
        return points_mm @ m[:3, :3].T + m[:3, 3]

    def to_world(self, indices: Real[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """(..., 3) continuous voxel indices -> (..., 3) RAS mm."""
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def __repr__(self) -> str:
        i, j, k = self.shape
        sp = " x ".join(f"{s:.3g}" for s in self.spacing)
        return f"Volume({i} x {j} x {k}, {sp} mm, HU {self.hu.min():.0f}..{self.hu.max():.0f})"

    def _repr_png_(self) -> bytes:
        """The three planes through the middle, HU -1050 to 250 in grey, for notebooks: seen from the head, the front
        and the side where the axes are the patient's."""
        from endorender.pictures import png

        return png([plane for plane, _ in self.planes([n // 2 for n in self.shape])])

    def planes(self, at: Sequence[int]) -> list[tuple[UInt8[np.ndarray, "h w"], tuple[int, int]]]:
        """The planes across the last, the second and the first axis through a voxel: (h, w) grey, and the two axes
        along the picture's width and, upwards, its height. The longest side of the volume has SHOWN_PX pixels."""
        longest = max(n * s for n, s in zip(self.shape, self.spacing))
        planes = []
        for across in (2, 1, 0):
            x, y = (a for a in range(3) if a != across)
            plane = self.hu.take(at[across], across)
            # The nearest voxel of each pixel; the last axis runs upwards.
            wide, tall = (max(1, round(SHOWN_PX * self.shape[a] * self.spacing[a] / longest)) for a in (x, y))
            i, j = (np.arange(n) * self.shape[a] // n for n, a in ((wide, x), (tall, y)))
            grey = np.clip((plane[np.ix_(i, j[::-1])] + 1050.0) * (255 / 1300), 0, 255)
            planes.append((grey.T.astype(np.uint8), (x, y)))
        return planes


class Skewed(Volume):
    """What a file holds, before `resample.straighten`: its axes need not be perpendicular."""

    def _refuse_grid(self) -> None:
        pass
