"""NIfTI in (.nii, .nii.gz)."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.resample import straighten
from endorender.ct.values import check_grid, checked_hu, compact
from endorender.ct.volume import Volume

SHEAR_DEG = 0.1
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


def read(path: Path, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT from a NIfTI-1 or -2 file: scl_slope, sform or qform, and units honoured.

    Raises CTError (NOT_3D, BAD_AFFINE, SHEARED, TRUNCATED, NON_FINITE, NOT_HU, ...).
    """
    import nibabel as nib

    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nib.load(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CTError(f"the file ends within its header or is damaged ({type(error).__name__})", "TRUNCATED") from None
    except Exception as error:  # nibabel raises a dozen kinds for a header it cannot parse
        raise CTError(f"no readable NIfTI: {type(error).__name__}; export the scan again", "UNREADABLE") from None
    if not isinstance(image, nib.Nifti1Image):
        raise CTError("only NIfTI (.nii, .nii.gz) and DICOM are read: convert the scan", "UNREADABLE")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        size = " x ".join(map(str, shape))
        raise CTError(f"the image is {size}, not one 3-D volume: extract one time point or channel", "NOT_3D")
    affine = _affine(image, notes)
    check_grid(shape, np.linalg.norm(affine[:3, :3], axis=0))
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise CTError(f"values of type {dtype} are no Hounsfield units: export the CT itself", "NOT_HU")

    hu = _values(image).reshape(shape)
    hu, found = checked_hu(hu, assume_hu)
    notes += found
    volume = Volume(hu, affine, tuple(notes))
    return straighten(volume, resample, SHEAR_DEG)


def _values(image: Any) -> np.ndarray:
    """Stored values times scl_slope plus scl_inter, without a detour over float64 where it can be avoided."""
    proxy = image.dataobj
    slope, inter = float(proxy.slope), float(proxy.inter)
    try:
        raw = np.asanyarray(proxy.get_unscaled())
    except (EOFError, OSError, ValueError, zlib.error):  # short read, damaged deflate stream, short mmap
        raise CTError("the file ends before its voxels do: copy or export it again", "TRUNCATED") from None
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if (slope, inter) == (1.0, 0.0):
        return raw
    if not np.isfinite([slope, inter]).all():
        raise CTError(f"scl_slope {slope:g} and scl_inter {inter:g} are not finite", "NO_RESCALE")
    return compact(np.stack([plane * slope + inter for plane in np.moveaxis(raw, -1, 0)], axis=-1))


def _affine(image: Any, notes: list[str]) -> np.ndarray:
    """(4, 4) RAS mm. sform before qform; when both are set they must agree about lengths."""
    header = image.header
    try:
        sform, s_code = header.get_sform(coded=True)
        qform, q_code = header.get_qform(coded=True)
    except Exception:  # a quaternion longer than 1
        raise CTError("the qform is no rotation: mend the header or set an sform", "BAD_AFFINE") from None
    if s_code and q_code:
        a, b = (np.linalg.norm(m[:3, :3], axis=0) for m in (sform, qform))
        if not np.allclose(a, b, rtol=0.01):
            raise CTError("sform and qform disagree about the voxel size: delete the wrong one", "BAD_AFFINE")
        if not np.allclose(sform, qform, atol=0.01 * a.min(), rtol=1e-3):
            notes.append("sform and qform place the scan differently; sform was used")
    if s_code:
        affine = sform
    elif q_code:
        affine = qform
    else:
        affine = header.get_base_affine()
        notes.append("neither sform nor qform is set: orientation and side of the body are unknown")
    unit = header.get_xyzt_units()[0]
    if unit not in MM_PER_UNIT:
        raise CTError(f"lengths in {unit} are not understood: mend xyzt_units", "BAD_SPACING")
    affine = np.array(affine, dtype=np.float64)
    affine[:3] *= MM_PER_UNIT[unit]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise CTError("the affine is singular: mend sform or qform in the header", "BAD_AFFINE")
    return affine
