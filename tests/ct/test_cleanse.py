"""Tagged fluid: found where it is, not where bone or calcium is; what stands in for it is the wall that was there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import Volume, cleanse, lumen
from tests.ct.bodies import body

PITCH = 0.8
AIR, TISSUE, FLUID, BONE = -1000.0, 40.0, 550.0, 700.0


def colon(
    level: float | None,
    up: int = 1,
    noise: float = 10.0,
    bone: bool = True,
    turned: bool = False,
    breath: float = 0.0,
    ring: float = 0.0,
    fluid: float = FLUID,
) -> Volume:
    """A horizontal tube of 14 mm radius with two folds, filled to `level` mm above its axis; bone and calcium beside.

    up: +1 on the back (the front is up), -1 on the belly. breath: mm of blur along the vertical, which lifts air over a
    level to -850 HU as on real scans. ring: overshoot of a sharp kernel.
    """
    x, y, z = np.meshgrid(*(np.arange(n) * PITCH for n in (56, 56, 90)), indexing="ij")
    radius = 14 - 4 * (np.exp(-(((z - 24) / 2.5) ** 2)) + np.exp(-(((z - 50) / 2.5) ** 2)))
    hollow = (np.hypot(x - 22, y - 22) < radius) & (np.abs(z - 36) < 30)
    hu = np.where(hollow, AIR, TISSUE)
    if level is not None:
        hu[hollow & (up * (y - 22) < level)] = fluid
    if bone:
        hu[np.hypot(x - 40, y - 5) < 4] = BONE
        hu[20:22, 44:46, 40:42] = 900  # calcium in the wall above
    hu = ndimage.gaussian_filter(hu, 0.6 / PITCH)
    if breath:
        hu = ndimage.gaussian_filter1d(hu, breath / PITCH, axis=1)
    hu += ring * (hu - ndimage.gaussian_filter(hu, 1.2 / PITCH))
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


def afloat(hu: np.ndarray) -> np.ndarray:
    """Voxels of pieces of less than 100 that are free in the air."""
    labels, _ = ndimage.label(hu >= lumen.WALL_HU)
    return (np.bincount(labels.ravel()) < 100)[labels]


@pytest.mark.parametrize("level", [-6.0, -2.0, 1.0, 5.0])
@pytest.mark.parametrize(
    "scan",
    [
        {"noise": 45.0},
        {"breath": 1.2, "noise": 10.0},
        {"breath": 1.2, "noise": 45.0},
        {"breath": 1.2, "noise": 45.0, "up": -1},
        {"breath": 1.2, "noise": 40.0, "ring": 0.5},
        {"breath": 1.2, "noise": 40.0, "fluid": 350.0},
        {"breath": 1.2, "noise": 40.0, "fluid": 900.0},
    ],
)
def test_no_sieve_floats_where_a_level_was(level, scan):
    before = colon(level, **scan)
    cleansed, fluid = cleanse.cleanse(before)
    if "breath" in scan and "ring" not in scan:  # then 2.4 mm over the level air is no lower than on real scans
        column = before.hu[28, :: scan.get("up", 1), 15:60]
        top = 55 - (column[::-1] > cleanse.TAGGED_HU).argmax(axis=0)
        assert np.median(column[top + 3, np.arange(45)]) > -930
    assert not (afloat(cleansed.hu) & ~afloat(before.hu)).any()
    # In columns of fluid, above the fluid, nothing solid but the wall, of which a voxel may show.
    wall = ndimage.binary_dilation(colon(None, **{**scan, "noise": 0.0}).hu >= lumen.WALL_HU)
    pool, solid = (a[:, :: scan.get("up", 1)] for a in (fluid.mask, (cleansed.hu >= lumen.WALL_HU) & ~wall))
    columns = pool.any(axis=1)
    top = pool.shape[1] - 1 - pool[:, ::-1].argmax(axis=1)
    above = np.arange(pool.shape[1])[:, None] >= top[:, None] - 1
    assert (solid & above).any(axis=1)[columns].mean() < 0.02


@pytest.mark.parametrize("breath", [0.8, 1.2])
def test_the_wall_beside_a_blurred_level_is_where_it_was(breath):
    empty = colon(None, noise=0.0, breath=breath).hu >= lumen.WALL_HU
    for level in (-6.0, 0.0, 5.0):
        cleansed, fluid = cleanse.cleanse(colon(level, breath=breath))
        solid = cleansed.hu >= lumen.WALL_HU
        lost = ndimage.distance_transform_edt(empty, sampling=PITCH)[empty & ~solid]
        left = ndimage.distance_transform_edt(~empty, sampling=PITCH)[solid & ~empty]
        assert np.percentile(lost, 99) < 1.5 * PITCH
        assert np.percentile(left, 90) < 2 * PITCH
        assert len(left) < 0.03 * fluid.mask.sum()


def test_a_table_is_no_fluid():
    empty = body()
    assert cleanse.tagged(empty.volume) is None
    made = body(level=-20.0)
    fluid = cleanse.tagged(made.volume)
    assert made.pools[fluid.mask].mean() > 0.9
    assert not fluid.mask[~made.inside].any()
    # A heavy one: 20 mm of bright board, flat, with air above beside the patient.
    hu = empty.volume.hu.copy()
    hu[8:-8, 2:7] = 400
    assert cleanse.tagged(Volume(hu, empty.volume.affine)) is None


def test_half_full_colon_is_half_a_lumen_until_it_is_cleansed(tmp_path):
    scan = colon(0.0)
    cleansed, fluid = cleanse.cleanse(scan)
    assert lumen.find(scan).volume_ml < 0.6 * lumen.find(cleansed).volume_ml
    assert [axes.get_title() for axes in cleanse.figure(scan, cleansed, fluid).axes[:3]] == [
        "as scanned",
        "cleansed",
        "change",
    ]
    cleanse.picture(scan, cleansed, fluid, tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1500, 540)
        assert len(image.convert("RGB").getcolors(2**24)) > 200
