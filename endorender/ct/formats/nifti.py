"""NIfTI in (.nii, .nii.gz, .hdr with .img)."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import Entry, partner, silent, single, unpacked
from endorender.ct.formats.nifti_header import MAX_EXTENSION, PAIR, check, is_bare_pair, is_pair, kinds, parsed
from endorender.ct.formats.raw import three
from endorender.ct.limits import inflation
from endorender.ct.resample import straighten
from endorender.ct.values import check_grid, checked_hu, compact
from endorender.ct.volume import SHEAR_DEG, Skewed, Volume

if TYPE_CHECKING:
    from jaxtyping import Float, Real

MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


def read(source: Path | Entry, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT from a NIfTI-1 or -2 file, or a pair of .hdr and .img: scl_slope, sform or qform, and units honoured.

    Raises CTError (NOT_3D, BAD_AFFINE, SHEARED, TRUNCATED, NON_FINITE, NOT_HU, ...).
    """
    notes: list[str] = []
    image, shape, affine = opened(source, notes)
    with closing(image.dataobj.file_like):
        check_grid(shape, np.linalg.norm(affine[:3, :3], axis=0))
        hu, found = checked_hu(values(image, shape, notes), assume_hu)
    return straighten(Skewed(hu, affine, (*notes, *found)), resample, SHEAR_DEG)


def opened(source: Path | Entry, notes: list[str]) -> tuple[Any, tuple[int, ...], Float[np.ndarray, "4 4"]]:
    """The image with its voxels unread, its 3-D shape, and its (4, 4) affine in RAS mm.

    notes: what was noticed is added. Raises CTError.
    """
    entry = source if isinstance(source, Entry) else single(source)
    streams: list[Any] = []
    try:
        return _opened(entry, streams, notes)
    except CTError:
        _close(streams)
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _close(streams)
        raise CTError(
            f"the file ends within its header or is damaged ({type(error).__name__}): copy it again", "TRUNCATED"
        ) from None


def _close(streams: list[Any]) -> None:
    for stream in streams:
        stream.close()


def _opened(entry: Entry, streams: list[Any], notes: list[str]) -> tuple[Any, tuple[int, ...], np.ndarray]:
    import nibabel as nib

    if entry.name.lower().endswith(PAIR[".hdr"]):
        entry = partner(entry, {image: tuple(PAIR) for image in PAIR[".hdr"]})
    stream = unpacked(entry, streams)
    head = stream.read(540)
    raw = parsed(head)
    if is_pair(entry.name):
        if not is_bare_pair(raw):
            raise CTError("a .hdr that is the header of no pair: give the NIfTI file it comes from", "UNREADABLE")
        voxels = partner(entry, PAIR)
        stream_of_voxels = unpacked(voxels, streams)
    else:
        voxels, stream_of_voxels = entry, stream
    check(raw, voxels is entry)
    stream.seek(0)
    holders = {"image": nib.FileHolder(fileobj=stream_of_voxels), "header": nib.FileHolder(fileobj=stream)}
    try:
        with warnings.catch_warnings(), silent("nibabel"):
            warnings.simplefilter("ignore")
            image: Any = kinds()[len(raw.tobytes()), voxels is entry].from_file_map(holders, mmap=False)
    except Exception as error:  # nibabel raises a dozen kinds for a header it cannot parse
        raise CTError(f"no readable NIfTI ({type(error).__name__}): export the scan again", "UNREADABLE") from None
    if stream is not stream_of_voxels:
        stream.close()
    shape = three([int(n) for n in image.shape])
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise CTError(f"values of type {dtype.kind} are no Hounsfield units: export the CT itself", "NOT_HU")
    affine = _affine(image, notes)
    offset = image.dataobj.offset
    if voxels is entry:
        announced = len(raw.tobytes()) + 4 + sum(e.get_sizeondisk() for e in image.header.extensions)
        if offset > announced:
            notes.append(f"{offset - announced} bytes that nothing announces lie between header and voxels")
    claimed = int(np.prod(np.array(shape, dtype=float))) * dtype.itemsize
    if isinstance(stream_of_voxels, gzip.GzipFile):
        inflation(claimed, voxels.stored, "a packed NIfTI")
    else:
        have = stream_of_voxels.seek(0, os.SEEK_END) - offset
        if claimed > have:
            raise CTError(
                f"the file holds {max(0, have)} bytes of voxels, its header says {claimed}: copy or export it again",
                "TRUNCATED",
            )
        inflation(claimed, voxels.stored, "a sparse NIfTI")
    return image, shape, affine


def values(image: Any, shape: tuple[int, ...], notes: list[str]) -> Real[np.ndarray, "I J K"]:
    """Stored values times scl_slope plus scl_inter, without a detour over float64 where it can be avoided.

    notes: what was noticed is added. Raises CTError TRUNCATED, NO_RESCALE.
    """
    proxy = image.dataobj
    slope, inter = float(proxy.slope), float(proxy.inter)
    try:
        with proxy.file_like as stream:
            raw = np.asanyarray(proxy.get_unscaled())
            stream.seek(proxy.offset + raw.nbytes)
            # A packed one to the end: the checksum comes last, and without it a damaged stream may pass.
            blocks = MAX_EXTENSION // 2**20 if isinstance(stream, gzip.GzipFile) else 1
            rest = [bool(stream.read(2**20).strip(b"\0")) for _ in range(blocks)]
        if any(rest):
            notes.append("bytes follow the voxels, which may be displaced if a copy went wrong")
    except (EOFError, OSError, ValueError, zlib.error):  # short read, damaged deflate stream or checksum
        raise CTError("the file ends before its voxels do: copy or export it again", "TRUNCATED") from None
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False).reshape(shape)
    if (slope, inter) == (1.0, 0.0):
        return raw
    return compact(np.stack([plane * slope + inter for plane in np.moveaxis(raw, -1, 0)], axis=-1))


def _affine(image: Any, notes: list[str]) -> np.ndarray:
    """(4, 4) RAS mm. sform before qform; when both are set they must agree about lengths and about left and right."""
    header = image.header
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
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
