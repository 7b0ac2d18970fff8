"""Phantom colons: bytes, dimensions, and that two seeds are two people."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from endorender.ct import CTError, open_ct, phantoms
from endorender.ct.lumen import centreline, find


@pytest.fixture(scope="module")
def people():
    return {seed: open_ct(f"phantom:{seed}") for seed in (0, 1, 2)}


@pytest.fixture(scope="module")
def lumens(people):
    return {seed: find(volume) for seed, volume in people.items()}


@pytest.fixture(scope="module")
def ways(people, lumens):
    return {seed: centreline(people[seed], lumens[seed]) for seed in people}


def test_same_seed_same_bytes(people):
    again = phantoms.colon(2)
    assert hashlib.sha256(again.hu.tobytes()).digest() == hashlib.sha256(people[2].hu.tobytes()).digest()
    assert np.array_equal(again.affine, people[2].affine)


def test_values_are_those_of_a_scan(people, lumens):
    for seed, volume in people.items():
        assert volume.hu.dtype == np.int16
        mask = lumens[seed].mask
        depth = ndimage.distance_transform_edt(~mask, sampling=volume.spacing)
        assert np.median(volume.hu[lumens[seed].clearance > 3]) == pytest.approx(-1000, abs=3)
        # 1.0 mm outside the iso-surface the blurred wall is tissue, 6 mm outside there is fat.
        assert -60 < np.median(volume.hu[(depth > 1.2) & (depth < 1.8)]) < 50
        assert np.median(volume.hu[depth > 6]) == pytest.approx(-100, abs=15)


def test_lumen_is_one_closed_hollow(people, lumens):
    for seed, volume in people.items():
        lumen = lumens[seed]
        assert lumen.threshold == -550
        assert len(lumen.candidates) == 1
        box = ndimage.find_objects(lumen.mask.astype(np.int8))[0]
        for span, size in zip(box, volume.shape):
            assert span.start >= 2
            assert span.stop <= size - 2


def test_dimensions_are_those_of_a_colon(lumens, ways):
    for seed, path in ways.items():
        assert 150 < path.length < 300
        assert 6 < np.median(path.clearance) < 20  # between folds the calibre is 29 to 46 mm; folds narrow it
        assert path.clearance.min() > 2.5
        calibre = 2 * np.sqrt(lumens[seed].volume_ml * 1000 / path.length / np.pi)
        assert 22 < calibre < 48


def test_two_seeds_look_like_two_people(people, lumens, ways):
    drawn = [phantoms.draw(np.random.default_rng([seed, 0xC0107])) for seed in people]
    for field in ("radius", "fold_spacing", "fold_height", "wall", "taenia", "length"):
        assert len({getattr(person, field) for person in drawn}) == len(drawn)
    shapes = {volume.shape for volume in people.values()}
    assert len(shapes) == len(people)
    volumes = sorted(lumen.volume_ml for lumen in lumens.values())
    assert volumes[1] > 1.05 * volumes[0]
    # Not one shape scaled: the direction of the way differs point by point.
    curves = [way.points[np.linspace(0, len(way.points) - 1, 60).astype(int)] for way in ways.values()]
    for a in range(3):
        for b in range(a):
            p, q = (w - w.mean(axis=0) for w in (curves[a], curves[b]))
            u, _, vt = np.linalg.svd(p.T @ q)
            residual = np.linalg.norm(p @ (u @ vt) - q, axis=1).mean()
            assert residual > 5


def test_folds_stand_in_the_lumen(people, lumens, ways):
    """The section along the way opens and closes by folds every 1 to 3 cm."""
    volume, lumen, path = people[0], lumens[0], ways[0]
    inside = np.argwhere(lumen.mask)
    world = volume.to_world(inside.astype(float))
    _, nearest = cKDTree(path.points).query(world)
    area = np.bincount(nearest, minlength=len(path.points)).astype(float)
    inner = ndimage.gaussian_filter1d(area, 1.5)[15:-15]
    slow = ndimage.gaussian_filter1d(inner, 15)
    ripple = inner / slow - 1
    peaks = np.flatnonzero((ripple[1:-1] > ripple[2:]) & (ripple[1:-1] > ripple[:-2]) & (ripple[1:-1] > 0.03))
    assert ripple.std() > 0.05
    assert 8 < len(inner) / len(peaks) < 35


@pytest.mark.parametrize("spec", ["phantom:", "phantom:-1", "phantom:one", "phantom:1.5"])
def test_seed_must_be_a_whole_number(spec):
    with pytest.raises(CTError, match="phantom:SEED") as caught:
        open_ct(spec)
    assert caught.value.code == "BAD_SPEC"
