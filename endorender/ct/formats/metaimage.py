"""MetaImage in (.mha, .mhd): the text header of ITK's MetaIO, and its voxels behind it or in a file beside it.

Lengths are millimetres, directions and places LPS, as ITK writes them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import Entry
from endorender.ct.formats.raw import HEADER_BYTES, Header, scan, three, to_the_end
from endorender.ct.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Names that MetaIO takes for the same field.
ALIASES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB",
}
MODALITIES = {"MET_MOD_MR": "MR", "MET_MOD_NM": "nuclear medicine", "MET_MOD_US": "ultrasound", "MET_MOD_PET": "PET"}


def read(entry: Entry, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT. Raises CTError (MISSING_TAG, NOT_3D, TRUNCATED, TOO_LARGE, NOT_HU, ...)."""
    return scan(entry, "MetaImage", _header, resample, assume_hu)


def _header(stream: Any, notes: list[str]) -> Header:
    fields = _fields(stream)
    shape, dtype = _array(fields)
    name, packed = fields["ElementDataFile"], _true(fields, "CompressedData")
    return Header(
        shape,
        dtype,
        _affine(fields, notes),
        packing="zlib" if packed else "raw",
        voxels=None if name.upper() == "LOCAL" else name,
        skip=partial(_skip, fields, packed),
    )


def _fields(stream: Any) -> dict[str, str]:
    """`Name = value` up to ElementDataFile, which is the last; the stream stands behind it."""
    fields: dict[str, str] = {}
    left = HEADER_BYTES
    while "ElementDataFile" not in fields:
        line = stream.readline(left)
        left -= len(line)
        name, equals, value = line.decode("latin-1").partition("=")
        if not line or left <= 0 or (not equals and line.strip()):
            raise CTError("no MetaImage header, or one without ElementDataFile: export the scan again", "UNREADABLE")
        name = ALIASES.get(name.strip(), name.strip())
        if name in fields:
            raise CTError("a field of the MetaImage header is there twice: export the scan again", "UNREADABLE")
        if equals:
            fields[name] = value.strip()
    return fields


def _array(fields: dict[str, str]) -> tuple[tuple[int, int, int], np.dtype]:
    if fields.get("ObjectType", "Image") != "Image":
        raise CTError("a MetaIO file of another kind than an image: give the CT itself", "UNREADABLE")
    modality = fields.get("Modality", "")
    if modality in MODALITIES:
        raise CTError(
            f"Modality says that this is {MODALITIES[modality]}: only CT has Hounsfield units, give the CT", "NO_CT"
        )
    if fields.get("BinaryData", "True") != "True":
        raise CTError("voxels are written as text: save the scan as binary .mha or as NIfTI (.nii.gz)", "UNREADABLE")
    sizes = _numbers(fields, "DimSize", None)
    if (sizes != np.rint(sizes)).any() or np.abs(sizes).max() > 2**31:
        raise CTError("DimSize is no list of whole numbers: export the scan again", "UNREADABLE")
    shape = three([int(n) for n in sizes])
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise CTError("voxels have several channels, no Hounsfield units: extract one", "NOT_3D")
    kind = TYPES.get(_need(fields, "ElementType"))
    if kind is None:
        raise CTError("voxels of an ElementType that no CT has: export the scan again", "NOT_HU")
    slope = (fields.get("ElementToIntensityFunctionSlope", "1"), fields.get("ElementToIntensityFunctionOffset", "0"))
    try:
        same = (float(slope[0]), float(slope[1])) == (1.0, 0.0)
    except ValueError:
        same = False
    if not same:
        raise CTError("ElementToIntensityFunction rescales the voxels: apply it and save the scan again", "NO_RESCALE")
    return shape, np.dtype((">" if _true(fields, "ElementByteOrderMSB") else "<") + kind)


def _affine(fields: dict[str, str], notes: list[str]) -> np.ndarray:
    """(4, 4) RAS mm. Row i of TransformMatrix is the direction in which index i grows."""
    units = fields.get("DistanceUnits", "mm")
    if units not in ("mm", "?"):
        raise CTError("DistanceUnits are no millimetres: save the scan in mm", "BAD_SPACING")
    dimensions = len(_numbers(fields, "DimSize", None))
    spacing = _numbers(fields, "ElementSpacing", dimensions)[:3]
    axes = _numbers(fields, "TransformMatrix", dimensions**2).reshape(dimensions, dimensions)[:3, :3].T
    if np.abs(np.linalg.norm(axes, axis=0) - 1).max() > 1e-3:
        raise CTError("TransformMatrix does not hold unit vectors: export the scan again", "BAD_ORIENTATION")
    axes = axes / np.linalg.norm(axes, axis=0)
    if abs(np.linalg.det(axes)) < 1e-3:
        raise CTError("TransformMatrix is singular: export the scan again", "BAD_AFFINE")
    if (spacing < 0).any():
        raise CTError("ElementSpacing is negative: export the scan again", "BAD_SPACING")
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    if "Offset" in fields:
        affine[:3, 3] = _numbers(fields, "Offset", dimensions)[:3]
    else:
        notes.append("the header has no Offset: the scan's place in the patient is unknown")
    said = fields.get("AnatomicalOrientation", "").upper()
    if len(said) == 3 and set(said) <= set("RLAPSI") and said != _orientation(axes):
        notes.append("AnatomicalOrientation contradicts TransformMatrix, which was used")
    return np.asarray(LPS_TO_RAS @ affine)


def _orientation(axes: np.ndarray) -> str:
    """The side of the body where each index begins, as MetaIO writes it."""
    main = np.abs(axes).argmax(axis=0)
    return "".join("RAI"[m] if axes[m, n] > 0 else "LPS"[m] for n, m in enumerate(main))


def _skip(fields: dict[str, str], packed: bool, stream: Any, size: int) -> None:
    """HeaderSize bytes before the voxels; -1: so many that they end with the file."""
    header = _numbers({"HeaderSize": fields.get("HeaderSize", "0")}, "HeaderSize", 1)[0]
    if header == -1 and not packed:
        to_the_end(stream, size)
    elif 0 <= header <= 2**26:
        stream.seek(stream.tell() + int(header))
    else:
        raise CTError("HeaderSize puts the voxels beyond all reason: export the scan again", "UNREADABLE")


def _true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "False").lower() in ("true", "1")


def _need(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise CTError(f"the MetaImage header lacks {name}: export the scan again, as NIfTI or DICOM", "MISSING_TAG")
    return fields[name]


def _numbers(fields: dict[str, str], name: str, count: int | None) -> np.ndarray:
    text = _need(fields, name)
    try:
        values = np.array([float(v) for v in text.split()])
    except ValueError:
        values = np.array([])
    if len(values) == 0 or (count is not None and len(values) != count) or not np.isfinite(values).all():
        what = f"{count} " if count else ""
        raise CTError(
            f"{name} of the MetaImage header is not {what}finite numbers: export the scan again", "MISSING_TAG"
        )
    return values
