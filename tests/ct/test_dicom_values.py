"""DICOM in: what is stored becomes Hounsfield units, padding becomes air, and what is neither is refused."""

from __future__ import annotations

import numpy as np
import pytest

from endorender.ct import CTError, load
from tests.ct import made
from tests.ct.made import refused, same_field


def test_slope_and_intercept_of_every_slice_count(tmp_path):
    def change(ds, n):
        hu = np.frombuffer(ds.PixelData, np.uint16).reshape(20, 24).astype(float) - 1024
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + 0.25 * n}", f"{-1000 - 10 * n}"
        made.pixels(ds, np.rint((hu + 1000 + 10 * n) / (0.5 + 0.25 * n)).astype(np.int16))

    made.series(tmp_path, change=change)
    same_field(load(tmp_path), tolerance=1.3)  # the steepest slope rounds to 2.25 HU


@pytest.mark.parametrize(("vr", "value"), [("US", 63536), ("SS", -2000)])
def test_padding_is_air_whatever_its_sign(tmp_path, vr, value):
    def change(ds, n):
        stored = np.frombuffer(ds.PixelData, np.uint16).reshape(20, 24).astype(np.int16)
        stored[:3] = -2000
        made.pixels(ds, stored)
        ds.add_new(0x00280120, vr, value)

    made.series(tmp_path, change=change)
    volume = load(tmp_path)
    assert (volume.hu[:, :3] == -1024).all()
    assert (volume.hu[:, 3:] > -1000).all()
    assert any("padding" in w for w in volume.warnings)


def test_padding_that_looks_like_tissue_spares_tissue(tmp_path):
    def change(ds, n):
        stored = np.frombuffer(ds.PixelData, np.uint16).reshape(20, 24).copy()
        stored[:2], stored[10, 10] = 1024, 1024  # 0 HU: a border of padding, and one voxel of water
        made.pixels(ds, stored)
        ds.add_new(0x00280120, "US", 1024)

    made.series(tmp_path, change=change)
    volume = load(tmp_path)
    assert (volume.hu[:, :2] == -1024).all()
    assert (volume.hu[10, 10] == 0).all()


def test_bits_above_bits_stored_are_no_values(tmp_path):
    def change(ds, n):
        stored = np.frombuffer(ds.PixelData, np.uint16).reshape(20, 24).copy()
        stored[::3] |= 0xA000
        made.pixels(ds, stored, bits=12)

    made.series(tmp_path, change=change)
    same_field(load(tmp_path))


def test_no_rescale(tmp_path):
    made.series(tmp_path, change=lambda ds, n: delattr(ds, "RescaleIntercept"))
    refused("NO_RESCALE", tmp_path)
    made.series(tmp_path / "b", change=lambda ds, n: setattr(ds, "RescaleSlope", 0))
    refused("NO_RESCALE", tmp_path / "b")


def test_values_that_are_no_hu(tmp_path):
    made.series(tmp_path, change=lambda ds, n: setattr(ds, "RescaleIntercept", 0))
    assert "none below 0" in refused("NOT_HU", tmp_path)
    assert load(tmp_path, assume_hu=True).hu.min() >= 0
    # The offset applied twice puts tissue at -1000 and air below vacuum.
    made.series(tmp_path / "b", change=lambda ds, n: setattr(ds, "RescaleIntercept", -2248))
    refused("NOT_HU", tmp_path / "b")


@pytest.mark.parametrize("order", [1, 3])
def test_smeared_padding_is_air_and_the_scan_itself_untouched(tmp_path, order):
    from scipy import ndimage

    zoomed = [ndimage.zoom(made.body(padding=p), (1, 0.87, 0.87), order=order, mode="nearest") for p in (-3024, None)]
    made.series(tmp_path, 14, change=made.of_planes(zoomed[0]))
    volume = load(tmp_path)
    truth = np.rint(zoomed[1]).transpose(2, 1, 0)
    x, y = np.meshgrid(*[np.linspace(-1, 1, n) for n in truth.shape[:2]], indexing="ij")
    r = np.hypot(x, y)
    assert np.abs(volume.hu - np.maximum(truth, -1024))[r < 0.85].max() <= 1  # a spline rings afar
    assert (volume.hu[r > 1.1] == -1024).all()
    assert any("beside padding of -3024" in w for w in volume.warnings)


def test_an_offset_twice_is_found_whatever_pads_it(tmp_path):
    """Air at -2024 beside the body looks like padding with a rim."""
    for n, padding in enumerate((None, -2048, -3024)):
        planes = made.body(padding=padding) - 1024
        planes[:, 40:43, 40:43] = 700
        made.series(tmp_path / str(n), 14, change=made.of_planes(planes))
        with pytest.raises(CTError, match="offset was applied twice"):
            load(tmp_path / str(n))
        warned = load(tmp_path / str(n), assume_hu=True).warnings
        assert any("taken for Hounsfield units all the same" in w for w in warned)


def test_assume_hu_says_what_it_passed_over_and_keeps_the_rest(tmp_path):
    def forgotten(ds, n):
        ds.RescaleIntercept = 0

    made.series(tmp_path / "a", change=forgotten)
    assert any("in MR and PET: taken for" in w for w in load(tmp_path / "a", assume_hu=True).warnings)
    made.series(tmp_path / "b", change=forgotten, skip=(3,))
    with pytest.raises(CTError) as refusal:
        load(tmp_path / "b", assume_hu=True)
    assert refusal.value.code == "MISSING_SLICE"


def test_assume_hu_takes_nothing_beyond_16_bits(tmp_path):
    def change(ds, n):
        ds.RescaleSlope, ds.RescaleIntercept = 70, -20000

    made.series(tmp_path, change=change)
    for assume in (False, True):
        with pytest.raises(CTError, match=r"more than metal: rescale the scan to Hounsfield units$"):
            load(tmp_path, assume_hu=assume)
