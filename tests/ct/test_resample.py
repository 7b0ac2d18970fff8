"""The cubic B-spline: exact at the samples, faithful to a smooth field, same place in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from endorender.ct import CTError, Volume, isotropic, onto
from endorender.ct.anatomy.lumen import sample
from endorender.ct.resample import straighten
from endorender.ct.volume import Skewed

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


def sheared(degrees: float, axis: int) -> Volume:
    """A linear field, its slices pushed along one in-plane axis."""
    affine = np.diag([0.7, 0.9, 2.5, 1.0])
    affine[:3, 3] = -13.7, 21.3, -1234.567
    affine[axis, 2] = 2.5 * np.tan(np.radians(degrees))
    at = np.stack(np.meshgrid(*map(np.arange, (7, 6, 9)), indexing="ij"), axis=-1)
    return Skewed((-500 + (at @ affine[:3, :3].T + affine[:3, 3]) @ [3, 5, 0.2]).astype(np.float32), affine)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_tilt_loses_an_end(axis):
    """Rounding puts the outermost planes at -1e-15 at about half of all angles."""
    for degrees in np.linspace(-32, 32, 801):
        if abs(degrees) < 0.2:
            continue
        old = sheared(degrees, axis)
        new = straighten(old, True, 0.1)
        index = np.stack(np.meshgrid(*map(np.arange, new.shape), indexing="ij"), axis=-1).reshape(-1, 3)
        at = old.to_voxel(new.to_world(index))
        inside = ((at > -1e-5) & (at < np.array(old.shape) - 1 + 1e-5)).all(axis=1)
        expected = np.where(inside, -500 + new.to_world(index) @ [3, 5, 0.2], -1024)
        clear = inside | ((at < -1e-2) | (at > np.array(old.shape) - 1 + 1e-2)).any(axis=1)
        assert inside.sum() > 0.5 * old.hu.size
        assert np.abs(new.hu.reshape(-1) - expected)[clear].max() < 0.01, degrees


def test_labels_keep_the_planes_at_the_ends():
    rng = np.random.default_rng(1)
    for _ in range(200):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn * rng.uniform(0.4, 3, 3), rng.uniform(-900, 900, 3)
        old = Volume(np.zeros((5, 6, 7), np.int16), affine)
        grid = isotropic(old, float(old.spacing.min()))
        assert onto(np.full(old.shape, 3, np.uint8), old, grid).min() == 3
        moved = affine.copy()
        moved[:3, 3] += 1e4
        far = Volume(np.zeros((9, 9, 9), np.int16), moved)
        assert onto(np.full(old.shape, 3, np.uint8), old, far).max() == 0


def test_values_at_the_corners_are_those_of_the_corners():
    rng = np.random.default_rng(2)
    for _ in range(200):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn * rng.uniform(0.4, 3, 3), rng.uniform(-900, 900, 3)
        solid = Volume(np.full((5, 6, 7), -1000, np.float32), affine)
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in solid.shape], indexing="ij")).reshape(3, -1).T
        assert sample(solid, solid.hu, solid.to_world(ends)) == pytest.approx(np.full(8, -1000.0))
        assert sample(solid, solid.hu, solid.to_world(ends * 1.0 - 0.01 * (ends == 0)))[0] == 0
