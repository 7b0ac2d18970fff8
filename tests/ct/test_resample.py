"""The cubic B-spline: exact at the samples, faithful to a smooth field, same place in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from endorender.ct import CTError, Volume, isotropic
from endorender.ct.lumen import sample

AFFINE = np.array([[0.0, -0.8, 0, 30], [0.8, 0, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1]])


def smooth(ras: np.ndarray) -> np.ndarray:
    """Waves of 15 to 25 mm: well sampled at 2.5 mm."""
    x, y, z = np.moveaxis(ras, -1, 0)
    return -400 + 300 * np.sin(2 * np.pi * x / 20) * np.cos(2 * np.pi * y / 25) + 250 * np.sin(2 * np.pi * z / 15)


def volume(dtype=np.float32) -> Volume:
    at = np.stack(np.meshgrid(np.arange(32), np.arange(30), np.arange(16), indexing="ij"), axis=-1)
    hu = smooth(at @ AFFINE[:3, :3].T + AFFINE[:3, 3])
    return Volume(np.rint(hu).astype(dtype) if dtype == np.int16 else hu.astype(dtype), AFFINE)


def test_field_is_met_between_the_slices():
    old = volume()
    new = isotropic(old)
    assert new.spacing == pytest.approx([0.8, 0.8, 0.8])
    assert new.shape == (32, 30, 47)
    assert new.to_world(np.zeros(3)) == pytest.approx(old.to_world(np.zeros(3)))
    inner = np.random.default_rng(0).uniform(0.2, 0.8, (500, 3)) * (np.array(old.shape) - 1)
    points = old.to_world(inner)
    on_grid = new.to_world(np.rint(new.to_voxel(points)))
    # Crests that no voxel met are cut at the highest voxel: the range is kept.
    expected = np.clip(smooth(on_grid), old.hu.min(), old.hu.max())
    spline = np.abs(sample(new, new.hu, on_grid) - expected).max()
    linear = np.abs(sample(old, old.hu, on_grid) - smooth(on_grid)).max()
    assert spline < 3  # of 1100 HU
    assert spline < linear / 8


def test_given_slices_stay_as_they_were():
    old = volume(np.int16)
    new = isotropic(old, 0.5)
    assert new.hu.dtype == np.int16
    # Every fifth of the new slices lies on an old one; in plane 0.8 mm and 0.5 mm meet every 4 mm.
    assert np.abs(new.hu[::8, ::8, ::5].astype(int) - old.hu[::5, ::5, :]).max() <= 1


def test_nothing_to_do_returns_the_volume_itself():
    cubic = Volume(np.zeros((4, 4, 4), np.int16), np.diag([1.0, 1.0, 1.4, 1.0]))
    assert isotropic(cubic) is cubic
    assert isotropic(isotropic(cubic, 0.7), 0.7).spacing == pytest.approx([0.7] * 3)


def test_a_step_does_not_invent_values():
    hu = np.full((6, 6, 12), -1000, np.int16)
    hu[:, :, 6:] = 40
    new = isotropic(Volume(hu, np.diag([0.8, 0.8, 2.5, 1.0])))
    assert new.hu.min() == -1000
    assert new.hu.max() == 40
    record = new.meta["resampled"]
    assert record == {"method": "cubic B-spline", "from_mm": [0.8, 0.8, 2.5], "to_mm": 0.8}


def test_spacing_must_be_positive():
    with pytest.raises(CTError, match="must be > 0"):
        isotropic(volume(), -1.0)
