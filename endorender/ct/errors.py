"""Why a scan was refused, with a stable code."""

from __future__ import annotations

from endorender.errors import UserError

# Every code that reading a scan can raise, and what it means. Programs that wrap endorender rely on them.
CODES = {
    "NOT_FOUND": "there is no such file or folder",
    "UNREADABLE": "the file is no DICOM, NIfTI or zip, or cannot be parsed",
    "NO_CT": "nothing in the folder is a CT slice",
    "NO_SERIES": "--series names a series that is not there",
    "SERIES_AMBIGUOUS": "several volumes; --series chooses",
    "TRUNCATED": "a file ends before its data do",
    "TOO_LARGE": "the decompressed volume would not fit",
    "TOO_FEW_SLICES": "a volume needs at least two slices a side",
    "MISSING_TAG": "a slice lacks a tag without which its place or its values are unknown",
    "MISSING_DECODER": "the pixels are compressed and no decoder is installed",
    "MISSING_SLICE": "the stack has a gap; --resample fills it",
    "DUPLICATE_SLICE": "two slices with different pixels lie at one position",
    "IRREGULAR_SPACING": "slice positions are not evenly spaced; --resample evens them",
    "GANTRY_TILT": "slices are sheared against their normal; --resample straightens them",
    "MIXED_GEOMETRY": "slices of one series differ in size, orientation or pixel spacing",
    "BAD_ORIENTATION": "direction vectors are not unit and perpendicular",
    "BAD_SPACING": "voxel pitch is zero, negative, or no length a CT has",
    "BAD_AFFINE": "the affine is singular or contradicts itself",
    "SHEARED": "the axes of a NIfTI are not perpendicular; --resample straightens them",
    "NOT_3D": "the image has more or fewer than three dimensions",
    "NON_FINITE": "the image holds NaN or infinite values",
    "NO_RESCALE": "RescaleSlope or RescaleIntercept is missing or zero",
    "NOT_HU": "the values are no Hounsfield units",
    "BAD_LABELS": "the mask of --labels does not lie on the CT's grid, or holds no whole numbers from 0 to 255",
    "LUMEN": "no lumen fits, or --region/--label names none",
    "NO_PATH": "no way through the lumen is wide and long enough",
    "BAD_SPEC": "neither a path nor sample nor phantom:SEED",
}


class CTError(UserError):
    """A scan that is refused. One line, a stable `code` out of CODES, and the way out."""

    def __init__(self, message: str, code: str):
        if code not in CODES:
            raise KeyError(code)
        super().__init__(message, code)
