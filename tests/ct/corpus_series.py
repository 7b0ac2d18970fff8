"""DICOM series whose header says what no pixel shows: projections, maps, several scans under one UID."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import MPEG4HP41, EnhancedCTImageStorage, HTJ2KLossless, PositronEmissionTomographyImageStorage

from tests.ct import made
from tests.ct.corpus import case
from tests.ct.corpus_dicom import at, setting, stored, without

CONE_BEAM = "1.2.840.10008.5.1.4.1.1.13.1.2"  # X-Ray 3D Craniofacial Image Storage


def kinds(*values: str):
    return setting(ImageType=["DERIVED", "SECONDARY", *values])


# --- what the values are
for name, values in {
    "maximum projections": ("AXIAL", "MIP"),
    "projections as a vendor writes them": ("AXIAL", "CT_SOM5 MIP"),
    "minimum projections": ("MINIP",),
    "share of a material": ("AXIAL", "MAT_FRACTIONAL"),
    "electron densities": ("AXIAL", "ELECTRON_DENSITY"),
    "atomic numbers": ("AXIAL", "EFF_ATOMIC_NUM"),
}.items():
    case(name, "NOT_HU")(lambda f, v=values: made.series(f, change=kinds(*v)))
case("monoenergetic")(lambda f: made.series(f, change=kinds("AXIAL", "VMI")))
case("material removed")(lambda f: made.series(f, change=kinds("AXIAL", "MAT_REMOVED")))
case("averages")(lambda f: made.series(f, change=kinds("MPR", "AVERAGE")))
case("palette of colours", "NO_CT")(lambda f: made.series(f, change=setting(PhotometricInterpretation="PALETTE COLOR")))
case("PET alone", "NO_CT")(
    lambda f: made.series(f, change=setting(SOPClassUID=PositronEmissionTomographyImageStorage, Modality="PT"))
)
case("cone-beam alone", "NO_CT")(lambda f: made.series(f, change=setting(SOPClassUID=CONE_BEAM, Modality="DX")))
case("PET under the class of CT", "NO_CT")(lambda f: made.series(f, change=setting(Modality="PT")))


@case("8 bits in steps of 8 HU", field=False)
def _(folder):
    def change(ds, n):
        made.pixels(ds, np.rint(stored(ds) / 8).astype(np.uint16))
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).astype(np.uint8).tobytes()
        ds.RescaleSlope = 8

    made.series(folder, change=change)


@case("values beyond BitsStored", field=False)
def _(folder):
    def change(ds, n):
        values = stored(ds)
        values[5:8, 5:8] = 4300  # metal, of which 204 would be left
        made.pixels(ds, values)
        ds.BitsStored, ds.HighBit = 12, 11

    made.series(folder, change=change)


@case("without BitsAllocated")
def _(folder):
    made.series(folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(struct.pack("<HH2sHH", 0x28, 0x100, b"US", 2, 16), b""))


@case("padding beyond BitsStored", field=False)
def _(folder):
    def change(ds, n):
        values = stored(ds)
        values[:3] = 63536
        made.pixels(ds, values)
        ds.BitsStored, ds.HighBit = 12, 11
        ds.add_new(0x00280120, "US", 63536)

    made.series(folder, change=change)


for tags in (
    ("BitsStored", "HighBit"),
    ("HighBit",),
    ("PixelRepresentation",),
    ("SamplesPerPixel",),
    ("PhotometricInterpretation",),
    ("Modality",),
):
    case(f"without {' and '.join(tags)}")(lambda f, tags=tags: made.series(f, change=without(*tags)))


# --- several scans under one series
def one_uid(uid: str, **tags: object):
    return setting(SeriesInstanceUID=uid, **tags)


def brighter(ds: Dataset) -> None:
    made.pixels(ds, stored(ds) + np.uint16(3))


def twice(folder: Path, first: dict, second: dict, shift: float = 0.0) -> None:
    """Two scans of one place, the second a little brighter (and higher), under one series."""
    uid = made.new_uid()

    def later(ds, n):
        one_uid(uid, **second)(ds, n)
        brighter(ds)

    made.series(folder, change=one_uid(uid, **first))
    made.series(folder, prefix="late", first=(-22, -18, -40 + shift), change=later)


for name, first, second in (
    ("kernels", {"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}),
    ("kernels of no known name", {"ConvolutionKernel": "CANARY one"}, {"ConvolutionKernel": "CANARY two"}),
    ("voltages", {"KVP": 80}, {"KVP": 140}),
    ("postures", {"PatientPosition": "HFS"}, {"PatientPosition": "HFP"}),
):
    for shift in (0.0, 1.5):
        case(f"two {name} at a distance of {shift:g} mm", "SERIES_AMBIGUOUS")(
            lambda f, a=first, b=second, shift=shift: twice(f, a, b, shift)
        )
for name, tag, values in (
    ("acquisitions", "AcquisitionNumber", (3, 4)),
    ("temporal positions", "TemporalPositionIdentifier", (1, 2)),
    ("trigger times", "TriggerTime", (300.5, 700)),
):
    for shift in (0.0, 1.5):
        case(f"two {name} at a distance of {shift:g} mm", "PHASE_AMBIGUOUS")(
            lambda f, tag=tag, v=values, shift=shift: twice(f, {tag: v[0]}, {tag: v[1]}, shift)
        )


@case("two phases whose trigger times jitter", "PHASE_AMBIGUOUS")
def _(folder):
    uid = made.new_uid()
    for late in (0, 1):

        def change(ds, n, late=late):
            one_uid(uid, TriggerTime=300 + 400 * late + n)(ds, n)
            if late:
                brighter(ds)

        made.series(folder, prefix=f"phase{late}", change=change)


case("two phases told apart by their time alone", "PHASE_AMBIGUOUS")(
    lambda f: twice(f, {"AcquisitionTime": "120000.5"}, {"AcquisitionTime": "120007"})
)
case("one slice of another kernel", "MIXED_GEOMETRY")(
    lambda f: made.series(f, change=at(3, setting(ConvolutionKernel="B70f")))
)
case("kernel not said in some slices")(
    lambda f: made.series(f, change=lambda ds, n: without("ConvolutionKernel")(ds, n) if n % 3 == 0 else None)
)
case("acquisitions end to end")(
    lambda f: made.series(f, change=lambda ds, n: setattr(ds, "AcquisitionNumber", 1 + n // 4))
)
case("an acquisition for every slice")(
    lambda f: made.series(f, change=lambda ds, n: setattr(ds, "AcquisitionNumber", (n * 3) % 8))
)
case("trigger times that follow the table")(
    lambda f: made.series(f, change=lambda ds, n: setattr(ds, "TriggerTime", 500 + n // 2))
)


@case("prone and supine", "SERIES_AMBIGUOUS")
def _(folder):
    made.series(folder / "a", change=setting(PatientPosition="FFS"))
    made.series(folder / "b", axes=(-1, 0, 0, 0, -1, 0), first=(22, 18, -20), change=setting(PatientPosition="FFP"))


def concatenation(folder: Path, keep: tuple[int, ...], total: int | None = 3) -> None:
    """Six frames in three files."""
    made.enhanced(folder / "all.dcm")
    uid = made.new_uid()
    for part in range(3):
        ds = dcmread(folder / "all.dcm")
        if part not in keep:
            continue
        frames = np.frombuffer(ds.PixelData, np.uint16).reshape(6, 20, 24)
        ds.PixelData = frames[2 * part : 2 * part + 2].tobytes()
        ds.PerFrameFunctionalGroupsSequence = Sequence(ds.PerFrameFunctionalGroupsSequence[2 * part : 2 * part + 2])
        ds.NumberOfFrames = 2
        ds.ConcatenationUID, ds.InConcatenationNumber, ds.ConcatenationFrameOffsetNumber = uid, part + 1, 2 * part
        if total is not None:
            ds.InConcatenationTotalNumber = total
        assert ds.SOPClassUID == EnhancedCTImageStorage
        ds.save_as(folder / f"part{part}.dcm", enforce_file_format=True)
    (folder / "all.dcm").unlink()


case("concatenation")(lambda f: concatenation(f, (0, 1, 2)))
case("concatenation without its total")(lambda f: concatenation(f, (0, 1, 2), None))
case("concatenation, the last part missing", "MISSING_SLICE")(lambda f: concatenation(f, (0, 1)))
case("concatenation, the first part missing", "MISSING_SLICE")(lambda f: concatenation(f, (1, 2), None))
case("concatenation, the middle missing", "MISSING_SLICE")(lambda f: concatenation(f, (0, 2)))


# --- places
def moved(where: int, by: float, change: Callable | None = None):
    """A second file of one slice, a little higher."""

    def make(folder: Path) -> None:
        made.series(folder)
        for file in sorted(folder.iterdir()):
            ds = dcmread(file)
            x, y, z = ds.ImagePositionPatient
            if abs(float(z) + 40 - 3 * where) < 0.1:
                ds.ImagePositionPatient = [x, y, float(z) + by]
                if change:
                    change(ds)
                ds.save_as(folder / "copy.dcm", enforce_file_format=True)

    return make


case("positions wiped", "MISSING_TAG")(lambda f: made.series(f, change=setting(ImagePositionPatient=[0, 0, 0])))
case("some positions wiped", "MISSING_TAG")(
    lambda f: made.series(f, change=lambda ds, n: setattr(ds, "ImagePositionPatient", [0, 0, 0]) if n > 5 else None)
)
case("all slices at one place", "TOO_FEW_SLICES")(
    lambda f: made.series(f, change=setting(ImagePositionPatient=[-22, -18, -40]))
)
case("a copy 0.03 mm away")(moved(3, 0.03))
case("another slice 0.03 mm away", "DUPLICATE_SLICE")(moved(3, 0.03, brighter))
case("nine tenths of the slices missing", "MISSING_SLICE")(
    lambda f: made.series(f, 80, 0.5, skip=tuple(n for n in range(80) if n > 2 and n % 12))
)


@case("half at 1 mm and half at 2 mm", "MISSING_SLICE")
def _(folder):
    made.series(folder, 17, 1.0, skip=(9, 11, 13, 15))


@case("distances that grow", "IRREGULAR_SPACING")
def _(folder):
    made.series(folder, change=lambda ds, n: setattr(ds, "ImagePositionPatient", [-22, -18, -40 + 3 * 1.4**n]))


# --- what nothing here decodes
@case("high-throughput JPEG 2000", "MISSING_DECODER")
def _(folder):
    def change(ds, n):
        ds.file_meta.TransferSyntaxUID = HTJ2KLossless
        ds.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(400)])

    made.series(folder, change=change)


@case("video", "MISSING_DECODER")
def _(folder):
    def change(ds, n):
        ds.file_meta.TransferSyntaxUID = MPEG4HP41
        ds.PixelData = encapsulate([bytes(400)])

    made.series(folder, change=change)


# Of refusals and warnings: words that name the cause or the way out.
SAID = {
    "offset twice, and padding": "an offset was applied twice",
    "padding mixed into the scan": "look like padding of -3024, but",
    "maximum projections": "projections (MIP) of slabs",
    "share of a material": "the share of one material",
    "material removed": "a material was taken out",
    "palette of colours": "8 x picture in colour",
    "PET alone": "8 x Positron Emission Tomography Image): only CT has Hounsfield units",
    "PET under the class of CT": "8 x image of modality PT",
    "cone-beam alone": "X-Ray 3D Craniofacial Image (cone-beam)",
    "MR alone": "8 x MR Image): only CT has Hounsfield units",
    "scouts alone": "8 x scout",
    "8 bits in steps of 8 HU": "in steps of 8",
    "values beyond BitsStored": "72 pixels do not fit into BitsStored",
    "rubbish above 12 bits": "3840 pixels do not fit into BitsStored",
    "without BitsStored and HighBit": "assumed: BitsStored 16, HighBit 15",
    "without BitsAllocated": "assumed: BitsAllocated 16",
    "without SamplesPerPixel": "assumed: SamplesPerPixel 1",
    "without PhotometricInterpretation": "assumed: PhotometricInterpretation MONOCHROME2",
    "without Modality": "assumed: Modality CT",
    "no series UID": "assumed: SeriesInstanceUID one for all",
    "without PixelRepresentation": "assumed: PixelRepresentation 0",
    "two kernels at a distance of 1.5 mm": "1) 8 slices 24 x 20, 2 mm, B30f, 99 mm thick; 2)",
    "two kernels of no known name at a distance of 0 mm": "unnamed kernel 2",
    "two voltages at a distance of 0 mm": "80 kVp",
    "two postures at a distance of 0 mm": "prone",
    "prone and supine": "2 mm, supine",
    "two acquisitions at a distance of 0 mm": "--phase NUMBER: 1) 8 slices, acquisition 3; 2) 8 slices, acquisition 4",
    "two temporal positions at a distance of 1.5 mm": "temporal position 2",
    "two trigger times at a distance of 0 mm": "trigger time 300.5 ms",
    "two phases told apart by their time alone": "in the order of time, choose one with --phase NUMBER: 1) 8",
    "two phases in one series": "no tag tells two scans apart",
    "one slice of another kernel": "differ in kernel, tube voltage or posture",
    "concatenation, the last part missing": "1 of 3 files of a concatenation are missing",
    "concatenation, the first part missing": "1 of 3 files of a concatenation are missing",
    "positions wiped": "8 slices have the position 0, 0, 0",
    "some positions wiped": "2 slices have the position 0, 0, 0",
    "all slices at one place": "all 8 slices lie at one place",
    "a copy 0.03 mm away": "1 duplicate slices were dropped",
    "another slice 0.03 mm away": "two different slices lie at -31.00 mm",
    "one slice missing": "mm along the stack, 7 are here: copy the whole series, or fill the gaps with --resample",
    "high-throughput JPEG 2000": "is read by no decoder here: export the series uncompressed",
    "video": "is no CT",
    "offset forgotten": "none below 0, as with an offset forgotten, or in MR and PET",
    "windowed": "as in a windowed or normalised image",
}
UNSAID = {
    "padding beyond BitsStored": "BitsStored",
    "distances that grow": "--resample",
    "nine tenths of the slices missing": "--resample",
    "high-throughput JPEG 2000": "endorender[dicom]",
    "12 bits signed, not extended": "BitsStored",
    "12 bits signed, extended": "BitsStored",
    "12 bits at the top of the word": "BitsStored",
}
