"""Camera poses along a centreline."""

from __future__ import annotations

import numpy as np
import pytest

from endorender.ct import CTError, lumen
from endorender.scene.trajectory import poses
from tests.ct.test_lumen import tube


@pytest.fixture(scope="module")
def flight():
    volume = tube(9.0)
    found = lumen.find(volume)
    return volume, found, lumen.centreline(volume, found)


def test_poses_are_rigid_right_handed_and_deterministic(flight):
    cameras = poses(*flight, views=12, seed=5)
    assert cameras.shape == (12, 4, 4)
    rotation = cameras[:, :3, :3]
    assert np.swapaxes(rotation, 1, 2) @ rotation == pytest.approx(np.broadcast_to(np.eye(3), (12, 3, 3)), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(np.ones(12))
    assert (cameras[:, 3] == [0, 0, 0, 1]).all()
    assert np.array_equal(cameras, poses(*flight, views=12, seed=5))
    assert not np.array_equal(cameras, poses(*flight, views=12, seed=6))


@pytest.mark.parametrize("clearance", [2.5, 5.0, 7.5])
def test_never_closer_to_the_wall_than_asked(flight, clearance):
    volume, found, path = flight
    cameras = poses(volume, found, path, views=60, seed=1, min_clearance_mm=clearance, jitter=1.0)
    assert lumen.sample(volume, found.clearance, cameras[:, :3, 3]).min() >= clearance
    # The wall itself, not only its map: the tube's axis is x = 13, y = 25 and its radius 9.
    off_axis = np.hypot(cameras[:, 0, 3] - 13, cameras[:, 1, 3] - 25)
    assert off_axis.max() <= 9 - clearance + 0.6


def test_jitter_fills_the_room_and_none_stays_on_the_way(flight):
    wide = poses(*flight, views=80, seed=2, jitter=1.0)
    off_axis = np.hypot(wide[:, 0, 3] - 13, wide[:, 1, 3] - 25)
    assert off_axis.max() > 4
    still = poses(*flight, views=80, seed=2, jitter=0.0)
    nearest = np.linalg.norm(still[:, None, :3, 3] - flight[2].points[None], axis=-1).min(axis=1)
    assert nearest.max() < 1e-9


def test_looks_ahead_and_advances(flight):
    path = flight[2]
    cameras = poses(*flight, views=10, seed=3, jitter=0.3, look_aside=0.0)
    heading = path.points[-1] - path.points[0]
    heading /= np.linalg.norm(heading)
    assert (cameras[:, :3, 2] @ heading).min() > 0.75
    progress = poses(*flight, views=10, seed=3, jitter=0.0)[:, :3, 3] @ heading
    assert (np.diff(progress) >= 0).all()


def test_look_aside_and_roll_stay_within_their_bounds(flight):
    straight = poses(*flight, views=200, seed=4, jitter=0.0, look_aside=0.0, roll=0.0)
    aside = poses(*flight, views=200, seed=4, jitter=0.0, look_aside=10.0, roll=0.0)
    angles = np.degrees(np.arccos(np.clip((straight[:, :3, 2] * aside[:, :3, 2]).sum(axis=1), -1, 1)))
    assert angles.max() <= np.hypot(20, 20) + 1e-6
    assert 8 < angles.mean() < 16
    rolled = poses(*flight, views=200, seed=4, jitter=0.0, look_aside=0.0, roll=30.0)
    assert rolled[:, :3, 2] == pytest.approx(straight[:, :3, 2])
    turns = np.degrees(np.arccos(np.clip((straight[:, :3, 0] * rolled[:, :3, 0]).sum(axis=1), -1, 1)))
    assert 20 < turns.max() <= 30 + 1e-6


def test_approach_goes_on_along_the_line_of_sight_up_to_the_wall(flight):
    volume, found, _ = flight
    how = {"views": 60, "seed": 8, "look_aside": 40.0, "jitter": 0.5, "min_clearance_mm": 1.5}
    far, half, near = (poses(*flight, **how, approach=share) for share in (0.0, 0.5, 1.0))
    gone = near[:, :3, 3] - far[:, :3, 3]
    assert np.array_equal(near[:, :3, :3], far[:, :3, :3])
    along = (gone * far[:, :3, 2]).sum(1)
    assert np.linalg.norm(gone - along[:, None] * far[:, :3, 2], axis=1).max() < 1e-9
    assert along.min() >= 0
    assert along.max() <= 25 + 1e-9
    assert half[:, :3, 3] == pytest.approx((far + near)[:, :3, 3] / 2)
    clearance = lumen.sample(volume, found.clearance, near[:, :3, 3])
    assert clearance.min() >= 1.5
    assert (clearance[along < 24.9] < 1.5 + 0.6).all(), "stopped by a wall, within a voxel"
    assert (along < 24.9).mean() > 0.5


def test_ahead_aims_farther_along_the_way(flight):
    path = flight[2]
    heading = path.points[-1] - path.points[0]
    heading /= np.linalg.norm(heading)
    turned = []
    for times in (0.5, 1.0, 4.0):
        cameras = poses(*flight, views=40, seed=9, jitter=1.0, look_aside=0.0, ahead=times)[:30]
        turned.append(np.degrees(np.arccos((cameras[:, :3, 2] @ heading).clip(-1, 1))).mean())
    assert turned[0] > turned[1] > 1.5 * turned[2], "the farther the aim, the less a place off the axis turns it"


def test_up_is_anterior_and_does_not_flip(flight):
    cameras = poses(*flight, views=40, seed=7, jitter=0.0, look_aside=0.0, roll=0.0)
    down = cameras[:, :3, 1]
    assert (down[:, 1] < -0.9).all()  # RAS y points to the front; the image's y points down


def test_too_narrow_is_said(flight):
    with pytest.raises(CTError, match="too narrow") as caught:
        poses(*flight, views=3, seed=0, min_clearance_mm=20)
    assert caught.value.code == "NO_PATH"


@pytest.mark.parametrize(("name", "value"), [("views", 0), ("jitter", 1.5), ("approach", -0.1)])
def test_nonsense_is_refused(flight, name, value):
    with pytest.raises(ValueError, match=name):
        poses(*flight, **{"views": 2, "seed": 0, name: value})
