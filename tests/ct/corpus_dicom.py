"""DICOM series that load, and bytes lost among good ones."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from scipy import ndimage

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


def padded(vr: str, first: int, last: int | None = None, hu: tuple[int, int, int] = (-2000, -2000, -2000)):
    """Three rows of padding, signed."""

    def change(ds, n):
        values = stored(ds).astype(np.int16) - 1024
        values[:3] = np.reshape(hu, (3, 1))
        made.pixels(ds, values.astype(np.int16))
        ds.RescaleIntercept = 0
        ds.add_new(0x00280120, vr, first)
        if last is not None:
            ds.add_new(0x00280121, vr, last)

    return change


case("padding, signed", field=False)(lambda f: made.series(f, change=padded("SS", -2000)))
case("padding, spelt unsigned", field=False)(lambda f: made.series(f, change=padded("US", 63536)))
for name, args in {
    "a range of padding, signed": ("SS", -2000, -1990, (-2000, -1995, -1990)),
    "a range of padding, spelt unsigned and backwards": ("US", 63546, 63536, (-2000, -1995, -1990)),
    "a range of padding that looks like bone": ("SS", 500, 510, (500, 505, 510)),
}.items():
    case(name, field=False)(lambda f, args=args: made.series(f, change=padded(*args)))
case("padding that is not said", field=False)(lambda f: made.series(f, change=padded("SS", -1999)))


def smeared(padding: int, order: int = 1, zoom: tuple[float, float, float] = (1, 0.87, 0.87)) -> np.ndarray:
    """(K, rows, cols) HU that somebody resampled, padding and all."""
    return ndimage.zoom(made.body(padding=padding), zoom, order=order, mode="nearest")


for padding in (-2048, -3024):
    for order in (1, 3):
        planes = smeared(padding, order)
        case(f"padding of {padding} smeared by resampling of order {order}", field=False)(
            lambda f, p=planes: made.series(f, len(p), change=made.of_planes(p))
        )

    @case(f"padding of {padding} smeared, and named", field=False)
    def _(folder, padding=padding):
        planes = smeared(padding)

        def change(ds, n):
            made.of_planes(planes)(ds, n)
            ds.add_new(0x00280120, "SS", padding)

        made.series(folder, len(planes), change=change)

    for rate in (8, 12):

        @case(f"padding of {padding}, JPEG 2000 of rate {rate}", field=False)
        def _(folder, padding=padding, rate=rate):
            planes = made.body(padding=padding)
            made.series(folder, len(planes), change=made.of_planes(planes))
            made.squeeze(folder, "JPEG2000", rate)


@case("offset twice, and padding", "NOT_HU")
def _(folder):
    planes = smeared(-2048) - 1024
    planes[:, 40:42, 40:42] = 900  # a stent
    made.series(folder, len(planes), change=made.of_planes(planes))


@case("padding mixed into the scan", "NOT_HU")
def _(folder):
    planes = made.body(padding=-3024)
    where = np.random.default_rng(3).random(planes.shape) < 0.05
    planes[where] = planes[where] / 2 - 1512  # by half, and all over the scan
    made.series(folder, len(planes), change=made.of_planes(planes))


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


for syntax, bits in (("JPEGLSNearLossless", 16), ("JPEG2000", 16), ("JPEGExtendedProcess2_4", 12)):
    # The header does not say that anything was lost: the transfer syntax does.
    @case(f"{syntax}, with loss", field=False)
    def _(folder, syntax=syntax, bits=bits):
        made.series(folder, change=lambda ds, n: made.pixels(ds, stored(ds), bits=bits))
        made.squeeze(folder, syntax)


@case("JPEG 2000, signed")
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
