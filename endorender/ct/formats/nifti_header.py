"""The fields of a NIfTI header that nibabel mends without a word, or believes where it may not."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from endorender.ct.errors import CTError

MAX_EXTENSION = 2**26  # bytes between header and voxels; converters' notes take a few KiB
PAIR = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img")}
QUATERNION = 1e-3  # by which its squared length may exceed 1: single precision, and converters that round
CODES = range(6)  # of sform and qform that NIfTI defines


def is_pair(name: str) -> bool:
    """Whether a file is called the header of a pair."""
    return name.lower().endswith(tuple(PAIR))


def is_bare_pair(raw: np.void) -> bool:
    """Whether the voxels lie in a file of their own."""
    return bool(raw["magic"].startswith(b"ni"))


@functools.lru_cache(1)
def kinds() -> dict[tuple[int, bool], Any]:
    """Image classes by size of the header and whether voxels follow in the same file."""
    import nibabel as nib

    made = {}
    for size, one, two in (
        (348, nib.Nifti1Image, nib.Nifti1Pair),
        (540, nib.Nifti2Image, nib.Nifti2Pair),
    ):
        for kind, alone in ((one, True), (two, False)):
            header = type("Header", (kind.header_class,), {"get_qform_quaternion": _quaternion})
            made[size, alone] = type("Image", (kind,), {"header_class": header})
    return made


def _quaternion(header: Any) -> np.ndarray:
    """(4,) w, x, y, z; of unit length also where rounding made b, c, d longer than 1 (nifti1.h does so, nibabel raises;
    `check` refuses longer ones)."""
    bcd = np.array([float(header[f"quatern_{n}"]) for n in "bcd"])
    rest = 1 - float(bcd @ bcd)
    return np.array([np.sqrt(max(0.0, rest)), *(bcd / np.sqrt(1 - min(0.0, rest)))])


def parsed(head: bytes) -> np.void:
    """The raw header out of the first 540 bytes. Raises EOFError, CTError UNREADABLE."""
    import nibabel as nib

    if len(head) < 348:
        raise EOFError
    for kind in (nib.nifti1.header_dtype, nib.nifti2.header_dtype):
        for dtype in (kind.newbyteorder("<"), kind.newbyteorder(">")):
            if len(head) >= dtype.itemsize:
                raw = np.frombuffer(head, dtype, 1)[0]
                if raw["sizeof_hdr"] == dtype.itemsize:
                    if kind is nib.nifti1.header_dtype and not raw["magic"].startswith((b"n+1", b"ni1")):
                        raise CTError(
                            "an Analyze header, which does not say where left and right are: convert the DICOM it "
                            "was made of to NIfTI (.nii.gz)",
                            "UNREADABLE",
                        )
                    return raw
    raise CTError("no NIfTI header: export the scan again as NIfTI (.nii, .nii.gz) or DICOM", "UNREADABLE")


def check(raw: np.void, alone: bool) -> None:
    """Refuse what nibabel would drop or mend without a word. alone: header and voxels in one file.

    Raises CTError UNREADABLE, PIXELS_MISMATCH, NO_RESCALE, BAD_AFFINE.
    """
    size = raw.dtype.itemsize
    if alone and is_bare_pair(raw):
        raise CTError("the header of a pair without its voxels: give the .hdr beside its .img", "UNREADABLE")
    offset, least = float(raw["vox_offset"]), size + 4 if alone else 0
    if not offset <= MAX_EXTENSION:
        raise CTError("the voxels are said to begin beyond all reason: export the scan again", "UNREADABLE")
    if not offset >= least or offset != int(offset):
        raise CTError(
            f"vox_offset {offset:g} puts the voxels within the header, which ends at {least}: mend it or export again",
            "UNREADABLE",
        )
    bits = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}.get(int(raw["datatype"]))
    said = int(raw["bitpix"])
    if bits is not None and said not in (0, bits):
        raise CTError(
            f"bitpix says {said} bits a voxel, datatype {bits}: mend the header or export again", "PIXELS_MISMATCH"
        )
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    # Zero and NaN mean none: the latter is what nibabel writes.
    if np.isinf(slope) or (slope != 0 and not np.isnan(slope) and not np.isfinite(inter)):
        raise CTError(
            f"scl_slope {slope:g} and scl_inter {inter:g} are not finite: mend the header or export again", "NO_RESCALE"
        )
    for name in ("sform_code", "qform_code"):
        if int(raw[name]) not in CODES:
            raise CTError(f"{name} {int(raw[name])} is none that NIfTI knows: mend the header", "BAD_AFFINE")
    if int(raw["qform_code"]) > 0:
        _check_qform(raw)


def _check_qform(raw: np.void) -> None:
    names = [f"quatern_{n}" for n in "bcd"] + [f"qoffset_{n}" for n in "xyz"]
    values = np.array([float(raw[n]) for n in names])
    if not np.isfinite(values).all():
        raise CTError("the qform is not finite: mend the header, or set qform_code to 0", "BAD_AFFINE")
    if values[:3] @ values[:3] > 1 + QUATERNION:
        raise CTError(
            "the quaternion of the qform is longer than 1, no rotation: mend the header, or set qform_code to 0",
            "BAD_AFFINE",
        )
