"""Tagged fluid: found where it is, not where bone or calcium is; what stands in for it is the wall that was there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import Volume, cleanse, lumen

PITCH = 0.8
AIR, TISSUE, FLUID, BONE = -1000.0, 40.0, 550.0, 700.0


def colon(level: float | None, up: int = 1, noise: float = 10.0, bone: bool = True, turned: bool = False) -> Volume:
    """A horizontal tube of 14 mm radius with two folds, filled to `level` mm above its axis; bone and calcium beside.

    up: +1 on the back (the front is up), -1 on the belly.
    """
    x, y, z = np.meshgrid(*(np.arange(n) * PITCH for n in (56, 56, 90)), indexing="ij")
    radius = 14 - 4 * (np.exp(-(((z - 24) / 2.5) ** 2)) + np.exp(-(((z - 50) / 2.5) ** 2)))
    hollow = (np.hypot(x - 22, y - 22) < radius) & (np.abs(z - 36) < 30)
    hu = np.where(hollow, AIR, TISSUE)
    if level is not None:
        hu[hollow & (up * (y - 22) < level)] = FLUID
    if bone:
        hu[np.hypot(x - 40, y - 5) < 4] = BONE
        hu[20:22, 44:46, 40:42] = 900  # calcium in the wall above
    hu = ndimage.gaussian_filter(hu, 0.6 / PITCH)
    hu += np.random.default_rng(3).normal(0, noise, hu.shape)
    affine = np.diag([PITCH, PITCH, PITCH, 1.0])
    affine[:3, 3] = [-20, 4, 8]
    volume = Volume(np.rint(hu).astype(np.int16), affine)
    if turned:  # axes in the order z, x, -y
        order = np.zeros((4, 4))
        order[0, 1] = order[2, 0] = order[3, 3] = 1
        order[1, 2], order[1, 3] = -1, 55
        hu = np.ascontiguousarray(volume.hu.transpose(2, 0, 1)[:, :, ::-1])
        volume = Volume(hu, affine @ order)
    return volume


@pytest.mark.parametrize("up", [1, -1])
@pytest.mark.parametrize("turned", [False, True])
def test_pools_are_found_on_the_back_and_on_the_belly(up, turned):
    volume = colon(-3.0, up, turned=turned)
    fluid = cleanse.tagged(volume)
    assert fluid.up == ((2, -up) if turned else (1, up))
    filled = colon(-3.0, up, noise=0, bone=False).hu > 295
    assert sum(fluid.pools_ml) == pytest.approx(filled.sum() * PITCH**3 / 1000, rel=0.06)
    assert fluid.hu == pytest.approx(FLUID, abs=60)


def test_nothing_is_found_where_there_is_none():
    assert cleanse.tagged(colon(None)) is None
    full = colon(None)
    assert cleanse.cleanse(full)[0] is full
    # Bone under air that is not flat: a rounded bulge.
    x, y, z = np.meshgrid(*(np.arange(60) * PITCH,) * 3, indexing="ij")
    hu = np.where(np.hypot(np.hypot(x - 24, y - 8), z - 24) < 12, BONE, np.where(y > 8, AIR, TISSUE))
    bulge = Volume(ndimage.gaussian_filter(hu, 0.7).astype(np.int16), np.diag([PITCH] * 3 + [1.0]))
    assert cleanse.tagged(bulge) is None


@pytest.mark.parametrize("level", [-6.0, 0.0, 5.0])
def test_the_wall_comes_out_where_it_was(level):
    empty = colon(None)
    cleansed, fluid = cleanse.cleanse(colon(level))
    near = ndimage.binary_dilation(fluid.mask, iterations=3)
    change = cleansed.hu.astype(float) - empty.hu
    assert np.abs(change[near]).mean() < 45
    bone = np.s_[44:56, 0:12]  # as it was
    assert np.array_equal(cleansed.hu[bone], colon(level).hu[bone])
    wall, found = lumen.find(empty), lumen.find(cleansed)
    assert found.volume_ml == pytest.approx(wall.volume_ml, rel=0.02)
    apart = ndimage.distance_transform_edt(~wall.mask, sampling=PITCH)[found.mask].max()
    missing = ndimage.distance_transform_edt(found.mask == 0, sampling=PITCH)[wall.mask].max()
    assert max(apart, missing) < 2 * PITCH
    # No speck of what was the level floats in the hollow.
    core = ndimage.binary_erosion(wall.mask, iterations=3)
    assert (cleansed.hu[core] < -550).all()
    assert cleansed.meta["cleansed_ml"] > 0
    assert any("reconstruction" in w for w in cleansed.warnings)


def test_half_full_colon_is_half_a_lumen_until_it_is_cleansed(tmp_path):
    scan = colon(0.0)
    cleansed, fluid = cleanse.cleanse(scan)
    assert lumen.find(scan).volume_ml < 0.6 * lumen.find(cleansed).volume_ml
    cleanse.picture(scan, cleansed, fluid, tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1500, 540)
        assert len(image.convert("RGB").getcolors(2**24)) > 200
