"""A scope has a body, and poses keep it out of tissue."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from endorender.ct import CTError, lumen, open_ct, prepare
from endorender.dataset import configure, patient
from endorender.errors import Notice
from endorender.scene import scopes
from endorender.scene.scope import Own
from endorender.scene.trajectory import poses, suitable, suits
from tests.ct.test_lumen import tube


@pytest.fixture(scope="module")
def airway():
    return prepare(open_ct("sample"))


@pytest.fixture(scope="module")
def pipe():
    """A straight tube of radius 9 mm about x = 13, y = 25."""
    volume = tube(9.0)
    found = lumen.find(volume)
    return volume, found, lumen.centreline(volume, found)


def in_tissue(volume, found, cameras, radius):
    """(V,) whether the rim of a tip lies in tissue, by HU, as dense as one likes."""
    a = np.linspace(0, 2 * np.pi, 90)
    rim = radius * np.stack([np.cos(a), np.sin(a), 0 * a], -1) @ np.swapaxes(cameras[:, :3, :3], 1, 2)
    return (lumen.sample(volume, volume.hu, rim + cameras[:, None, :3, 3]) >= found.threshold).any(1)


def test_of_the_shipped_airway_a_colonoscope_is_told_from_what_fits(airway):
    volume, found, _ = airway
    bare = poses(*airway, views=64, seed=0)
    assert in_tissue(volume, found, bare, 6.6).mean() > 0.8, "what was wrong"
    chosen = suitable(*airway)
    assert chosen == scopes.build("eb-1570k")
    kept = poses(*airway, views=64, seed=0, scope=chosen)
    assert not in_tissue(volume, found, kept, chosen.radius).any()
    assert chosen.fits(volume, found, kept).all()
    again = poses(*airway, views=64, seed=0, scope=chosen)
    assert kept.tobytes() == again.tobytes()


@pytest.mark.parametrize("name", [name for name in scopes if name != "own"])
def test_no_registered_scope_is_put_into_the_wall(airway, name):
    scope = scopes.build(name)
    for how in ({}, {"min_clearance_mm": 1.0, "ahead": 4.0, "approach": 1.0}):
        kept = poses(*airway, views=24, seed=3, jitter=1.0, look_aside=40.0, scope=scope, **how)
        assert scope.fits(airway.volume, airway.lumen, kept).all()
        assert not in_tissue(airway.volume, airway.lumen, kept, scope.radius).any()
        least = how.get("min_clearance_mm", 2.5)
        assert lumen.sample(airway.volume, airway.lumen.clearance, kept[:, :3, 3]).min() >= least - 1e-6


def test_a_wall_may_be_near_before_the_lens_and_not_in_the_body(pipe):
    """A scope of 8 mm in a tube of radius 9 about x = 13, y = 25, that looks straight at its wall from 9 - x mm."""
    volume, found, path = pipe
    scope = Own(diameter=8.0, rigid=4.0)
    middle = path.points[len(path.points) // 2]

    def towards(mm, turn=0.0):
        pose = np.eye(4)
        forward = np.array([np.cos(turn), 0.0, np.sin(turn)])
        pose[:3, :3] = np.stack([np.array([0.0, 1.0, 0.0]), np.cross(forward, [0.0, 1.0, 0.0]), forward], 1)
        pose[:3, 3] = np.array([13.0, 25.0, middle[2]]) + mm * np.array([1.0, 0.0, 0.0])
        return pose[None]

    assert scope.fits(volume, found, towards(0.0)).all()
    # The rim of the face, 4 mm off its axis, meets the round wall at sqrt(81 - 16) = 8.1 mm.
    assert scope.fits(volume, found, towards(7.0)).all(), "2 mm before the lens"
    assert not scope.fits(volume, found, towards(8.6)).any()
    assert not scope.fits(volume, found, towards(6.0, np.pi / 2)).any(), "along the wall its side would be in it"
    # What stands within the face, and not at its rim, is seen too.
    hu = volume.hu.copy()
    at = np.rint(volume.to_voxel(np.array([13.0, 25.0 + 2.0, middle[2]]))).astype(int)
    hu[at[0] - 1 : at[0] + 2, at[1], at[2]] = 40
    assert not scope.fits(dataclasses.replace(volume, hu=hu), found, towards(0.0)).all()


def test_the_stiff_end_behind_the_lens_has_room_too(pipe):
    scope = Own(diameter=10.0, rigid=30.0)
    kept = poses(*pipe, views=40, seed=1, jitter=1.0, look_aside=60.0, scope=scope)
    back = kept[:, None, :3, 3] - np.linspace(0, 30, 31)[:, None] * kept[:, None, :3, 2]
    assert (np.hypot(back[..., 0] - 13, back[..., 1] - 25) <= 9 - 5 + 1.0).all()
    turned = np.degrees(np.arccos(np.abs(kept[:, 2, 2]).clip(-1, 1)))
    assert turned.max() > 5, "what has room keeps its turn"


def test_a_dataset_says_where_its_scope_has_no_room(airway):
    config = configure(ct="sample", scope="13.2")
    with pytest.warns(Notice, match=r"p001: a scope of 13.2 mm has room along \d+% of the way; all views lie there"):
        scope = patient._scope(config, "p001", airway)
    assert scope == Own(diameter=13.2)
    assert patient._scope(configure(ct="sample", scope="none"), "p001", airway) is None
    assert patient._scope(configure(ct="sample"), "p001", airway) == scopes.build("eb-1570k")
    # Poses that are given stay; of a scope that is named it is said where it lies in tissue.
    given = poses(*airway, views=8, seed=0)
    stuck = int(np.flatnonzero(~scope.fits(airway.volume, airway.lumen, given))[0]) + 1
    with pytest.warns(Notice, match=rf"of 8 given poses a scope of 13.2 mm lies in tissue, first at number {stuck}$"):
        assert patient._tried(config, "p001", airway, given) == scope
    assert patient._tried(configure(ct="sample"), "p001", airway, given) is None


def test_what_fits_nowhere_is_refused_with_what_would(pipe):
    with pytest.raises(
        CTError, match=r"a scope of 19 mm fits nowhere .* one of (1\d\.\d) mm would: --scope"
    ) as refused:
        poses(*pipe, views=4, seed=0, scope=Own(diameter=19.0))
    width = float(str(refused.value).split("one of ")[1].split(" mm")[0])
    assert 15 < width < 18.1
    assert len(poses(*pipe, views=4, seed=0, scope=Own(diameter=width))) == 4
    assert suits(*pipe, Own(diameter=width)) > 0
    assert suits(*pipe, Own(diameter=4.0)) > 0.7
