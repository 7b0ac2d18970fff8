"""Label masks: the same voxels whatever the order of axes, or a refusal."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless, SegmentationStorage, generate_uid

from endorender.ct import CTError, load, read_mask, read_organ
from endorender.errors import Notice
from tests.ct import made

C, S = np.cos(0.3), np.sin(0.3)


@pytest.fixture
def scan(tmp_path):
    made.series(tmp_path / "ct", axes=(C, S, 0, -S, C, 0), first=(-15, -20, -12))
    return load(tmp_path / "ct")


@pytest.fixture
def drawn(scan):
    labels = np.zeros(scan.shape, np.uint8)
    labels[3:9, 5:14, 1:4] = 1
    labels[15:20, 2:5, 2:7] = 7
    return labels


def refused(code, path, scan):
    with pytest.raises(CTError) as caught:
        read_mask(path, scan)
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)


def written(path, labels, affine):
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, -1)])
def test_nifti_in_any_order_of_axes(tmp_path, scan, drawn, dtype, order, flip):
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(order):
        turn[old, new] = flip[new]
        turn[old, 3] = scan.shape[old] - 1 if flip[new] < 0 else 0
    stored = drawn.transpose(order)[tuple(slice(None, None, f) for f in flip)]
    file = written(tmp_path / "m.nii.gz", stored.astype(dtype), scan.affine @ turn)
    found, digest = read_mask(file, scan)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.dtype == np.uint8
    assert np.array_equal(found, drawn)


def test_masks_of_another_grid_are_refused(tmp_path, scan, drawn):
    shifted = scan.affine.copy()
    shifted[0, 3] += 0.5
    refused("MASK_GRID", written(tmp_path / "a.nii", drawn, shifted), scan)
    refused("MASK_GRID", written(tmp_path / "b.nii", drawn[1:], scan.affine), scan)
    coarser = scan.affine @ np.diag([1.05, 1, 1, 1])
    refused("MASK_GRID", written(tmp_path / "c.nii", drawn, coarser), scan)
    mirrored = scan.affine.copy()
    mirrored[:, 0] *= -1
    refused("MASK_GRID", written(tmp_path / "d.nii", drawn, mirrored), scan)


def test_masks_without_labels_are_refused(tmp_path, scan, drawn):
    refused("MASK_VALUES", written(tmp_path / "a.nii", np.zeros_like(drawn), scan.affine), scan)
    refused("MASK_VALUES", written(tmp_path / "b.nii", (drawn / 14).astype(np.float32), scan.affine), scan)
    refused("MASK_VALUES", written(tmp_path / "c.nii", drawn.astype(np.int16) * 300, scan.affine), scan)
    refused("MASK_KIND", tmp_path / "ct", scan)
    refused("NOT_FOUND", tmp_path / "nowhere.nii", scan)
    (tmp_path / "short.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:800])
    refused("TRUNCATED", tmp_path / "short.nii", scan)


def seg(path, scan, drawn, backwards=False, twice=False, shift=0.0):
    """A binary DICOM SEG of the frames that are marked, segment by segment."""
    ds = made.dataset(np.zeros((20, 24)), generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    ds.Modality, ds.SegmentationType = "SEG", "BINARY"
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine
    spacing = scan.spacing
    axes, measures, shared = Dataset(), Dataset(), Dataset()
    axes.ImageOrientationPatient = [f"{x:.10g}" for x in (*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1]))]
    measures.PixelSpacing = [spacing[1], spacing[0]]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([axes]), Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, bits = [], []
    for label in (1, 7, *((7,) if twice else ())):
        for k in sorted(range(scan.shape[2]), reverse=backwards):
            plane = drawn[:, :, k] == label
            if not plane.any():
                continue
            place, which, frame = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [f"{x + shift:.8g}" for x in (lps @ [0, 0, k, 1])[:3]]
            which.ReferencedSegmentNumber = label
            frame.PlanePositionSequence, frame.SegmentIdentificationSequence = Sequence([place]), Sequence([which])
            frames.append(frame)
            bits.append(plane.T)
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = Sequence(frames), len(frames)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.PixelData = pack_bits(np.array(bits, np.uint8))
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("backwards", [False, True])
def test_dicom_seg(tmp_path, scan, drawn, backwards):
    file = seg(tmp_path / "seg.dcm", scan, drawn, backwards)
    found, digest = read_mask(file, scan)
    assert np.array_equal(found, drawn)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_compressed_seg(tmp_path, scan, drawn):
    path = seg(tmp_path / "seg.dcm", scan, drawn)
    ds = dcmread(path)
    plain = ds.pixel_array
    ds.SegmentationType, ds.MaximumFractionalValue = "FRACTIONAL", 200
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = (plain * 150).astype(np.uint8).tobytes()
    ds.compress(RLELossless)
    ds.save_as(path)
    assert np.array_equal(read_mask(path, scan)[0], drawn)
    path.write_bytes(path.read_bytes()[:-40])
    refused("TRUNCATED", path, scan)


def test_dicom_seg_that_does_not_fit(tmp_path, scan, drawn):
    refused("MASK_VALUES", seg(tmp_path / "twice.dcm", scan, drawn, twice=True), scan)
    refused("MASK_GRID", seg(tmp_path / "shifted.dcm", scan, drawn, shift=0.7), scan)
    data = (tmp_path / "twice.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) // 3])
    refused("TRUNCATED", tmp_path / "cut.dcm", scan)


def test_a_mask_of_many_organs_is_one_of_its_labels(tmp_path, scan, drawn):
    file = written(tmp_path / "all.nii.gz", drawn, scan.affine)
    one, digest = read_organ(f"{file}:7", scan)
    assert np.array_equal(one, drawn == 7)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert np.array_equal(read_organ(f"{file}: 1, 7", scan)[0], drawn > 0)
    with pytest.warns(Notice, match="holds the labels 1, 7, and all count as lumen"):
        assert np.array_equal(read_organ(file, scan)[0], drawn > 0)
    for wrong, words in (
        ("20", "no label 20; there are 1, 7"),
        ("0", "from 1 to 255"),
        ("7,256", "from 1 to 255"),
        ("colon", "are numbers"),
        ("7;8", "are numbers"),
    ):
        with pytest.raises(CTError, match=words) as caught:
            read_organ(f"{file}:{wrong}", scan)
        assert caught.value.code == "MASK_VALUES"


def test_a_mask_follows_a_scan_that_reading_straightened(tmp_path):
    """A tilted scan has no grid of its own to draw on: masks come on the sheared one, or on another tool's."""
    shear = np.eye(4)
    shear[1, 2] = 0.4
    affine = np.diag([0.8, 0.8, 2.0, 1.0]) @ shear
    x, y, _ = np.meshgrid(*map(np.arange, (30, 30, 20)), indexing="ij")
    hu = np.where((x - 14) ** 2 + (y - 14) ** 2 < 60, -1000, 40).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "tilted.nii")
    scan = load(tmp_path / "tilted.nii", resample=True)
    assert "straightened_deg" in scan.meta
    found, _ = read_mask(written(tmp_path / "m.nii", (hu < 0).astype(np.uint8), affine), scan)
    assert np.mean(((scan.hu < -480) != (found > 0))[scan.hu > -1024]) < 0.01
    exact = written(tmp_path / "e.nii", (scan.hu < -480).astype(np.uint8), scan.affine)
    assert np.array_equal(read_mask(exact, scan)[0], scan.hu < -480)
    away = affine.copy()
    away[:3, 3] += 40
    refused("MASK_GRID", written(tmp_path / "away.nii", (hu < 0).astype(np.uint8), away), scan)
