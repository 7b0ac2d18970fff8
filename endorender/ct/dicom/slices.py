"""What the header of a DICOM file says of its planes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.dicom import kinds, tags
from endorender.ct.dicom.header import BIG_ENDIAN
from endorender.ct.dicom.parsing import Parsed
from endorender.ct.errors import CTError
from endorender.ct.files import Entry

if TYPE_CHECKING:
    from jaxtyping import Float

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)
# Where an enhanced file keeps what a classic one has at its root.
MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
    "FrameContentSequence",
    "CardiacSynchronizationSequence",
)
ALIKE_AXIS, ALIKE_PITCH = 5e-4, 5e-4  # a quarter of a pixel over 512


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a file are stored. span: offset and bytes where they lie plain in the file, else None. odd:
    whether bytes that are no DICOM follow them. assumed: tags that are missing, and what was taken for their value."""

    span: tuple[int, int] | None
    big: bool
    allocated: int
    stored: int
    high: int
    signed: bool
    padding: tuple[int, int] | None  # PixelPaddingValue and its range limit
    frames: int
    odd: bool
    assumed: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class Slice:
    """One plane: a classic file, or one frame of an enhanced one."""

    entry: Entry
    frame: int
    uid: str
    number: int
    rows: int
    cols: int
    position: Float[np.ndarray, " 3"]  # (3,) LPS mm, centre of the first pixel
    along_row: Float[np.ndarray, " 3"]  # (3,) unit, direction in which the column index grows
    along_col: Float[np.ndarray, " 3"]  # (3,) unit, direction in which the row index grows
    pitch: tuple[float, float]  # mm between columns, between rows
    rescale: tuple[float, float] | None  # slope, intercept
    unit: str  # RescaleType
    encoding: Encoding
    facts: tuple[tuple[str, Any], ...]
    expected: int  # ImagesInAcquisition, 0 if not said
    lossy: bool
    kernel: str  # as it is written: to compare, not to show
    kvp: float | None
    posture: str  # how the patient lay, empty if not said
    moment: tuple[float | None, ...]  # when it was taken, as `phases.MOMENTS` lists
    part: tuple[str, int, int] | None  # of a concatenation: its UID, number and total of files
    contents: frozenset[str]  # words of ImageType

    @property
    def normal(self) -> Float[np.ndarray, " 3"]:
        """(3,) unit, LPS."""
        n = np.cross(self.along_row, self.along_col)
        return np.asarray(n / np.linalg.norm(n))

    def matches(self, other: Slice) -> bool:
        """Whether both may be of one stack: lie alike, and have one kernel, voltage and posture, if they say so."""
        if self.kernel != other.kernel and self.kernel and other.kernel:
            return False
        if self.posture != other.posture and self.posture and other.posture:
            return False
        if self.kvp != other.kvp and self.kvp is not None and other.kvp is not None and abs(self.kvp - other.kvp) > 0.5:
            return False
        return self.lies_as(other)

    def lies_as(self, other: Slice) -> bool:
        """Whether orientation and pitch are alike to what rounding leaves."""
        if self.along_row is other.along_row and self.along_col is other.along_col and self.pitch == other.pitch:
            return True
        turn = max(np.abs(self.along_row - other.along_row).max(), np.abs(self.along_col - other.along_col).max())
        return bool(turn < ALIKE_AXIS) and bool(np.allclose(self.pitch, other.pitch, rtol=ALIKE_PITCH, atol=0))

    def __str__(self) -> str:
        where = f"file {self.entry.number} in the order of names"
        return f"a slice ({where}, frame {self.frame + 1})" if self.encoding.frames > 1 else f"a slice ({where})"


def slices_of(parsed: Parsed, entry: Entry) -> list[Slice] | str:
    """The planes of one file; what it is, in words, if it is no CT image. Raises CTError, or whatever pydicom chokes
    with."""
    header = parsed.dataset
    named = f"file {entry.number} in the order of names"
    announced = str(header.file_meta.get("MediaStorageSOPClassUID", ""))
    kind = str(header.get("SOPClassUID") or announced)
    if not kind and header.preamble is not None:
        raise CTError(f"a DICOM file ({named}) breaks off before it says what it is: copy it again", "TRUNCATED")
    if not parsed.pixels and (kind in CT_CLASSES or announced in CT_CLASSES):
        raise CTError(f"a slice ({named}) ends before its PixelData: copy it again", "TRUNCATED")
    if kind not in CT_CLASSES or str(header.get("Modality") or "CT") != "CT":
        return kinds.other(header, kind)
    if int(header.get("SamplesPerPixel") or 1) != 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return "picture in colour"
    if _is_scout(header):
        return "scout"
    frames = int(header.get("NumberOfFrames") or 1)
    encoding = _encoding(header, parsed, frames)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if frames > 1:
            raise CTError(f"{named} holds {frames} frames and no place for each: export it again", "MISSING_TAG")
        return [_slice(header, [header], entry, 0, encoding)]
    described = header.PerFrameFunctionalGroupsSequence
    if len(described) != frames:
        raise CTError(
            f"{named} claims {frames} frames and describes {len(described)}: export it again", "PIXELS_MISMATCH"
        )
    shared = _macros((header.get("SharedFunctionalGroupsSequence") or [None])[0])
    planes = []
    for index, frame in enumerate(described):
        # What a frame says goes before what all frames share.
        groups = [*_macros(frame), *shared]
        if not any(_is_scout(group, "FrameType") for group in groups):
            planes.append(_slice(header, [*groups, header], entry, index, encoding))
    return planes or "scout"


def _macros(groups: Any) -> list[Any]:
    """The one item of each functional group."""
    if groups is None:
        return []
    return [groups[name].value[0] for name in MACROS if name in groups and groups[name].value]


def _is_scout(header: Any, name: str = "ImageType") -> bool:
    said = header.get(name) or []
    return any(str(k).strip().upper() in kinds.SCOUTS for k in ([said] if isinstance(said, str) else said))


def _encoding(header: Any, parsed: Parsed, frames: int) -> Encoding:
    allocated = int(header.get("BitsAllocated") or 16)
    stored = int(header.get("BitsStored") or allocated)
    taken: dict[str, int | str] = {
        "Modality": "CT",
        "SeriesInstanceUID": "one for all",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": 0,
    }
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    padding = (value, limit if isinstance(limit, int) else value) if isinstance(value, int) else None
    return Encoding(
        span=parsed.span,
        big=str(header.file_meta.get("TransferSyntaxUID")) == BIG_ENDIAN,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if header.get("HighBit") in (None, "") else int(header.get("HighBit")),
        signed=bool(int(header.get("PixelRepresentation") or 0)),
        padding=padding,
        frames=frames,
        odd=parsed.odd,
        assumed=tuple((name, value) for name, value in taken.items() if header.get(name) in (None, "")),
    )


def _need(sources: list[Any], name: str, entry: Entry) -> Any:
    """The first value among datasets, or a CTError that names the tag."""
    for dataset in sources:
        value = dataset.get(name)
        if value is not None and value != "":
            return value
    raise CTError(
        f"a CT slice (file {entry.number} in the order of names) lacks {name}: "
        "export the series again as original CT images",
        "MISSING_TAG",
    )


def _numbers(sources: list[Any], name: str, count: int, entry: Entry) -> np.ndarray:
    value = _need(sources, name, entry)
    try:
        values = np.array([float(v) for v in value])
    except (TypeError, ValueError):
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise CTError(
            f"{name} of a CT slice (file {entry.number} in the order of names) is not {count} finite numbers: "
            "export the series again",
            "MISSING_TAG",
        )
    return values


@functools.lru_cache(64)  # all slices of a series lie alike
def _axes(values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """(3,) unit vectors along rows and columns; None if they are neither unit nor perpendicular."""
    row, col = np.array(values[:3]), np.array(values[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(col)
    if abs(lengths[0] - 1) > 1e-2 or abs(lengths[1] - 1) > 1e-2 or abs(row @ col) > 2e-3:
        return None
    return row / lengths[0], col / lengths[1]


def _slice(header: Any, groups: list[Any], entry: Entry, frame: int, encoding: Encoding) -> Slice:
    axes = _axes(tuple(_numbers(groups, "ImageOrientationPatient", 6, entry).tolist()))
    if axes is None:
        raise CTError(
            f"ImageOrientationPatient of a CT slice (file {entry.number} in the order of names) is not two "
            "perpendicular unit vectors: export the series again",
            "BAD_ORIENTATION",
        )
    between_rows, between_cols = _numbers(groups, "PixelSpacing", 2, entry)
    if not min(between_rows, between_cols) > 0:
        raise CTError(
            f"PixelSpacing {between_rows:g}, {between_cols:g} is none: export the series again", "BAD_SPACING"
        )
    rescale = None
    if all(any(g.get(n) not in (None, "") for g in groups) for n in ("RescaleSlope", "RescaleIntercept")):
        rescale = (float(_need(groups, "RescaleSlope", entry)), float(_need(groups, "RescaleIntercept", entry)))
    return Slice(
        entry=entry,
        frame=frame,
        uid=str(header.get("SeriesInstanceUID") or ""),
        number=int(header.get("SeriesNumber") or 0),
        rows=int(_need([header], "Rows", entry)),
        cols=int(_need([header], "Columns", entry)),
        position=_numbers(groups, "ImagePositionPatient", 3, entry),
        along_row=axes[0],
        along_col=axes[1],
        pitch=(float(between_cols), float(between_rows)),
        rescale=rescale,
        unit=str(next((g.get("RescaleType") for g in groups if g.get("RescaleType")), "")).strip().upper(),
        encoding=encoding,
        facts=tuple(tags.facts(groups)),
        expected=tags.whole(header.get("ImagesInAcquisition")),
        lossy=tags.lossy(header),
        kernel=str(tags.optional(groups, "ConvolutionKernel") or ""),
        kvp=tags.number(groups, "KVP"),
        posture=kinds.posture(tags.optional([header], "PatientPosition")),
        moment=tags.moment(groups),
        part=tags.part(header),
        contents=kinds.words(
            tags.optional(groups, "FrameType") if len(groups) > 1 else "", tags.optional(groups, "ImageType")
        ),
    )
