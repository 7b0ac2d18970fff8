"""DICOM series that are refused, enhanced ones, and such as are cut short."""

from __future__ import annotations

import copy

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from tests.ct import made
from tests.ct.corpus import case
from tests.ct.corpus_dicom import C, S, at, setting, stored, without

# --- stacks that are refused
case("one slice missing", "MISSING_SLICE")(lambda f: made.series(f, skip=(3,)))
case("several slices missing", "MISSING_SLICE")(lambda f: made.series(f, count=12, skip=(1, 3, 5, 6)))
case("first interval missing", "MISSING_SLICE")(lambda f: made.series(f, skip=(1,)))


@case("uneven spacing", "IRREGULAR_SPACING")
def _(folder):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + 0.4 * (n > 4)]

    made.series(folder, change=change)


@case("spacing that drifts", "IRREGULAR_SPACING")
def _(folder):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + 0.02 * n * n]

    made.series(folder, change=change)


@case("shifted sideways", "IRREGULAR_SPACING")
def _(folder):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [float(x) + (n == 4), y, z]

    made.series(folder, change=change)


@case("two phases in one series", "DUPLICATE_SLICE")
def _(folder):
    uid = generate_uid()
    made.series(folder, change=setting(SeriesInstanceUID=uid))

    def later(ds, n):
        ds.SeriesInstanceUID = uid
        made.pixels(ds, stored(ds) + np.uint16(40))

    made.series(folder, prefix="late", change=later)


case("tilt by position", "GANTRY_TILT")(lambda f: made.series(f, shear=(0.0, 0.5, 0.0)))
case("tilt by position and tag", "GANTRY_TILT")(
    lambda f: made.series(f, shear=(0.0, 0.5, 0.0), change=setting(GantryDetectorTilt=9.46))
)
# The tag tells of the machine, the positions of the image: a reformat straightens and keeps the tag.
case("tilt by tag alone")(lambda f: made.series(f, change=setting(GantryDetectorTilt=15)))
case("one slice", "TOO_FEW_SLICES")(lambda f: made.series(f, count=1))


@case("two series", "SERIES_AMBIGUOUS")
def _(folder):
    made.series(folder / "a")
    made.series(folder / "b", count=5)


@case("one pixel spacing differs", "MIXED_GEOMETRY")
def _(folder):
    made.series(folder, change=at(7, setting(PixelSpacing=[2.5, 2.5])))


@case("one size differs", "MIXED_GEOMETRY")
def _(folder):
    made.series(folder, change=at(3, lambda ds, n: made.pixels(ds, stored(ds)[:, :20])))


@case("one orientation differs", "MIXED_GEOMETRY")
def _(folder):
    made.series(folder, change=at(0, setting(ImageOrientationPatient=[1, 0, 0, 0, -1, 0])))


@case("half the slices turned", "SERIES_AMBIGUOUS")
def _(folder):
    turn = setting(ImageOrientationPatient=[1, 0, 0, 0, C, S])
    made.series(folder, change=lambda ds, n: turn(ds, n) if n > 3 else None)


# --- no CT
case("scouts alone", "NO_CT")(lambda f: made.series(f, change=setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))
case("MR alone", "NO_CT")(lambda f: made.series(f, change=setting(SOPClassUID=MRImageStorage, Modality="MR")))
case("captures alone", "NO_CT")(lambda f: made.series(f, change=setting(SOPClassUID=SecondaryCaptureImageStorage)))
case("colour", "NO_CT")(
    lambda f: made.series(
        f, change=setting(SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(20 * 24 * 6))
    )
)

# --- values that are refused
case("no slope", "NO_RESCALE")(lambda f: made.series(f, change=without("RescaleSlope")))
case("no intercept in one slice", "NO_RESCALE")(lambda f: made.series(f, change=at(4, without("RescaleIntercept"))))
case("slope 0", "NO_RESCALE")(lambda f: made.series(f, change=setting(RescaleSlope=0)))
case("offset forgotten", "NOT_HU")(lambda f: made.series(f, change=setting(RescaleIntercept=0)))
case("offset twice", "NOT_HU")(lambda f: made.series(f, change=setting(RescaleIntercept=-2248)))
case("electron density", "NOT_HU")(lambda f: made.series(f, change=setting(RescaleType="ED")))
case("windowed", "NOT_HU")(lambda f: made.series(f, change=lambda ds, n: made.pixels(ds, stored(ds).clip(864, 1264))))

# --- headers that are refused
for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"):
    case(f"without {tag}", "MISSING_TAG")(lambda f, tag=tag: made.series(f, change=without(tag)))
case("without PixelData", "TRUNCATED")(lambda f: made.series(f, change=at(2, without("PixelData"))))
case("direction not unit", "BAD_ORIENTATION")(
    lambda f: made.series(f, change=setting(ImageOrientationPatient=[1, 0, 0, 0, 1.1, 0]))
)
case("directions not perpendicular", "BAD_ORIENTATION")(
    lambda f: made.series(f, change=setting(ImageOrientationPatient=[1, 0, 0, 0.1, 0.995, 0]))
)
case("pitch 0", "BAD_SPACING")(lambda f: made.series(f, change=setting(PixelSpacing=[0, 2])))
case("pitch in metres", "BAD_SPACING")(lambda f: made.series(f, change=setting(PixelSpacing=[2e-3, 2e-3])))
case("rows too few in the header", "PIXELS_MISMATCH")(lambda f: made.series(f, change=setting(Rows=19)))
case("columns too few in the header", "PIXELS_MISMATCH")(lambda f: made.series(f, change=setting(Columns=23)))
case("rows too many in the header", "TRUNCATED")(lambda f: made.series(f, change=setting(Rows=21)))
case("8 bits in the header", "PIXELS_MISMATCH")(lambda f: made.series(f, change=setting(BitsAllocated=8, BitsStored=8)))
case("65535 rows and columns", "TOO_LARGE")(lambda f: made.series(f, change=setting(Rows=65535, Columns=65535)))
case("frames without places", "MISSING_TAG")(lambda f: made.series(f, change=setting(NumberOfFrames=3)))


@case("float pixels", "TRUNCATED")
def _(folder):
    def change(ds, n):
        ds.FloatPixelData = (stored(ds).astype(np.float32) - 1024).tobytes()
        ds.BitsAllocated = 32
        del ds.PixelData

    made.series(folder, change=change)


@case("unknown transfer syntax", "MISSING_DECODER")
def _(folder):
    made.series(folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.40008.1.2.1.9\0"))


# --- enhanced
def rewritten(folder, change):
    made.enhanced(folder / "all.dcm")
    ds = dcmread(folder / "all.dcm")
    change(ds)
    ds.save_as(folder / "all.dcm", enforce_file_format=True)


case("enhanced")(lambda f: made.enhanced(f / "all.dcm"))
case("enhanced, run lengths")(lambda f: rewritten(f, lambda ds: ds.compress(RLELossless)))


@case("enhanced, frames in any order")
def _(folder):
    def change(ds):
        frames = np.frombuffer(ds.PixelData, np.uint16).reshape(6, 20, 24)
        order = [3, 0, 5, 1, 4, 2]
        ds.PixelData = frames[order].tobytes()
        ds.PerFrameFunctionalGroupsSequence = Sequence([ds.PerFrameFunctionalGroupsSequence[n] for n in order])

    rewritten(folder, change)


@case("enhanced, all of it per frame")
def _(folder):
    def change(ds):
        shared = ds.SharedFunctionalGroupsSequence[0]
        for frame in ds.PerFrameFunctionalGroupsSequence:
            for element in shared:
                frame.add(copy.deepcopy(element))
        # What all share is a lie that every frame overrides.
        shared.PixelMeasuresSequence[0].PixelSpacing = [1, 1]
        shared.PixelValueTransformationSequence[0].RescaleIntercept = 0

    rewritten(folder, change)


@case("legacy converted")
def _(folder):
    def change(ds):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage
        rest = Dataset()
        rest.PixelSpacing, rest.RescaleSlope, rest.RescaleIntercept = [9, 9], 7, 7  # unassigned: not to be believed
        ds.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = Sequence([rest])

    rewritten(folder, change)


@case("enhanced, one frame missing", "MISSING_SLICE")
def _(folder):
    def change(ds):
        keep = [0, 1, 3, 4, 5]
        ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).reshape(6, 20, 24)[keep].tobytes()
        ds.PerFrameFunctionalGroupsSequence = Sequence([ds.PerFrameFunctionalGroupsSequence[n] for n in keep])
        ds.NumberOfFrames = 5

    rewritten(folder, change)


@case("enhanced, tilted", "GANTRY_TILT")
def _(folder):
    def change(ds):
        for n, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
            frame.PlanePositionSequence[0].ImagePositionPatient = [x, float(y) + 0.5 * n, z]

    rewritten(folder, change)


case("enhanced, frames not described", "PIXELS_MISMATCH")(
    lambda f: rewritten(f, lambda ds: ds.PerFrameFunctionalGroupsSequence.pop())
)


@case("enhanced, no rescale", "NO_RESCALE")
def _(folder):
    rewritten(folder, lambda ds: delattr(ds.SharedFunctionalGroupsSequence[0], "PixelValueTransformationSequence"))


# --- cut short
for keep in (140, 200, 400, 600, 800, 1000, 1300, 1700):

    @case(f"one file cut at {keep} bytes", "TRUNCATED")
    def _(folder, keep=keep):
        made.series(folder)
        last = max(folder.iterdir())
        last.write_bytes(last.read_bytes()[:keep])


@case("enhanced cut short", "TRUNCATED")
def _(folder):
    made.enhanced(folder / "all.dcm")
    data = (folder / "all.dcm").read_bytes()
    (folder / "all.dcm").write_bytes(data[:-3000])


@case("run lengths cut short", "TRUNCATED")
def _(folder):
    made.series(folder, change=lambda ds, n: ds.compress(RLELossless))
    last = max(folder.iterdir())
    last.write_bytes(last.read_bytes()[:-300])


@case("JPEG cut short", "TRUNCATED")
def _(folder):
    made.series(folder)
    made.squeeze(folder, "JPEGLosslessProcess14_1")
    last = max(folder.iterdir())
    last.write_bytes(last.read_bytes()[:-300])
