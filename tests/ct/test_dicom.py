"""DICOM in: the same HU at the same patient point, or a refusal that says why."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from endorender.ct import CTError, load
from endorender.ct.anatomy.lumen import sample
from tests.ct import made
from tests.ct.made import refused, same_field

C, S = np.cos(0.3), np.sin(0.3)


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"axes": (-1, 0, 0, 0, -1, 0), "first": (22, 18, -20)},  # prone
        {"axes": (1, 0, 0, 0, -1, 0), "first": (-22, 18, 0)},  # normal towards the feet
        {"axes": (0, 1, 0, 0, 0, -1), "first": (-10, -18, 20)},  # sagittal
        {"axes": (1, 0, 0, 0, 0, -1), "first": (-22, -10, 20)},  # coronal
        {"axes": (C, S, 0, -S, C, 0), "first": (-15, -20, -12)},  # oblique
        {"axes": (C, 0, S, 0, 1, 0), "first": (-20, -18, -12)},  # oblique, tilted normal
        {"spacing": (1.5, 2.2)},  # non-square pixels
        {"step": 0.7},
    ],
)
def test_same_hu_at_the_same_patient_point(tmp_path, place):
    made.series(tmp_path, **place)
    volume = load(tmp_path)
    assert volume.hu.dtype == np.int16
    assert volume.shape == (24, 20, 8)
    same_field(volume)


def test_world_is_ras_at_a_known_corner(tmp_path):
    made.series(tmp_path, first=(-22.0, -18.0, -40.0))
    volume = load(tmp_path)
    assert volume.to_world(np.zeros(3)) == pytest.approx([22, 18, -40])
    assert volume.to_world(np.array([1, 0, 0])) == pytest.approx([20, 18, -40])
    assert volume.to_world(np.array([0, 0, 7])) == pytest.approx([22, 18, -19])
    assert volume.spacing == pytest.approx([2, 2, 3])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_transfer_syntaxes(tmp_path, syntax):
    def change(ds, n):
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).astype(">u2").tobytes()

    made.series(tmp_path, change=change)
    same_field(load(tmp_path))


def test_run_length_compression(tmp_path):
    made.series(tmp_path, change=lambda ds, n: ds.compress(RLELossless))
    same_field(load(tmp_path))


def test_enhanced_multi_frame(tmp_path):
    made.enhanced(tmp_path / "all.dcm")
    volume = load(tmp_path / "all.dcm")
    assert volume.shape == (24, 20, 6)
    same_field(volume)


def test_zip(tmp_path):
    made.series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "in").iterdir()):
            archive.write(file, f"deep/{file.name}")
        archive.writestr("notes.txt", "hello")
    volume = load(tmp_path / "scan.zip")
    same_field(volume)
    assert volume.warnings == ("1 files that are no DICOM were passed over",)


def test_files_without_preamble(tmp_path):
    made.series(tmp_path)
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        # Group 2 goes as well, and with it the name of the encoding.
        meta = 132 + 12 + int.from_bytes(data[140:144], "little")
        file.write_bytes(data[meta:])
    same_field(load(tmp_path))


def test_missing_slice_is_named_and_filled_on_demand(tmp_path):
    made.series(tmp_path, skip=(3, 4))
    message = refused("MISSING_SLICE", tmp_path)
    assert "2 slices are missing, at -31.00, -28.00 mm" in message
    volume = load(tmp_path, resample=True)
    assert volume.shape == (24, 20, 8)
    assert any("9.00 mm" in w for w in volume.warnings)
    same_field(volume, tolerance=1.01)


def test_every_second_slice_missing_in_part_of_the_stack(tmp_path):
    made.series(tmp_path, count=10, skip=(1, 3, 5))
    assert "3 slices are missing" in refused("MISSING_SLICE", tmp_path)


def test_uneven_spacing(tmp_path):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + 0.4 * (n > 4)]

    made.series(tmp_path, change=change)
    refused("IRREGULAR_SPACING", tmp_path)


def test_rounded_positions_load(tmp_path):
    def change(ds, n):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{float(z) + 0.004 * (-1) ** n:.3f}"]

    made.series(tmp_path, step=1.25, change=change)
    assert load(tmp_path).spacing[2] == pytest.approx(1.25, abs=0.002)


def test_gantry_tilt(tmp_path):
    made.series(tmp_path, shear=(0.0, 0.5, 0.0))
    assert "9.46 degrees" in refused("GANTRY_TILT", tmp_path)
    volume = load(tmp_path, resample=True)
    assert any("straightened" in w for w in volume.warnings)
    points = np.random.default_rng(1).uniform([-18, -10, -38], [18, 10, -22], (300, 3))
    found = sample(volume, volume.hu.astype(float), points)
    assert np.abs(found - made.truth(points)).max() < 1.6


def test_tilt_below_a_tenth_of_a_degree_loads(tmp_path):
    made.series(tmp_path, shear=(0.0, 0.004, 0.0))
    same_field(load(tmp_path), tolerance=0.8)


def test_duplicates(tmp_path):
    made.series(tmp_path)
    copy = sorted(tmp_path.iterdir())[0]
    (tmp_path / "copy.dcm").write_bytes(copy.read_bytes())
    volume = load(tmp_path)
    assert volume.shape[2] == 8
    assert volume.warnings == ("1 duplicate slices were dropped",)
    data = bytearray(copy.read_bytes())
    data[-2:] = (1500).to_bytes(2, "little")
    (tmp_path / "copy.dcm").write_bytes(bytes(data))
    assert "mm" in refused("DUPLICATE_SLICE", tmp_path)


def test_two_series_are_listed_and_chosen(tmp_path):
    one = made.series(tmp_path / "a", change=lambda ds, n: setattr(ds, "SeriesNumber", 4))
    made.series(tmp_path / "b", count=5, spacing=(1.0, 1.0))
    message = refused("SERIES_AMBIGUOUS", tmp_path)
    assert "1) 5 slices 24 x 20, 1 mm, B30f" in message
    assert "2) 8 slices" in message
    assert "--series" in message
    assert load(tmp_path, series="1").shape[2] == 5
    assert load(tmp_path, series="2").shape[2] == load(tmp_path, series=one).shape[2] == 8
    refused("NO_SERIES", tmp_path, series="3")


def test_scouts_and_other_modalities_are_passed_over(tmp_path):
    made.series(tmp_path)
    made.series(
        tmp_path, 1, prefix="scout", change=lambda ds, n: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    made.series(tmp_path, 2, prefix="mr", change=lambda ds, n: setattr(ds, "Modality", "MR"))
    (tmp_path / "report.pdf").write_bytes(b"%PDF" * 99)
    volume = load(tmp_path)
    assert volume.shape[2] == 8
    assert set(volume.warnings) == {
        "1 files that are no DICOM were passed over",
        "3 DICOM files that are no CT slices were passed over",
    }


def test_one_odd_slice_is_refused(tmp_path):
    def change(ds, n):
        if n == 7:
            ds.PixelSpacing = [2.5, 2.5]

    made.series(tmp_path, change=change)
    refused("MIXED_GEOMETRY", tmp_path)


def test_folder_without_ct(tmp_path):
    refused("NO_CT", tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"\xff\xd8" * 500)
    assert "1 files are no DICOM" in refused("NO_CT", tmp_path)
    refused("NOT_FOUND", tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0.97, 0.5, 0.2])
def test_truncated(tmp_path, keep):
    made.series(tmp_path)
    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[: int(keep * last.stat().st_size)])
    with pytest.raises(CTError) as caught:
        load(tmp_path)
    assert caught.value.code in ("TRUNCATED", "MISSING_TAG")
    if keep == 0.97:
        assert caught.value.code == "TRUNCATED"


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_tag_is_named(tmp_path, tag):
    made.series(tmp_path, change=lambda ds, n: delattr(ds, tag))
    assert tag in refused("MISSING_TAG", tmp_path)


def test_nothing_of_the_patient_gets_out(tmp_path):
    folder = tmp_path / "SECRET_NAME"
    made.series(folder)
    made.series(folder, 1, prefix="x", change=lambda ds, n: setattr(ds, "Modality", "MR"))
    volume = load(folder)
    text = repr(volume.warnings) + repr(dict(volume.meta)) + repr(volume)
    assert "CANARY" not in text
    assert "SECRET" not in text
    assert set(volume.meta) == {"source", "kernel", "kvp", "thickness_mm"}


def test_series_uid_is_optional(tmp_path):
    made.series(tmp_path, change=lambda ds, n: delattr(ds, "SeriesInstanceUID"))
    same_field(load(tmp_path))


def test_two_phases_under_one_series(tmp_path):
    uid = generate_uid()
    made.series(tmp_path, change=lambda ds, n: setattr(ds, "SeriesInstanceUID", uid))

    def later(ds, n):
        ds.SeriesInstanceUID = uid
        made.pixels(ds, np.frombuffer(ds.PixelData, np.uint16).reshape(20, 24) + np.uint16(40))

    made.series(tmp_path, prefix="late", change=later)
    refused("DUPLICATE_SLICE", tmp_path)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_tilted_series_keeps_all_that_was_scanned(tmp_path, axis):
    """Rounding put outermost rows, columns or slices out of reach at about half of all tilts."""
    for n, push in enumerate(np.linspace(0.05, 1.5, 12)):
        shear = np.zeros(3)
        shear[axis] = push
        first = np.array([-22.3, -18.1, -40.37])
        made.series(tmp_path / str(n), 5, 2.7, (12, 14), first=tuple(first), shear=tuple(shear))
        scanned = np.eye(4)
        scanned[:3, :3] = np.diag([2.0, 2.0, 2.7])
        scanned[:3, 2] += shear
        scanned[:3, 3] = first
        volume = load(tmp_path / str(n), resample=True)
        points = volume.to_world(np.argwhere(np.ones(volume.shape)))
        at = (points * [-1, -1, 1] - first) @ np.linalg.inv(scanned[:3, :3]).T
        inside = ((at > -1e-4) & (at < np.array([14, 12, 5]) - 1 + 1e-4)).all(axis=1)
        hu = volume.hu.reshape(-1)
        assert inside.sum() > 0.8 * 14 * 12 * 5
        assert np.abs(hu - made.truth(points))[inside].max() < 1.6, push
        assert (hu[~inside] == -1024).all()
