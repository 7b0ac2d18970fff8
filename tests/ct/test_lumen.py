"""Lumen and centreline on made hollows, on phantoms and on the shipped airway."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import CTError, Volume, isotropic, lumen, open_ct, prepare, seal
from endorender.ct.inspection import describe, preview, sections


def tube(radius: float = 8.0, pitch: float = 1.0, ends: bool = True) -> Volume:
    """A straight tube of air along k in tissue, blurred over a voxel; 40 x 40 x 80 mm."""
    shape = tuple(int(n / pitch) for n in (40, 40, 80))
    x, y, z = (a * pitch for a in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    distance = np.hypot(x - 20, y - 20) - radius
    if ends:
        distance = np.maximum(distance, np.abs(z - 40) - 30)
    hu = -1000 + 1040 * np.clip(0.5 + distance / pitch, 0, 1)
    affine = np.diag([pitch, pitch, pitch, 1.0])
    affine[:3, 3] = [-7, 5, 11]
    return Volume(np.rint(hu).astype(np.int16), affine)


def test_tube_has_its_volume_clearance_and_axis():
    volume = tube()
    found = lumen.find(volume)
    assert found.threshold == -550
    assert found.volume_ml == pytest.approx(np.pi * 8**2 * 60 / 1000, rel=0.07)  # voxels more than half air
    path = lumen.centreline(volume, found)
    middle = path.points[np.abs(path.points[:, 2] - 51) < 15]
    assert np.abs(middle[:, :2] - [13, 25]).max() < 0.6
    at_middle = path.clearance[np.abs(path.points[:, 2] - 51) < 15]
    assert at_middle == pytest.approx(8, abs=0.8)
    steps = np.linalg.norm(np.diff(path.points, axis=0), axis=1)
    assert steps == pytest.approx(path.length / (len(path.points) - 1), rel=0.02)
    assert 45 < path.length < 60


def test_tube_that_is_cut_by_the_scan_is_a_lumen_and_the_cut_a_wall():
    volume = tube(ends=False)
    found = lumen.find(volume)
    path = lumen.centreline(volume, found)
    along = volume.to_voxel(path.points)[:, 2]
    assert along.min() > 1
    assert along.max() < 78


def test_room_and_table_are_no_lumens():
    volume = tube()
    hu = volume.hu.copy()
    hu[:, :7] = -1000  # the room along one side
    hu[:, 1:3] = -100  # a shell of the table in it
    found = lumen.find(Volume(hu, volume.affine))
    assert len(found.candidates) == 1
    assert found.volume_ml == pytest.approx(11.4, abs=0.2)


def test_room_all_around_a_patient_is_no_lumen():
    body = tube().hu
    hu = np.full((80, 80, 80), -1000, np.int16) + np.random.default_rng(0).normal(0, 20, (80, 80, 80)).astype(np.int16)
    hu[20:60, 20:60] = body
    found = lumen.find(Volume(hu, np.eye(4)))
    assert len(found.candidates) == 1
    assert found.volume_ml == pytest.approx(11.4, abs=0.2)


def test_a_large_scan_is_cropped_around_its_lumen():
    volume = tube()
    hu = np.pad(volume.hu, ((60, 60), (70, 40), (0, 0)), constant_values=30)
    affine = volume.affine.copy()
    affine[:3, 3] -= [60, 70, 0]
    ready = prepare(Volume(hu, affine))
    assert ready.volume.meta["cropped_from"] == [160, 150, 80]
    assert ready.volume.shape == (15 + 50, 15 + 50, 80)
    alone = prepare(volume)
    assert "cropped_from" not in alone.volume.meta
    assert ready.path.points == pytest.approx(alone.path.points)
    at = alone.path.points[10:-10]
    assert lumen.sample(ready.volume, ready.volume.hu.astype(float), at) == pytest.approx(-1000)
    assert lumen.sample(ready.volume, ready.lumen.clearance, at) == pytest.approx(
        alone.path.clearance[10:-10], abs=1e-4
    )


def test_several_lumens_are_listed_and_chosen():
    small, large = tube(5.0).hu, tube(9.0).hu
    volume = Volume(np.concatenate([small, large], axis=0), np.eye(4))
    first, second = lumen.find(volume), lumen.find(volume, region=2)
    assert first.candidates == second.candidates
    assert first.volume_ml > 2 * second.volume_ml
    assert second.mask[:40].any()
    assert not second.mask[40:].any()
    with pytest.raises(CTError, match=r"no region 3; the lumens are 1: 1\d(\.\d)? ml, 2: 4(\.\d)? ml") as caught:
        lumen.find(volume, region=3)
    assert caught.value.code == "LUMEN"
    label = np.zeros(volume.shape)
    label[:40] = 1
    labelled = lumen.find(volume, label=label)
    assert np.array_equal(labelled.mask, second.mask)


@pytest.mark.parametrize("value", [40, -200])
def test_no_air_no_lumen(value):
    with pytest.raises(CTError, match="no air-filled lumen") as caught:
        lumen.find(Volume(np.full((30, 30, 30), value, np.int16), np.eye(4)))
    assert caught.value.code == "LUMEN"


def test_too_narrow():
    with pytest.raises(CTError) as caught:
        lumen.find(tube(2.4))
    assert caught.value.code == "LUMEN"


def test_label_of_another_scan():
    with pytest.raises(CTError, match="label mask"):
        lumen.find(tube(), label=np.ones((3, 3, 3)))


def leaking():
    """A tube in lung with a wall thinner than a voxel over part of its way, as bronchi have; and what is no tube."""
    volume = tube(8.0)
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*map(np.arange, volume.shape), indexing="ij")
    distance = np.hypot(x - 20, y - 20) - 8.0
    lung = (distance > 3) & (np.abs(x - 20) < 17) & (np.abs(y - 20) < 17) & (z > 30) & (z < 75)
    thin = (np.abs(distance) < 3) & (distance > 0.5) & (z > 55) & (z < 60)
    hu = volume.hu.astype(float)
    hu[lung | thin] = -860
    hu += rng.normal(0, 12, hu.shape)
    return Volume(np.rint(hu).astype(np.int16), volume.affine), lung | thin


def test_leaking_tube_is_found_below_the_leak_and_sealed():
    leaky, other = leaking()
    found = lumen.find(leaky)
    assert -925 <= found.threshold < -860
    assert found.volume_ml == pytest.approx(11.4, abs=1)
    closed, sealed = seal(leaky, found)
    assert sealed.threshold == -550
    assert sealed.volume_ml == pytest.approx(11.4, abs=0.6)
    assert closed.meta["sealed_ml"] == pytest.approx(other.sum() / 1000, rel=0.2)
    labels, count = ndimage.label(closed.hu < -550)
    assert count == 1
    assert np.array_equal(labels > 0, sealed.mask)
    # Nothing of the lumen's own air was touched.
    assert np.array_equal(closed.hu[found.mask], leaky.hu[found.mask])


@pytest.fixture(scope="module")
def airway():
    raw = open_ct("sample")
    return raw, *prepare(raw)


def test_airway_leads_from_the_trachea_into_a_bronchus(airway):
    _, volume, found, path = airway
    assert volume.spacing == pytest.approx([0.703125] * 3)
    assert found.threshold == -550
    start, end = path.points[0], path.points[-1]
    assert start[2] > end[2] + 60  # head to feet
    assert path.clearance[: len(path.points) // 3].mean() > path.clearance[-len(path.points) // 3 :].mean()
    assert 120 < path.length < 260
    assert path.clearance.min() > 2
    # Adult tracheas measure 10 to 27 mm across (Breatnach et al. 1984, AJR 142(5)).
    assert 10 < 2 * path.clearance[15:60].max() < 27


def test_airway_is_closed_at_its_threshold(airway):
    _, volume, found, _ = airway
    labels, _ = ndimage.label(volume.hu < found.threshold)
    own = labels[found.mask][0]
    assert np.array_equal(labels == own, found.mask)
    # The scan cuts the trachea at its top and a 2 mm bronchus at the bottom, and nothing else.
    edges = found.mask.copy()
    edges[1:-1, 1:-1, 1:-1] = False
    cut = np.argwhere(edges)[:, 2]
    assert set(cut) <= {0, volume.shape[2] - 1}
    assert (cut == 0).sum() * 0.703**2 < 8  # mm²


def test_airway_without_sealing_stops_short_of_the_lung(airway):
    raw, _, sealed, _ = airway
    found = lumen.find(isotropic(raw))
    assert -925 <= found.threshold < -850
    assert found.volume_ml < sealed.volume_ml < 2 * found.volume_ml


def test_sample_carries_no_more_than_hu_and_place(airway):
    raw = airway[0]
    assert raw.hu.dtype == np.int16
    assert raw.hu.min() == -1024
    assert raw.warnings == ()
    assert raw.spacing == pytest.approx([0.703125, 0.703125, 2.5])


def test_clearance_bounds_the_distance_to_the_wall(airway):
    """No iso-crossing lies nearer than clearance minus a voxel, along random directions."""
    _, volume, found, path = airway
    rng = np.random.default_rng(0)
    for index in rng.integers(5, len(path.points) - 5, 40):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        free = path.clearance[index] - 0.7
        along = path.points[index] + np.linspace(0, max(free, 0), 30)[:, None] * direction
        assert lumen.sample(volume, volume.hu.astype(np.float32), along).max() < found.threshold


def test_facts_and_picture(airway, tmp_path):
    _, volume, found, path = airway
    facts = describe(volume, found, path)
    assert facts["size"] == list(volume.shape)
    assert facts["path_mm"] == pytest.approx(path.length, abs=0.1)
    assert facts["narrowest_radius_mm"] == pytest.approx(path.clearance.min(), abs=0.1)
    assert facts["lumens_air_ml"]
    assert len(sections(volume, found, path).axes) == 4
    preview(volume, found, path, tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 1000
        assert len(image.convert("RGB").getcolors(2**24)) > 200


def three():
    """Hollows of 24, 12 and 4 ml side by side along i, blurred over a voxel; 1 mm voxels."""
    shape = (100, 40, 80)
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    distance = np.full(shape, 99.0)
    for centre, radius, half in ((20, 12, 30), (52, 9, 30), (82, 7, 20)):
        distance = np.minimum(distance, np.maximum(np.hypot(x - centre, y - 20) - radius, np.abs(z - 40) - half))
    hu = -1000 + 1040 * np.clip(0.5 + distance, 0, 1)
    return Volume(np.rint(hu).astype(np.int16), np.eye(4))


def under(volume, *parts):
    label = np.zeros(volume.shape, np.uint8)
    for part in parts:
        label[part] = 1
    return label


def test_hollows_keep_their_numbers_under_a_mask():
    volume = three()
    label = under(volume, np.s_[36:], np.s_[:4])
    second, third = (lumen.find(volume, n) for n in (2, 3))
    found = lumen.find(volume, label=label)
    assert found.region == 2
    assert found.candidates == (0.0, *second.candidates[1:])
    assert np.array_equal(found.mask, second.mask)
    assert np.array_equal(lumen.find(volume, 3, label).mask, third.mask)
    with pytest.raises(CTError, match=r"no region 1; the lumens are 2: .* ml, 3: .* ml of air below -925 HU$"):
        lumen.find(volume, 1, label)


def test_pieces_that_a_mask_cuts_off_are_numbered_after_the_hollows():
    volume = three()
    label = under(volume, np.s_[:, :, :30], np.s_[:, :, 34:])
    found = [lumen.find(volume, n, label) for n in range(1, 7)]
    assert [f.mask.nonzero()[2].min() >= 34 for f in found] == [True] * 3 + [False] * 3
    for n in range(3):
        whole = lumen.find(volume, n + 1)
        assert np.array_equal(found[n].mask | found[n + 3].mask, whole.mask & (label > 0))
        assert found[n].threshold == whole.threshold


def test_a_mask_is_believed_where_the_scan_alone_would_tell_room():
    body = tube(ends=False).hu.copy()
    body[15:25, :21] = -1000  # the tube is open to the room along its length
    volume = Volume(body, np.eye(4))
    label = under(volume, np.s_[10:30, 12:30])
    found = lumen.find(volume, label=label)
    assert found.candidates[found.region - 1] == pytest.approx(np.pi * 8**2 * 80 / 1000, rel=0.07)
    assert not found.mask[label == 0].any()


def test_the_wall_of_a_masked_airway_is_the_scans_own():
    """Lung under no mask is no lumen, but the surface at -550 still runs through it unless it is sealed."""
    volume = open_ct("sample")
    whole = lumen.find(volume)
    label = ndimage.binary_dilation(whole.mask, iterations=2)
    found = lumen.find(volume, label=label.astype(np.uint8))
    assert found.threshold == whole.threshold < -550
    assert not (found.mask & ~whole.mask).any()
    assert found.mask.sum() > 0.998 * whole.mask.sum()  # all but voxels that hang on by what the growing left out


def test_several_regions_are_one_patient():
    volume = three()
    ready, alone = prepare(volume, (3, 1)), [prepare(volume, n) for n in (3, 1)]
    assert len(ready.path.pieces) == 2
    for piece, one in zip(ready.path.pieces, alone):
        assert ready.path.points[piece] == pytest.approx(one.path.points)
        assert ready.path.clearance[piece] == pytest.approx(one.path.clearance)
    assert ready.path.length == pytest.approx(sum(one.path.length for one in alone))
    assert ready.path.along[-1] == pytest.approx(ready.path.length)
    assert ready.lumen.volume_ml == pytest.approx(sum(one.lumen.volume_ml for one in alone))
    with pytest.raises(CTError, match="no region 4"):
        prepare(volume, (1, 4))
    assert np.array_equal(prepare(volume, (2,)).path.points, prepare(volume, 2).path.points)


def test_regions_in_lung_are_sealed_together():
    """Two tubes with walls that leak: whatever is neither becomes tissue, and both stay open."""
    tubes, _ = leaking()
    hu = np.concatenate([tubes.hu, tubes.hu[::-1]], axis=0)
    volume = Volume(hu, tubes.affine)
    one = prepare(volume, 1)
    both = prepare(volume, (1, 2))
    assert both.lumen.threshold == -550
    assert len(both.path.pieces) == 2
    assert both.lumen.volume_ml == pytest.approx(2 * one.lumen.volume_ml, rel=0.02)
    labels, count = ndimage.label(both.volume.hu < -550)
    assert count == 2
    assert np.array_equal(labels > 0, both.lumen.mask)
