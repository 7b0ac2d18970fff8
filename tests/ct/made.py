"""DICOM series made for the tests. Their HU are a linear function of the patient point, so any place can be checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from endorender.ct import CODES, CTError, Volume, load
from endorender.ct.anatomy.lumen import sample

CANARY = "CANARY^PATIENT"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


_made = 0


def new_uid(number: int | None = None) -> str:
    """Another one at each call, the same ones in every run; `number` begins to count anew."""
    global _made
    _made = _made + 1 if number is None else number
    return generate_uid(entropy_srcs=[str(_made)])


def truth(ras: np.ndarray) -> np.ndarray:
    """(..., 3) RAS mm -> HU, between air and soft tissue wherever the tests put a slice."""
    return -380 + np.asarray(ras) @ np.array([11.0, 9.0, 3.0])


def plane(position: np.ndarray, axes: np.ndarray, spacing: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """(rows, cols) HU of one slice. position, axes: LPS. spacing: between rows, between columns."""
    row, col = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    lps = position + col[..., None] * spacing[1] * axes[:3] + row[..., None] * spacing[0] * axes[3:]
    return np.rint(truth(lps * [-1, -1, 1]))


def body(shape: tuple[int, int, int] = (14, 96, 96), padding: int | None = None, seed: int = 0) -> np.ndarray:
    """(K, rows, cols) HU of a round body with a lumen and a bone in air, noise of 12 HU; padding: outside the circle
    that a scanner reconstructs."""
    _, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    hu = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 40.0, -1000)
    hu[(x - 0.2) ** 2 + (y - 0.1) ** 2 < 0.03] = -1000
    hu[(x + 0.4) ** 2 + (y + 0.1) ** 2 < 0.01] = 700
    hu = np.rint(hu + np.random.default_rng(seed).normal(0, 12, shape))
    if padding is not None:
        hu[x**2 + y**2 > 1] = padding
    return hu


def of_planes(planes: np.ndarray) -> Callable[[Dataset, int], None]:
    """A change that gives each slice one of the planes, (K, rows, cols) HU, signed."""

    def change(ds: Dataset, n: int) -> None:
        pixels(ds, np.rint(planes[n]).astype(np.int16))
        ds.RescaleIntercept = 0

    return change


def series(
    folder: Path,
    count: int = 8,
    step: float = 3.0,
    shape: tuple[int, int] = (20, 24),
    spacing: tuple[float, float] = (2.0, 2.0),
    axes: tuple[float, ...] = AXIAL,
    first: tuple[float, float, float] = (-22.0, -18.0, -40.0),
    shear: tuple[float, float, float] = (0.0, 0.0, 0.0),
    prefix: str = "slice",
    change: Callable[[Dataset, int], None] | None = None,
    skip: tuple[int, ...] = (),
) -> str:
    """Writes slices and returns the SeriesInstanceUID. change(dataset, index) edits one before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.array(axes)
    normal = np.cross(direction[:3], direction[3:])
    uid = new_uid()
    for n in range(count):
        if n in skip:
            continue
        position = np.array(first) + n * (step * normal + np.array(shear))
        hu = plane(position, direction, spacing, shape)
        ds = dataset(hu, uid)
        ds.ImagePositionPatient = [f"{x:.8g}" for x in position]
        ds.ImageOrientationPatient = [f"{x:.10g}" for x in direction]
        ds.PixelSpacing = list(spacing)
        ds.SliceThickness = 99  # a lie: thickness is no distance
        ds.InstanceNumber = (n * 5) % count
        if change:
            change(ds, n)
        # Names in an order of their own.
        ds.save_as(folder / f"{prefix}{(n * 7 + 3) % 10}{n}.dcm", enforce_file_format=True)
    return str(uid)


def dataset(hu: np.ndarray, uid: str) -> Dataset:
    """One CT image without its place in the patient; unsigned 16 bit, intercept -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = new_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = "CT", uid, 2
    # gdcm would give every file a study of its own.
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime = "1.2.826.0.1.3680043.8.498.1", "20200101", "120000"
    ds.PatientName = ds.PatientID = ds.SeriesDescription = ds.InstitutionName = CANARY
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ConvolutionKernel, ds.KVP = "B30f", 120
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    pixels(ds, (hu + 1024).astype(np.uint16))
    return ds


def pixels(ds: Dataset, stored: np.ndarray, bits: int = 16) -> None:
    """Puts stored values in."""
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes()


def enhanced(file: Path, count: int = 6, step: float = 3.0) -> None:
    """The same field as one enhanced multi-frame file, frames from top to bottom."""
    axes = np.array(AXIAL)
    positions = [np.array([-22.0, -18.0, -40.0 + n * step]) for n in reversed(range(count))]
    planes = [plane(p, axes, (2.0, 2.0), (20, 24)) for p in positions]
    ds = dataset(planes[0], new_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    del ds.RescaleSlope, ds.RescaleIntercept
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [2.0, 2.0], list(AXIAL)
    values.RescaleSlope, values.RescaleIntercept = 1, -1024
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for position in positions:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = list(position)
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.NumberOfFrames = count
    ds.PixelData = (np.stack(planes) + 1024).astype(np.uint16).tobytes()
    ds.save_as(file, enforce_file_format=True)


def squeeze(folder: Path, syntax: str, rate: float = 2.0) -> None:
    """Compresses every file of a folder by gdcm. syntax: a name of gdcm.TransferSyntax; those that lose are told to.
    rate: of JPEG 2000, how many times smaller."""
    import gdcm

    lossy = None
    if syntax == "JPEGLSNearLossless":
        lossy = gdcm.JPEGLSCodec()
        lossy.SetLossless(False)
        lossy.SetLossyError(2)
    elif syntax == "JPEG2000":
        lossy = gdcm.JPEG2000Codec()
        lossy.SetReversible(False)
        lossy.SetRate(0, rate)
    for file in folder.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(file))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        if lossy:
            change.SetUserCodec(lossy)
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


def refused(code, *args, **kwargs) -> str:
    with pytest.raises(CTError) as caught:
        load(*args, **kwargs)
    message = str(caught.value)
    assert caught.value.code == code, message
    assert code in CODES
    assert "\n" not in message
    assert CANARY not in message
    return message


def same_field(volume: Volume, inset: float = 0.0, tolerance: float = 0.51) -> None:
    """HU at random patient points of the volume's inside are the field's."""
    rng = np.random.default_rng(0)
    at = rng.uniform(inset, 1 - inset, (500, 3)) * (np.array(volume.shape) - 1)
    points = volume.to_world(at)
    found = sample(volume, volume.hu.astype(np.float64), points)
    assert np.abs(found - truth(points)).max() <= tolerance
