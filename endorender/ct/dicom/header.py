"""The few tags that a volume needs, out of the header of a plain classic DICOM file, and fast.

Only what is beyond doubt is read here: little endian, tags in rising order, known value representations, pixels at the
end (PS3.5, section 7.1). For any other file, damaged ones above all, `walk` gives None and pydicom reads it.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from endorender.ct.errors import CTError

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
COMPRESSED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # JPEG of all kinds, run lengths: all of them explicit
CT = "1.2.840.10008.5.1.4.1.1.2"  # what the classes of CT images begin with
UNDEFINED = 0xFFFFFFFF
FRAMES = (0x52009229, 0x52009230)  # functional groups of an enhanced file
PIXELS = (0x7FE00010, 0x7FE00009, 0x7FE00008)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
MAX_ELEMENTS = 100_000  # a CT of any vendor has a few hundred
NAMES = {
    "SOPClassUID": 0x00080016,
    "AcquisitionTime": 0x00080032,
    "Modality": 0x00080060,
    "ImageType": 0x00080008,
    "SliceThickness": 0x00180050,
    "KVP": 0x00180060,
    "TriggerTime": 0x00181060,
    "ConvolutionKernel": 0x00181210,
    "PatientPosition": 0x00185100,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "TemporalPositionIdentifier": 0x00200100,
    "ImagesInAcquisition": 0x00201002,
    "TemporalPositionIndex": 0x00209128,
    "FrameAcquisitionNumber": 0x00209156,
    "ConcatenationUID": 0x00209161,
    "InConcatenationNumber": 0x00209162,
    "InConcatenationTotalNumber": 0x00209163,
    "NominalPercentageOfCardiacPhase": 0x00209241,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "PixelPaddingValue": 0x00280120,
    "PixelPaddingRangeLimit": 0x00280121,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "RescaleType": 0x00281054,
    "LossyImageCompression": 0x00282110,
    "PerFrameFunctionalGroupsSequence": 0x52009230,
}
WANTED = frozenset(NAMES.values())
META = {"MediaStorageSOPClassUID": 0x00020002, "TransferSyntaxUID": 0x00020010}
_explicit, _implicit = struct.Struct("<HH2sH").unpack_from, struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from
_known: dict[tuple[int, bytes, bytes], Any] = {}  # the slices of a series say nearly all the same


class Short(Exception):
    """The bytes end before the pixels do begin; more may follow in the file."""


class Header:
    """Values by keyword, as pydicom's dataset gives them; only those in NAMES."""

    preamble = b""

    def __init__(self, raw: dict[int, tuple[bytes, bytes]], meta: dict[str, str]):
        self._raw, self.file_meta = raw, meta

    def __contains__(self, name: str) -> bool:
        return NAMES[name] in self._raw

    def get(self, name: str, default: Any = None) -> Any:
        """The converted value. Raises whatever pydicom chokes with."""
        tag = NAMES[name]
        if tag not in self._raw:
            return default
        vr, value = self._raw[tag]
        key = tag, vr, value
        if key not in _known:
            if len(_known) > 4096:
                _known.clear()
            _known[key] = _converted(tag, vr, value)
        return _known[key]


class Walked(NamedTuple):
    """A header, and where the value of its pixels begins; length: as the file says, UNDEFINED if compressed, or if the
    file is of another class than CT, of which no more was read than that."""

    header: Header
    start: int
    length: int


def walk(data: bytes) -> Walked | None:
    """The header at the beginning of a file, or None if it is not plain. Raises Short if the bytes end within it."""
    if data[128:132] != b"DICM":
        return None
    meta, at = _meta(data)
    syntax = meta.get("TransferSyntaxUID", "")
    if syntax not in (IMPLICIT, EXPLICIT) and not syntax.startswith(COMPRESSED):
        return None
    explicit = syntax != IMPLICIT
    if not explicit and data[at + 4 : at + 6].isalpha():  # it says so and is not
        return None
    raw: dict[int, tuple[bytes, bytes]] = {}
    before = -1
    for _ in range(MAX_ELEMENTS):
        tag, vr, start, length = _element(data, at, explicit)
        if tag <= before or vr is None or tag in FRAMES:
            return None
        if tag not in WANTED and tag < PIXELS[-1] and length != UNDEFINED:  # most of them
            at, before = start + length, tag
            continue
        if tag in PIXELS:
            return Walked(Header(raw, meta), start, length)
        if length == UNDEFINED:
            end = _after(data, start, explicit) if vr in (b"SQ", b"") else None
            if end is None:
                return None
            at = end
        else:
            at = start + length
            if tag in WANTED:
                if at > len(data):
                    raise Short
                if vr == b"UN":
                    return None
                raw[tag] = vr, data[start:at]
                if tag == NAMES["SOPClassUID"] and not data[start:at].startswith(CT.encode()):
                    if meta.get("MediaStorageSOPClassUID", "").startswith(CT):  # two classes: pydicom's to judge
                        return None
                    return Walked(Header(raw, meta), 0, UNDEFINED)
        before = tag
    raise _crowded()


def _crowded() -> CTError:
    return CTError(f"a DICOM header has more than {MAX_ELEMENTS} elements: export the scan again", "TOO_LARGE")


def _meta(data: bytes) -> tuple[dict[str, str], int]:
    """File meta information (PS3.10, section 7.1), and the offset behind it."""
    meta: dict[str, str] = {}
    at = 132
    while True:
        tag, vr, start, length = _element(data, at, True)
        if tag >> 16 != 2 or vr is None or length == UNDEFINED:
            return meta, at
        at = start + length
        if at > len(data):
            raise Short
        for name, wanted in META.items():
            if tag == wanted:
                if not data[start:at].isascii():
                    return {}, at
                meta[name] = data[start:at].decode().rstrip("\0 ")


def _element(data: bytes, at: int, explicit: bool) -> tuple[int, bytes | None, int, int]:
    """Tag, value representation (empty if implicit, None if unknown), offset and length of the value."""
    if at + 12 > len(data):
        raise Short
    if not explicit:
        group, element, length = _implicit(data, at)
        return group << 16 | element, b"", at + 8, length
    group, element, vr, length = _explicit(data, at)
    if vr in SHORT:
        return group << 16 | element, vr, at + 8, length
    return group << 16 | element, vr if vr in LONG else None, at + 12, _long(data, at + 8)[0]


def _after(data: bytes, at: int, explicit: bool) -> int | None:
    """The offset behind a sequence of undefined length (PS3.5, section 7.5), or None if it is not plain."""
    within = ["sequence"]
    for _ in range(MAX_ELEMENTS):
        if at + 8 > len(data):
            raise Short
        group, element, length = _implicit(data, at)
        tag = group << 16 | element
        if within[-1] == "sequence":
            if tag == SEQUENCE_END and length == 0:
                at += 8
                within.pop()
            elif tag == ITEM and length == UNDEFINED:
                at += 8
                within.append("item")
            elif tag == ITEM:
                at += 8 + length
            else:
                return None
        elif tag == ITEM_END and length == 0:
            at += 8
            within.pop()
        else:
            _, vr, start, length = _element(data, at, explicit)
            if vr is None or (length == UNDEFINED and vr not in (b"SQ", b"")):
                return None
            at = start
            if length == UNDEFINED:
                within.append("sequence")
            else:
                at += length
        if not within:
            return at
    raise _crowded()


def ends_well(tail: bytes, explicit: bool) -> bool:
    """Whether what follows the pixels is nothing, zeros that fill a block, or more tags (a signature, padding).

    Anything else is a sign that bytes were put into the file further up.
    """
    at, before = 0, max(PIXELS)
    try:
        while at < len(tail) and tail[at:].strip(b"\0"):
            tag, vr, start, length = _element(tail, at, explicit)
            if tag <= before or vr is None:
                return False
            end = _after(tail, start, explicit) if length == UNDEFINED else start + length
            if end is None or end > len(tail):
                return False
            at, before = end, tag
    except (Short, CTError):
        return False
    return True


def _converted(tag: int, vr: bytes, value: bytes) -> Any:
    """As pydicom reads it."""
    from pydicom.dataelem import RawDataElement, convert_raw_data_element
    from pydicom.tag import BaseTag

    if not vr and tag in (NAMES["PixelPaddingValue"], NAMES["PixelPaddingRangeLimit"]):
        return int.from_bytes(value, "little") if len(value) == 2 else None  # US or SS: its sign is the pixels' matter
    known = vr.decode() or None
    raw = RawDataElement(BaseTag(tag), known, len(value), value or None, 0, known is None, True)
    return convert_raw_data_element(raw).value
