"""DICOM series, good and bad."""

from __future__ import annotations

import copy

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from tests.ct import made
from tests.ct.corpus import case

C, S = np.cos(0.3), np.sin(0.3)


def stored(ds: Dataset) -> np.ndarray:
    """(rows, cols) HU + 1024 as `made` writes them; a copy."""
    return np.frombuffer(ds.PixelData, np.uint16).reshape(ds.Rows, ds.Columns).copy()


def setting(**tags: object):
    """A change that sets tags of every slice."""

    def change(ds: Dataset, n: int) -> None:
        for name, value in tags.items():
            setattr(ds, name, value)

    return change


def without(*names: str):
    def change(ds: Dataset, n: int) -> None:
        for name in names:
            delattr(ds, name)

    return change


def at(where: int, change):
    """The change in one slice only."""
    return lambda ds, n: change(ds, n) if n == where else None


# --- places, all good
for name, place in {
    "axial": {},
    "prone": {"axes": (-1, 0, 0, 0, -1, 0), "first": (22, 18, -20)},
    "towards the feet": {"axes": (1, 0, 0, 0, -1, 0), "first": (-22, 18, 0)},
    "sagittal": {"axes": (0, 1, 0, 0, 0, -1), "first": (-10, -18, 20)},
    "coronal": {"axes": (1, 0, 0, 0, 0, -1), "first": (-22, -10, 20)},
    "oblique": {"axes": (C, S, 0, -S, C, 0), "first": (-15, -20, -12)},
    "oblique normal": {"axes": (C, 0, S, 0, 1, 0), "first": (-20, -18, -12)},
    "pixels not square": {"spacing": (1.5, 2.2)},
    "thin slices": {"step": 0.7},
    "two slices": {"count": 2},
    "tilt of 0.08 degrees": {"shear": (0.0, 0.004, 0.0)},
}.items():
    case(name)(lambda folder, place=place: made.series(folder, **place))


@case("positions rounded to a hundredth")
def _(folder):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{float(z) + 0.004 * (-1) ** n:.3f}"]

    made.series(folder, step=1.25, change=change)


# --- values, all good
@case("rescale differs by slice", field=False)
def _(folder):
    def change(ds, n):
        slope = 0.5 * (1 + n % 3)
        ds.RescaleSlope, ds.RescaleIntercept = slope, -1100
        made.pixels(ds, np.rint((stored(ds) - 1024.0 + 1100) / slope).astype(np.int16))

    made.series(folder, change=change)


@case("signed pixels")
def _(folder):
    def change(ds, n):
        made.pixels(ds, (stored(ds).astype(int) - 1024).astype(np.int16))
        ds.RescaleIntercept = 0

    made.series(folder, change=change)


@case("12 bits unsigned")
def _(folder):
    made.series(folder, change=lambda ds, n: made.pixels(ds, stored(ds), bits=12))


@case("12 bits signed, extended")
def _(folder):
    def change(ds, n):
        made.pixels(ds, (stored(ds).astype(int) - 1024).astype(np.int16), bits=12)
        ds.RescaleIntercept = 0

    made.series(folder, change=change)


@case("12 bits signed, not extended")
def _(folder):
    def change(ds, n):
        made.pixels(ds, ((stored(ds).astype(int) - 1024) & 0x0FFF).astype(np.int16), bits=12)
        ds.RescaleIntercept = 0

    made.series(folder, change=change)


@case("rubbish above 12 bits")
def _(folder):
    made.series(folder, change=lambda ds, n: made.pixels(ds, stored(ds) | np.uint16(0xA000), bits=12))


@case("12 bits at the top of the word")
def _(folder):
    def change(ds, n):
        made.pixels(ds, stored(ds) << 4, bits=12)
        ds.HighBit = 15

    made.series(folder, change=change)


def padded(vr: str, value: int, hu: int = -2000):
    def change(ds, n):
        values = stored(ds).astype(np.int16) - 1024
        values[:3] = hu
        made.pixels(ds, values.astype(np.int16))
        ds.RescaleIntercept = 0
        ds.add_new(0x00280120, vr, value)

    return change


case("padding, signed", field=False)(lambda f: made.series(f, change=padded("SS", -2000)))
case("padding, spelt unsigned", field=False)(lambda f: made.series(f, change=padded("US", 63536)))
case("padding that is not said", field=False)(lambda f: made.series(f, change=padded("SS", -1999)))
case("inverted display")(lambda f: made.series(f, change=setting(PhotometricInterpretation="MONOCHROME1")))
case("once lossy")(lambda f: made.series(f, change=setting(LossyImageCompression="01")))
case("RescaleType US")(lambda f: made.series(f, change=setting(RescaleType="US")))


# --- encodings, all good
def encoded(syntax):
    def change(ds, n):
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = stored(ds).astype(">u2").tobytes()

    return change


case("implicit VR")(lambda f: made.series(f, change=encoded(ImplicitVRLittleEndian)))
case("deflated")(lambda f: made.series(f, change=encoded(DeflatedExplicitVRLittleEndian)))
case("big endian")(lambda f: made.series(f, change=encoded(ExplicitVRBigEndian)))
case("run lengths")(lambda f: made.series(f, change=lambda ds, n: ds.compress(RLELossless)))
for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"):

    @case(syntax)
    def _(folder, syntax=syntax):
        made.series(folder)
        made.squeeze(folder, syntax)


@case("JPEG-LS, signed 12 bits")
def _(folder):
    def change(ds, n):
        made.pixels(ds, (stored(ds).astype(int) - 1024).astype(np.int16), bits=16)
        ds.RescaleIntercept = 0

    made.series(folder, change=change)
    made.squeeze(folder, "JPEG2000Lossless")


@case("neither preamble nor meta")
def _(folder):
    made.series(folder)
    for file in folder.iterdir():
        data = file.read_bytes()
        file.write_bytes(data[132 + 12 + int.from_bytes(data[140:144], "little") :])


@case("pixels one byte too long")
def _(folder):
    made.series(folder, shape=(20, 24), change=lambda ds, n: setattr(ds, "PixelData", ds.PixelData + b"\0\0"))


# --- bytes put in or lost further up, where no length betrays it
def spoilt(folder, change):
    """One file whose bytes are changed after it was written."""
    file = max(folder.iterdir())
    file.write_bytes(change(bytearray(file.read_bytes())))


@case("pixels displaced by bytes put in", field=False)  # a warning tells it
def _(folder):
    made.series(folder)
    spoilt(folder, lambda data: data[:-500] + b"\1\2" * 9 + data[-500:])


@case("mark displaced", "TRUNCATED")
def _(folder):
    made.series(folder)
    spoilt(folder, lambda data: data[:40] + data[50:])


for name, change in (
    ("bytes lost", lambda data: data[:-300] + data[-280:]),
    ("bytes put in", lambda data: data[:-300] + b"\3" * 20 + data[-300:]),
):

    @case(f"run lengths, {name}", "TRUNCATED")
    def _(folder, change=change):
        made.series(folder, change=lambda ds, n: ds.compress(RLELossless))
        spoilt(folder, change)


@case("tags and padding behind the pixels")
def _(folder):
    def change(ds, n):
        ds.add_new(0xFFFCFFFC, "OB", bytes(100))
        ds.private_block(0x7FE1, "SOME VENDOR", create=True).add_new(1, "LO", "as scanners write")

    made.series(folder, change=change)
    spoilt(folder, lambda data: data + bytes(512))


# --- company, all good
@case("identical duplicates")
def _(folder):
    made.series(folder)
    for n, file in enumerate(sorted(folder.iterdir())[:3]):
        (folder / f"copy{n}").write_bytes(file.read_bytes())


@case("beside a scout")
def _(folder):
    made.series(folder)
    made.series(folder, 1, prefix="s", change=setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))


@case("beside a scout that does not say so")
def _(folder):
    made.series(folder)
    made.series(folder, 1, prefix="s", shape=(40, 30), change=setting(SeriesNumber=1))


@case("beside captures, MR, a report and a DICOMDIR")
def _(folder):
    made.series(folder)
    for n, kind in enumerate((SecondaryCaptureImageStorage, MRImageStorage, MediaStorageDirectoryStorage)):

        def change(ds, _, kind=kind):
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
            ds.Modality = "OT"

        made.series(folder, 2, prefix=f"x{n}", change=change)
    (folder / "DICOMDIR").write_bytes(sorted(folder.glob("x2*"))[0].read_bytes())
    (folder / "report.pdf").write_bytes(b"%PDF" * 99)


@case("beside a capture of class CT without a place")
def _(folder):
    made.series(folder)
    made.series(folder, 2, prefix="x", change=without("ImagePositionPatient", "PixelSpacing"))


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
