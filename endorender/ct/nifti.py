"""NIfTI in (.nii, .nii.gz)."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import silent
from endorender.ct.limits import inflation, on_disk
from endorender.ct.resample import straighten
from endorender.ct.values import MAX_VOXELS, check_grid, checked_hu, compact
from endorender.ct.volume import Volume

SHEAR_DEG = 0.1
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
GZIP = b"\x1f\x8b"
MAX_EXTENSION = 2**26  # bytes between header and voxels; converters' notes take a few KiB


def read(path: Path, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT from a NIfTI-1 or -2 file: scl_slope, sform or qform, and units honoured.

    Raises CTError (NOT_3D, BAD_AFFINE, SHEARED, TRUNCATED, NON_FINITE, NOT_HU, ...).
    """
    notes: list[str] = []
    image, shape, affine = opened(path, notes)
    check_grid(shape, np.linalg.norm(affine[:3, :3], axis=0))
    hu, found = checked_hu(values(image, shape, notes), assume_hu)
    return straighten(Volume(hu, affine, (*notes, *found)), resample, SHEAR_DEG)


def opened(path: Path, notes: list[str]) -> tuple[Any, tuple[int, ...], np.ndarray]:
    """The image with its voxels unread, its 3-D shape, and its (4, 4) affine in RAS mm.

    notes: what was noticed is added. Raises CTError.
    """
    import nibabel as nib

    try:
        with warnings.catch_warnings(), silent("nibabel"):
            warnings.simplefilter("ignore")
            packed = _peek(path)
            image: Any = _image(path, packed)
    except CTError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CTError(
            f"the file ends within its header or is damaged ({type(error).__name__}): copy it again", "TRUNCATED"
        ) from None
    except Exception as error:  # nibabel raises a dozen kinds for a header it cannot parse
        raise CTError(f"no readable NIfTI ({type(error).__name__}): export the scan again", "UNREADABLE") from None
    if not isinstance(image, nib.Nifti1Image):
        raise CTError("only NIfTI (.nii, .nii.gz) and DICOM are read: convert the scan", "UNREADABLE")
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        size = " x ".join(map(str, shape))
        raise CTError(f"the image is {size}, not one 3-D volume: extract one time point or channel", "NOT_3D")
    if min(shape) < 1:
        raise CTError("the header gives a size below 1: export the scan again", "UNREADABLE")
    if np.prod(np.array(shape, dtype=float)) > MAX_VOXELS:
        size = " x ".join(map(str, shape))
        raise CTError(f"{size} voxels are more than {MAX_VOXELS}: crop the scan first", "TOO_LARGE")
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise CTError(f"values of type {dtype.kind} are no Hounsfield units: export the CT itself", "NOT_HU")
    affine = _affine(image, notes)
    claimed = int(np.prod(np.array(shape, dtype=float))) * dtype.itemsize
    if packed is not None:
        inflation(claimed, on_disk(path), "a packed NIfTI")
    elif claimed > path.stat().st_size:
        raise CTError(
            f"the file holds {path.stat().st_size} bytes, its voxels take {claimed}: copy or export it again",
            "TRUNCATED",
        )
    else:
        inflation(claimed, on_disk(path), "a sparse NIfTI")
    return image, shape, affine


def _peek(path: Path) -> Any:
    """An open stream if the file is gzipped, whatever its name says, else None. Refuses floods before the voxels."""
    with open(path, "rb") as file:
        head = file.read(540)
    packed = head[:2] == GZIP
    if packed:
        with gzip.open(path, "rb") as file:
            head = file.read(540)
    if len(head) < 348:
        raise EOFError
    for order in ("<", ">"):
        if np.frombuffer(head, order + "i4", 1)[0] == 348:
            offset = float(np.frombuffer(head, order + "f4", 1, 108)[0])
            break
        if np.frombuffer(head, order + "i4", 1)[0] == 540 and len(head) == 540:
            offset = float(np.frombuffer(head, order + "i8", 1, 168)[0])
            break
    else:
        raise CTError("no NIfTI header: export the scan again as NIfTI (.nii, .nii.gz) or DICOM", "UNREADABLE")
    if not 0 <= offset <= MAX_EXTENSION:
        raise CTError("the voxels are said to begin beyond all reason: export the scan again", "UNREADABLE")
    return gzip.open(path, "rb") if packed else None


def _image(path: Path, packed: Any) -> Any:
    import nibabel as nib

    name = path.name.lower()
    if packed is None and name.endswith(".nii"):
        return nib.load(path, mmap=False)  # a file that shrinks under a memory map kills the process
    # The name lies about the packing: nibabel would believe it.
    stream = packed if packed is not None else io.BytesIO(path.read_bytes())
    kind = nib.Nifti2Image if np.frombuffer(stream.read(4), "i4")[0] in (540, 469893120) else nib.Nifti1Image
    stream.seek(0)
    return kind.from_file_map({"image": nib.FileHolder(fileobj=stream)})


def values(image: Any, shape: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """Stored values times scl_slope plus scl_inter, without a detour over float64 where it can be avoided.

    notes: what was noticed is added. Raises CTError TRUNCATED, NO_RESCALE.
    """
    proxy = image.dataobj
    slope, inter = float(proxy.slope), float(proxy.inter)
    try:
        raw = np.asanyarray(proxy.get_unscaled())
        packed = hasattr(proxy.file_like, "read")
        with proxy.file_like if packed else open(proxy.file_like, "rb") as stream:
            if not packed:
                stream.seek(proxy.offset + raw.nbytes)
            # To the end: the checksum comes last, and without it a damaged stream may pass.
            rest = [bool(stream.read(2**20).strip(b"\0")) for _ in range(MAX_EXTENSION // 2**20 if packed else 1)]
        if any(rest):
            notes.append("bytes follow the voxels, which may be displaced if a copy went wrong")
    except (EOFError, OSError, ValueError, zlib.error):  # short read, damaged deflate stream or checksum
        raise CTError("the file ends before its voxels do: copy or export it again", "TRUNCATED") from None
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False).reshape(shape)
    if (slope, inter) == (1.0, 0.0):
        return raw
    if not np.isfinite([slope, inter]).all():
        raise CTError(
            f"scl_slope {slope:g} and scl_inter {inter:g} are not finite: mend the header or export again", "NO_RESCALE"
        )
    return compact(np.stack([plane * slope + inter for plane in np.moveaxis(raw, -1, 0)], axis=-1))


def _affine(image: Any, notes: list[str]) -> np.ndarray:
    """(4, 4) RAS mm. sform before qform; when both are set they must agree about lengths and about left and right."""
    header = image.header
    try:
        sform, s_code = header.get_sform(coded=True)
        qform, q_code = header.get_qform(coded=True)
    except Exception:  # a quaternion longer than 1
        raise CTError("the qform is no rotation: mend the header or set an sform", "BAD_AFFINE") from None
    if s_code:
        _agree(sform, qform if q_code else None, np.array(header["pixdim"][1:4], float), notes)
        affine = sform
    elif q_code:
        affine = qform
    else:
        affine = header.get_base_affine()
        notes.append("neither sform nor qform is set: orientation and side of the body are unknown")
    try:
        unit = header.get_xyzt_units()[0]
    except Exception:  # a code that no unit has
        unit = "units of another kind"
    if unit not in MM_PER_UNIT:
        raise CTError(f"lengths in {unit} are not understood: mend xyzt_units", "BAD_SPACING")
    affine = np.array(affine, dtype=np.float64)
    affine[:3] *= MM_PER_UNIT[unit]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise CTError("the affine is singular: mend sform or qform in the header", "BAD_AFFINE")
    return affine


def _agree(sform: np.ndarray, qform: np.ndarray | None, pixdim: np.ndarray, notes: list[str]) -> None:
    """Refuse a header that says two things about sizes or about left and right; note two places."""
    ours = np.linalg.norm(sform[:3, :3], axis=0)
    theirs = np.abs(pixdim) if qform is None else np.linalg.norm(qform[:3, :3], axis=0)
    if not np.allclose(ours, theirs, rtol=0.01):
        other = "pixdim" if qform is None else "qform"
        raise CTError(f"sform and {other} disagree about the voxel size: mend or delete the wrong one", "BAD_AFFINE")
    if not np.allclose(ours, theirs, rtol=0.001):
        notes.append("sform and pixdim or qform differ about the voxel size by up to a hundredth; sform was used")
    if qform is None:
        return
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise CTError("sform and qform are mirror images: delete the one that swaps left and right", "BAD_AFFINE")
    if not np.allclose(sform, qform, atol=0.01 * ours.min(), rtol=1e-3):
        notes.append("sform and qform place the scan differently; sform was used")
