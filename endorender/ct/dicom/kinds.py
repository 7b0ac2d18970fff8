"""What the header says that a file is, beside its place and its values."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from endorender.ct.errors import CTError

if TYPE_CHECKING:
    from endorender.ct.dicom.slices import Slice

SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
MODALITIES = frozenset(
    ("MR", "PT", "NM", "US", "XA", "RF", "CR", "DX", "MG", "IO", "PX", "SC", "OT", "ES", "OP", "SM", "SR", "KO", "PR")
    + ("RTSTRUCT", "RTPLAN", "RTDOSE", "SEG", "REG")
)
# Values 3 and 4 of ImageType and FrameType (PS3.3, sections C.8.2.1.1.1 and C.8.15.3.3), and what vendors write there.
PROJECTIONS = frozenset(("MIP", "MINIP", "MAXIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM"))
MAPS = {
    "MAT_SPECIFIC": "the amount of one material",
    "MAT_FRACTIONAL": "the share of one material",
    "MAT_VALUE_BASED": "a measure of materials",
    "EFF_ATOMIC_NUM": "effective atomic numbers",
    "ELECTRON_DENSITY": "electron densities",
    "SUBTRACTION": "a difference of two scans",
    "DIVISION": "a quotient of two scans",
    "MULTIPLICATION": "a product of two scans",
    "STD_DEVIATION": "a standard deviation",
    "QUANTITY": "another quantity",
    "PERFUSION": "perfusion",
}
ALTERED = {"MAT_REMOVED": "a material was taken out", "MAT_MODIFIED": "the contrast of a material was changed"}
# Patient Position (PS3.3, section C.7.3.1.1.2) by its last letters.
POSTURES = {"S": "supine", "P": "prone", "DR": "right side down", "DL": "left side down"}
POSITION = re.compile(r"(?:HF|FF|LF|RF|AF|PF)(S|P|DR|DL)")


def words(*values: Any) -> frozenset[str]:
    """The words of ImageType or FrameType that mean something here, in capitals."""
    return frozenset().union(*map(_words, (str(v) for v in values)))


@functools.lru_cache(256)  # all slices of a series say the same
def _words(text: str) -> frozenset[str]:
    told = frozenset(re.split(r"[^A-Z_]+", text.upper()))
    return told & (PROJECTIONS | MAPS.keys() | ALTERED.keys() | set(SCOUTS))


def posture(value: Any) -> str:
    """How the patient lay, in words; empty if it is not said in DICOM's own terms."""
    match = POSITION.fullmatch(str(value or "").strip().upper())
    return POSTURES[match[1]] if match else ""


def other(header: Any, kind: str) -> str:
    """What a DICOM file is that is no CT slice, in the words of DICOM's dictionary; never text out of the file."""
    from pydicom._uid_dict import UID_dictionary

    modality = str(header.get("Modality") or "") if "Image Storage" in _name(UID_dictionary, kind) else ""
    name = _name(UID_dictionary, kind).removesuffix(" Storage")
    if "CT Image" in name and modality in MODALITIES:
        return f"image of modality {modality}"
    if "X-Ray 3D" in name:
        return f"{name} (cone-beam)"
    if name == "Media Storage Directory":
        return "DICOMDIR"
    return name or "file of an unknown class"


def _name(dictionary: Mapping[str, tuple[str, ...]], kind: str) -> str:
    return str(dictionary.get(kind, ("",))[0])


def check(stack: list[Slice], resample: bool, assume_hu: bool, notes: list[str]) -> None:
    """Refuse what is no picture of tissue or not whole; note what was changed or assumed.

    Raises CTError NOT_HU, MISSING_SLICE.
    """
    said = frozenset().union(*(s.contents for s in stack))
    problem = ""
    if said & PROJECTIONS:
        problem = "ImageType says that these are projections (MIP) of slabs, in which walls and lumens overlap"
    for word in sorted(said & MAPS.keys()):
        problem = problem or f"ImageType says that the values are no Hounsfield units but {MAPS[word]}"
    if problem and not assume_hu:
        raise CTError(f"{problem}: choose the series it was made of, or accept it with --assume-hu", "NOT_HU")
    if problem:
        notes.append(f"{problem}: taken for a CT all the same (--assume-hu)")
    for word in sorted(said & ALTERED.keys()):
        notes.append(f"ImageType says that {ALTERED[word]}: HU there are not those that were measured")
    assumed = sorted({(name, value) for s in stack for name, value in s.encoding.assumed})
    if assumed:
        notes.append("tags that every CT must have are missing; assumed: " + ", ".join(f"{n} {v}" for n, v in assumed))
    _concatenations(stack, resample, notes)


def _concatenations(stack: list[Slice], resample: bool, notes: list[str]) -> None:
    """An enhanced image may be spread over several files (PS3.3, section C.7.6.16.2.2.4)."""
    parts: dict[str, set[tuple[int, int]]] = {}
    for s in stack:
        if s.part is not None:
            parts.setdefault(s.part[0], set()).add(s.part[1:])
    for found in parts.values():
        numbers = {n for n, _ in found}
        total = max(max(numbers), *(t for _, t in found))
        missing = total - len(numbers)
        if missing <= 0:
            continue
        problem = f"{missing} of {total} files of a concatenation are missing"
        if not resample:
            raise CTError(f"{problem}: copy the whole series, or accept what is here with --resample", "MISSING_SLICE")
        notes.append(problem)
