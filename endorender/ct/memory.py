"""Volumes that other libraries hold in memory: HU and world_from_voxel (RAS+ mm) of their objects.

None of these libraries is imported but SimpleITK, by whoever has an image of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS, of ITK and DICOM, to RAS


def of_array(hu: Any, affine: Any = None, spacing: Any = None) -> tuple[Shaped[np.ndarray, " ..."], Any]:
    """See `Volume.from_array`. Raises UserError where neither or both of affine and spacing are given."""
    if (affine is None) == (spacing is None):
        raise UserError(
            "give affine (world_from_voxel, RAS+ mm), or spacing (mm), of a volume in memory", "INVALID_VALUE"
        )
    values = _whole(_array(hu, "hu"))
    if spacing is None:
        return values, _array(affine, "the affine")
    pitch = _array(spacing, "spacing")
    if pitch.shape != (3,) or pitch.dtype.kind not in "iuf" or not (np.isfinite(pitch).all() and (pitch > 0).all()):
        raise UserError("spacing is three positive numbers, mm", "INVALID_VALUE")
    return values, np.diag([*pitch, 1.0])


def of_sitk(image: Any) -> tuple[Shaped[np.ndarray, "I J K"], Float[np.ndarray, "4 4"]]:
    """See `Volume.from_sitk`."""
    import SimpleITK

    if not isinstance(image, SimpleITK.Image):
        raise UserError(f"from_sitk takes a SimpleITK.Image, got {type(image).__name__}", "INVALID_VALUE")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError("from_sitk takes an image of three dimensions with one value a voxel", "INVALID_VALUE")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return _whole(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)), FLIP @ affine


def of_tensor(values: Any, owner: Any, what: str) -> tuple[Shaped[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
    """See `Volume.from_monai`, `Volume.from_torchio`. owner: has the affine."""
    affine = getattr(owner, "affine", None)
    if values is None or affine is None:
        raise UserError(
            f"{what} was expected, got {type(owner).__name__}, which has no data or no affine", "INVALID_VALUE"
        )
    hu = _array(values, "the data")
    if hu.ndim == 4 and len(hu) == 1:
        hu = hu[0]
    return _whole(hu), _array(affine, "the affine")


def _array(value: Any, what: str) -> np.ndarray:
    """As numpy has it; of a tensor what it holds, wherever that lies."""
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    if isinstance(value, np.ma.MaskedArray):
        raise UserError(f"{what} is a masked array: say what its masked voxels are, as .filled(-1024)", "INVALID_VALUE")
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:  # lists of several lengths, types that numpy has not
        raise UserError(f"{what} is nothing that numpy takes: {error}", "INVALID_VALUE") from None


def _whole(hu: np.ndarray) -> np.ndarray:
    """As a volume holds it, in C order: int16 where that loses nothing, else float32."""
    if hu.dtype.kind in "iu" and hu.size and hu.min() >= -32768 and hu.max() <= 32767:
        return np.ascontiguousarray(hu, np.int16)
    with np.errstate(over="ignore"):  # it is refused as infinite
        return np.ascontiguousarray(hu, np.float32) if hu.dtype.kind in "iuf" else hu
