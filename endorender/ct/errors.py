"""Why a scan was refused, with a stable code."""

from __future__ import annotations

from typing import NamedTuple

from endorender.errors import UserError


class Code(NamedTuple):
    """One way in which a scan can be refused, as docs/ct.md tells it."""

    seen: str  # what the reader found
    cause: str  # where it usually comes from
    way_out: str  # what a person can do


# Every code that reading a scan can raise. Programs that wrap endorender rely on them.
CODES = {
    "NOT_FOUND": Code(
        "the path cannot be opened", "a typing error, a loop of links, no permission", "give an existing path"
    ),
    "UNREADABLE": Code(
        "a format that is not read (the message names it), or a header that cannot be parsed",
        "another format, a pipe, a damaged header, a header that names voxels outside of its folder",
        "convert to DICOM or NIfTI as the message says, copy or export again",
    ),
    "NO_CT": Code(
        "no CT slices among the files",
        "the wrong folder; a DICOMDIR, scouts, secondary captures, other modalities or cone-beam only",
        "give the folder that holds the slices",
    ),
    "NO_SERIES": Code(
        "`--series` names none that is there", "a typing error", "use a number that `endorender inspect` lists"
    ),
    "SERIES_AMBIGUOUS": Code(
        "several volumes",
        "a whole study was given; slices of two kernels, voltages or postures under one series",
        "`--series NUMBER`; `endorender inspect` lists them",
    ),
    "PHASE_AMBIGUOUS": Code(
        "several scans of one place under one series; the message lists them",
        "phases of the heart or of contrast, repeated acquisitions",
        "`--phase NUMBER`, or `--phase all` if they are one scan after all",
    ),
    "NO_PHASE": Code(
        "`--phase` names none that is there", "a typing error", "a number out of the message, or no `--phase`"
    ),
    "TRUNCATED": Code("a file ends before its data do", "a copy that broke off", "copy or export the file again"),
    "PIXELS_MISMATCH": Code(
        "the pixels do not fit what the header says of them", "a header edited by hand, a faulty export", "export again"
    ),
    "TOO_LARGE": Code(
        "more voxels, files or bytes than a CT has",
        "a hostile or damaged header, a decompression bomb",
        "crop the scan; unpack a trusted file yourself",
    ),
    "TOO_FEW_SLICES": Code("fewer than two slices a side", "one file of a series", "give the whole series"),
    "MISSING_TAG": Code(
        "a slice, or the header of a MetaImage or NRRD, lacks what tells its place or its values, or it holds rubbish",
        "screen captures, careless anonymisation (positions set to 0)",
        "export the original images",
    ),
    "MISSING_DECODER": Code(
        "compressed pixels, or a format, that nothing here can read; the message names it",
        "JPEG, JPEG-LS, JPEG 2000; high-throughput JPEG 2000, video; NRRD",
        "the line to install that the message gives, or export uncompressed",
    ),
    "MISSING_SLICE": Code(
        "the stack has a gap; the message names the positions", "an incomplete copy", "copy again, or `--resample`"
    ),
    "DUPLICATE_SLICE": Code(
        "two slices with different pixels at one position",
        "two phases or reconstructions under one series, which no tag tells apart",
        "separate them into folders",
    ),
    "IRREGULAR_SPACING": Code(
        "slices are not evenly spaced, or shifted sideways", "joined series, rounded positions", "`--resample`"
    ),
    "GANTRY_TILT": Code(
        "slices are sheared against their normal by more than 0.1 degrees", "a tilted gantry", "`--resample`"
    ),
    "MIXED_GEOMETRY": Code(
        "slices of one series differ in size, orientation, pixel spacing, kernel, tube voltage or posture",
        "a scout or a reformat under the same series",
        "`--series NUMBER`",
    ),
    "BAD_ORIENTATION": Code("direction vectors are not unit and perpendicular", "a damaged header", "export again"),
    "BAD_SPACING": Code(
        "a voxel pitch outside 0.02 to 20 mm", "wrong units, a damaged header", "mend the header's units"
    ),
    "BAD_AFFINE": Code(
        "the affine is singular, or sform, qform and pixdim contradict one another",
        "a tool that changed one and forgot the other",
        "mend or delete the wrong one",
    ),
    "SHEARED": Code("the axes of a volume are not perpendicular", "a tilted gantry, a registration", "`--resample`"),
    "NOT_3D": Code("more or fewer than three dimensions", "a time series, a displacement field", "extract one volume"),
    "NON_FINITE": Code("NaN or infinite values", "a masked or registered image", "export again with air as background"),
    "NO_RESCALE": Code(
        "RescaleSlope or RescaleIntercept is missing, zero or not finite",
        "a faulty export",
        "export the original CT, or `--assume-hu`",
    ),
    "NOT_HU": Code(
        "the values are no Hounsfield units; the message gives the range",
        "a windowed or normalised image, an offset forgotten or applied twice, padding mixed into the scan, a "
        "projection (MIP), a map of another quantity",
        "rescale, or `--assume-hu`",
    ),
    "MASK_KIND": Code("the mask is neither NIfTI nor one DICOM SEG", "an RTSTRUCT, a folder", "convert it"),
    "MASK_GRID": Code(
        "the mask does not lie on the scan's grid", "drawn on another series", "draw or resample it on this scan"
    ),
    "MASK_VALUES": Code(
        "the mask is empty, overlaps itself, lacks the label that is asked for, or holds no whole numbers 0..255",
        "a probability map, a wrong number",
        "export labels; ask for one that is there",
    ),
    "LUMEN": Code(
        "no lumen fits, or --region or --label names none", "a scan without insufflation", "choose another region"
    ),
    "NO_PATH": Code(
        "no way through the lumen is wide and long enough", "a collapsed or very small hollow", "choose another region"
    ),
    "BAD_SPEC": Code("neither a path nor sample nor phantom:SEED", "a typing error", "`phantom:7`, say"),
}


class CTError(UserError):
    """A scan that is refused. One line, a stable `code` out of CODES, and the way out."""

    def __init__(self, message: str, code: str):
        if code not in CODES:
            raise KeyError(code)
        super().__init__(message, code)
