"""Large scans go slab by slab and on blocks of voxels: the same lumen to the byte, and the same way to a millimetre."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from endorender.ct import CTError, Volume, isotropic, lumen, open_ct, phantoms, prepare, seal, voxels
from endorender.ct.anatomy import hollows

prepared = sys.modules["endorender.ct.prepare"]  # the package has a function of this name


@pytest.fixture(scope="module")
def airway() -> Volume:
    return isotropic(open_ct("sample"))


def test_sealing_slab_by_slab_changes_no_byte(airway, monkeypatch):
    found = lumen.find(airway)
    whole, closed = seal(airway, found)
    seen = []
    divided = prepared._divided
    monkeypatch.setattr(prepared, "_divided", lambda *given: seen.append(given[0].shape) or divided(*given))
    monkeypatch.setattr(voxels, "SLAB", 2**18)
    parts, same = seal(airway, found)
    assert len(seen) > 2
    assert max(np.prod(shape) for shape in seen) < 0.7 * airway.hu.size
    assert np.array_equal(parts.hu, whole.hu)
    assert np.array_equal(same.mask, closed.mask)


def test_slabs_that_disagree_are_divided_as_a_whole(monkeypatch):
    monkeypatch.setattr(voxels, "SLAB", 2**10)
    calls = []

    def divided(part, mask, spacing):
        calls.append(part.shape)
        return np.full(part.shape, len(calls) % 2 == 0)

    monkeypatch.setattr(prepared, "_divided", divided)
    prepared._mine(np.zeros((8, 8, 200), np.int16), np.zeros((8, 8, 200), bool), np.ones(3))
    assert calls[-1] == (8, 8, 200)
    assert len(calls) == 3


@pytest.fixture(scope="module")
def colon():
    return prepare(phantoms.colon(5))


@pytest.mark.parametrize("places", [200_000, 20_000, 5_000])
def test_a_way_on_blocks_of_voxels_is_the_same_way(places, colon, monkeypatch):
    ready = colon
    monkeypatch.setattr(lumen, "MOST_PLACES", places)
    path = lumen.centreline(ready.volume, ready.lumen)
    apart, _ = cKDTree(ready.path.points).query(path.points)
    assert np.median(apart) < 0.8
    assert apart.max() < 6
    assert path.length == pytest.approx(ready.path.length, rel=0.03)
    assert path.clearance.min() > 0.8 * ready.path.clearance.min()
    assert path.clearance.mean() == pytest.approx(ready.path.clearance.mean(), rel=0.03)


def test_blocks_do_not_join_what_does_not_hang_together(monkeypatch):
    """Two tubes with a membrane's hole of 1.5 mm between: no scope passes, on blocks of voxels either."""
    x, y, z = np.meshgrid(*(np.arange(n) * 0.5 for n in (48, 48, 200)), indexing="ij")
    off = np.hypot(x - 12, y - 12)
    hollow = (off < 8) & (np.abs(z - 50) < 46) & ((np.abs(z - 60) > 0.8) | (off < 1.5))
    hu = ndimage.gaussian_filter(np.where(hollow, -1000.0, 40.0), 0.5)
    volume = Volume(np.rint(hu).astype(np.int16), np.diag([0.5, 0.5, 0.5, 1.0]))
    found = lumen.find(volume)
    for places in (500_000, 5_000):
        monkeypatch.setattr(lumen, "MOST_PLACES", places)
        path = lumen.centreline(volume, found)
        assert path.points[:, 2].max() < 60
        assert path.points[:, 2].min() < 12


def test_hollows_are_sought_once_a_scan(airway, monkeypatch):
    first = hollows.of(airway)
    monkeypatch.setattr(hollows, "_labelled", None)
    assert hollows.of(airway) is first
    lumen.find(airway)
    with pytest.raises(CTError):
        lumen.find(airway, region=9)
