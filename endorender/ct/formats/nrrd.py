"""NRRD in (.nrrd, .nhdr), its header parsed by pynrrd (extra `formats`): space, directions, encodings, detached voxels.

Definition of the format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from endorender.ct.dicom.kinds import MODALITIES
from endorender.ct.errors import CTError
from endorender.ct.files import Entry
from endorender.ct.formats.raw import HEADER_BYTES, Header, scan, three, to_the_end
from endorender.ct.volume import Volume

# From the space of the file to RAS.
SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "ras": (1, 1, 1),
    "las": (-1, 1, 1),
    "lps": (-1, -1, 1),
}
WORDS = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPES = {word: kind for kind, words in WORDS.items() for word in words.split("|")}
PACKINGS = {"raw": "raw", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2"}


def read(entry: Entry, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT. Raises CTError (MISSING_DECODER, MISSING_TAG, NOT_3D, TRUNCATED, TOO_LARGE, NOT_HU, ...)."""
    return scan(entry, "NRRD", _header, resample, assume_hu)


def _header(stream: Any, notes: list[str]) -> Header:
    fields = _fields(stream)
    packing = PACKINGS.get(str(fields.get("encoding", "")).lower())
    if packing is None:
        raise CTError("voxels are not raw, gzip or bzip2: save the scan as gzip or as NIfTI (.nii.gz)", "UNREADABLE")
    sizes = [int(n) for n in fields["sizes"]]
    if len(sizes) != fields["dimension"]:
        raise CTError("dimension and sizes contradict each other: export the scan again", "UNREADABLE")
    return Header(
        three(sizes),
        _dtype(fields),
        _affine(fields, notes),
        packing,
        voxels=fields.get("datafile", fields.get("data file")),
        skip=partial(_skip, fields, packing),
    )


def _fields(stream: Any) -> dict[str, Any]:
    """The fields; the stream stands behind the empty line that ends them, or at its end. Raises CTError."""
    lines, left = [], HEADER_BYTES
    while line := stream.readline(left):
        left -= len(line)
        if left <= 0:
            raise CTError("the header of the NRRD does not end: export the scan again", "UNREADABLE")
        if not line.strip():
            break
        name, colon, value = line.decode("latin-1").partition(": ")
        lines.append((name.lower() if colon else name) + colon + value)  # fields are known whatever their case
    if not lines or not lines[0].startswith("NRRD0"):
        raise CTError("no NRRD header: export the scan again as NIfTI or DICOM", "UNREADABLE")
    try:
        import nrrd
    except ImportError:
        raise CTError("NRRD needs pynrrd: pip install 'endorender[formats]'", "MISSING_DECODER") from None
    lines[0] = lines[0].strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fields = dict(nrrd.read_header(lines))
        missing = [name for name in ("dimension", "type", "encoding", "sizes") if name not in fields]
    except Exception as error:  # pynrrd raises several kinds, with texts of the header
        raise CTError(
            f"no readable NRRD header ({type(error).__name__}): export the scan again", "UNREADABLE"
        ) from None
    if missing:
        raise CTError(f"the NRRD header lacks {missing[0]}: export the scan again", "MISSING_TAG")
    _refuse_what_is_no_ct(fields)
    return fields


def _refuse_what_is_no_ct(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name.lower().endswith("modality") and str(value).strip().upper() in MODALITIES:
            raise CTError(
                f"the header says that this is {str(value).strip().upper()}: only CT has Hounsfield units, give the CT",
                "NO_CT",
            )
    if any(name in fields for name in ("old min", "oldmin", "old max", "oldmax")):
        raise CTError("old min and old max say that the values were quantised: export the original CT", "NO_RESCALE")


def _dtype(header: dict[str, Any]) -> np.dtype:
    kind = TYPES.get(str(header["type"]))
    if kind is None:
        raise CTError("voxels of a type that no CT has: export the scan again", "NOT_HU")
    if np.dtype(kind).itemsize == 1:
        return np.dtype(kind)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian")))
    if order is None:
        raise CTError("the NRRD header lacks endian: export the scan again", "MISSING_TAG")
    return np.dtype(order + kind)


def _affine(header: dict[str, Any], notes: list[str]) -> np.ndarray:
    """(4, 4) RAS mm. space origin is the centre of the first voxel, whatever `centers` says."""
    signs = SPACES.get(str(header.get("space", "")).strip().lower())
    vectors = header.get("space directions")
    if signs is None or vectors is None:
        raise CTError(
            "the NRRD does not say how it lies in the patient (space, space directions): save it from a program that "
            "knows, as 3D Slicer",
            "MISSING_TAG",
        )
    try:
        vectors = np.array([np.full(3, np.nan) if v is None else v for v in vectors], float)
    except (TypeError, ValueError):
        vectors = np.empty((0, 3))
    if vectors.shape[0] < 3 or vectors.shape[1:] != (3,) or not np.isfinite(vectors[:3]).all():
        raise CTError("space directions are not three finite vectors: export the scan again", "MISSING_TAG")
    units = header.get("space units")
    if units is not None and any(str(u).strip().lower() not in ("mm", "millimeter", "") for u in units):
        raise CTError("space units are no millimetres: save the scan in mm", "BAD_SPACING")
    affine = np.eye(4)
    affine[:3, :3] = vectors[:3].T
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise CTError("space directions are singular: export the scan again", "BAD_AFFINE")
    origin = header.get("space origin")
    if origin is None:
        notes.append("the header has no space origin: the scan's place in the patient is unknown")
    elif np.shape(origin) != (3,) or not np.isfinite(origin).all():
        raise CTError("space origin is not three finite numbers: export the scan again", "MISSING_TAG")
    else:
        affine[:3, 3] = origin
    return np.asarray(np.diag([*signs, 1.0]) @ affine)


def _skip(header: dict[str, Any], packing: str, stream: Any, size: int) -> None:
    """line skip, then byte skip (of a packed file: of what it inflates to, which is refused); -1: up to the end."""
    rows = int(header.get("lineskip", header.get("line skip", 0)))
    count = int(header.get("byteskip", header.get("byte skip", 0)))
    if not 0 <= rows <= 10_000 or not -1 <= count <= 2**26 or (packing != "raw" and count):
        raise CTError("line skip or byte skip put the voxels beyond all reason: export the scan again", "UNREADABLE")
    for _ in range(rows):
        stream.readline(HEADER_BYTES)
    if count == -1:
        to_the_end(stream, size)
    else:
        stream.seek(stream.tell() + count)
