"""Phantom colons: bytes, dimensions, and that two seeds are two people."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import CTError, Prepared, open_ct, phantoms, prepare
from endorender.ct.anatomy.lumen import centreline, find
from endorender.ct.phantoms import walls
from endorender.ct.phantoms.people import draw
from endorender.dataset import configure
from tests.ct import family as family_of


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


def test_dimensions_are_those_of_the_person(people, lumens, ways):
    for seed, path in ways.items():
        person = phantoms.person(seed)
        # The way ends where the blind ends narrow, and cuts corners.
        assert 0.85 * person.length < path.length < 1.05 * person.length
        assert path.clearance.min() > 2.5
        assert np.median(path.clearance) < person.radius
        calibre = 2 * np.sqrt(lumens[seed].volume_ml * 1000 / path.length / np.pi)
        assert 0.75 * 2 * person.radius < calibre < 1.15 * 2 * person.radius  # folds take some, wide stretches give


def test_two_seeds_look_like_two_people(people, lumens, ways):
    drawn = [phantoms.person(seed) for seed in people]
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


@pytest.fixture(scope="module")
def family():
    return [phantoms.person(seed) for seed in range(400)]


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("radius", 8, 20),
        ("length", 260, 340),
        ("fold_height", 0.15, 0.5),
        ("fold_spacing", 9, 32),
        ("fold_width", 1.4, 5),
        ("noise", 6, 30),
        ("wall", 1.5, 3),
    ],
)
def test_the_family_spans_its_range(family, field, low, high):
    """Nobody lies outside, and some lie in the tenth at either end."""
    values = np.array([getattr(person, field) for person in family])
    assert low <= values.min()
    assert values.max() <= high
    share = 0.1 * (high - low)
    assert np.mean(values < low + share) > 0.03
    assert np.mean(values > high - share) > 0.01


def test_the_family_has_every_kind(family):
    turns = np.degrees([flexure.turn for person in family for flexure in person.flexures])
    assert 10 <= turns.min() < 12
    assert 115 < turns.max() <= 125
    assert {len(person.flexures) for person in family} == {1, 2, 3}
    # Haustra lost and kept; crescents alone, and rings.
    for share in (np.mean([person.smooth > 0 for person in family]), np.mean([person.rings > 0 for person in family])):
        assert 0.4 < share < 0.6
    polyps = [(polyp, person) for person in family for polyp in person.polyps]
    kinds = [polyp.kind for polyp, _ in polyps]
    assert min(kinds.count(kind) / len(kinds) for kind in ("sessile", "flat", "stalked")) > 0.2
    widths = [polyp.width for polyp, _ in polyps]
    assert min(widths) < 3
    assert max(widths) > 15
    assert 5 < np.median(widths) < 8
    for polyp, person in polyps:
        assert (polyp.stalk > 0) == (polyp.kind == "stalked")
        assert polyp.kind != "flat" or polyp.height <= 2.5  # as Paris 0-IIa has it
        assert polyp.stalk + polyp.height < 1.2 * person.radius, "none closes the lumen"


@pytest.fixture(scope="module")
def tables():
    """(N, 360) mm of a dozen people, the centreline's bends being none of the wall's."""
    found = {}
    for seed in range(100, 112):
        rng = np.random.default_rng(seed)
        person = draw(rng)
        n = round(person.length / walls.STEP) + 1
        points = np.stack([np.zeros(n), np.zeros(n), np.arange(n) * walls.STEP], 1)
        frame = walls.Frame(points, *np.broadcast_to(np.eye(3)[[2, 0, 1]][:, None], (3, n, 3)))
        found[seed] = person, walls.table(person, frame, rng)
    return found


def test_walls_have_the_radii_and_folds_of_their_person(tables):
    radii, depths, apart = [], [], []
    for person, wall in tables.values():
        radius = family_of.radii(wall, walls.STEP)
        assert np.median(radius) == pytest.approx(person.radius, rel=0.25)
        deep, far = family_of.folds(wall, walls.STEP)
        radii.append(radius)
        depths.append(deep)
        apart.append(far)
        assert wall[60:-60].min() > 0.5 * walls.OPEN, "the lumen stays open"
    radii, depths, apart = (np.percentile(np.concatenate(x), [10, 50, 90]) for x in (radii, depths, apart))
    assert radii == pytest.approx([9.0, 16.0, 19.5], abs=1.5)
    assert depths == pytest.approx([0.10, 0.20, 0.41], abs=0.05)
    assert apart == pytest.approx([9, 17, 37], rel=0.2)


def test_haustra_are_lost_where_a_person_has_lost_them(tables):
    seen = 0
    for person, wall in tables.values():
        if not person.smooth:
            continue
        seen += 1
        into = 1 - wall / np.maximum(family_of.radii(wall, walls.STEP), 1)[:, None]
        ends, border = round(25 / walls.STEP), round((1 - person.smooth) * len(wall))
        kept, lost = into[ends : border - ends], into[border + ends : -ends]
        assert np.percentile(lost, 95) < 0.5 * np.percentile(kept, 95) + 0.1
        assert lost.std() < kept.std()
    assert seen > 3


def test_the_lumen_of_the_scan_is_the_wall_that_was_meant(people, lumens, ways):
    """Across the way, by rays through the HU field: folds as deep as the person's."""
    for seed in people:
        person = phantoms.person(seed)
        wall = family_of.walls(Prepared(people[seed], lumens[seed], ways[seed]))
        assert np.isfinite(wall).mean() > 0.97
        assert np.median(family_of.radii(wall, 1.0)) == pytest.approx(person.radius, rel=0.25)
        deep, far = family_of.folds(wall, 1.0)
        assert 0.4 * person.fold_height < np.percentile(deep, 90) < 2.0 * person.fold_height
        assert person.fold_spacing / 2.5 < np.median(far) < 3 * person.fold_spacing


def depth_range(ready_of, views):
    """10th, 50th and 90th percentiles over the views of several people: of p95 / median, and of the nearest (mm)."""
    found = []
    for seed, ready in ready_of:
        config = configure(preset="training", ct=f"phantom:{seed}", views=views, size="40x32")
        found.append(family_of.views(ready, config, f"p{seed}"))
    return np.percentile(np.concatenate(found), [10, 50, 90], axis=0).T[:2]


def test_views_reach_from_near_walls_far_down_the_lumen(people, lumens, ways):
    """Depth begins at a few mm, and its 95th percentile is two to four times the median."""
    ready_of = [(seed, Prepared(people[seed], lumens[seed], ways[seed])) for seed in people]
    ratio, near = depth_range(ready_of, 24)
    assert ratio == pytest.approx([2.2, 3.4, 4.3], abs=0.6)
    assert near == pytest.approx([2.0, 3.6, 7.0], rel=0.4)


@pytest.mark.slow
def test_the_whole_family_s_views_have_this_range():
    family = {seed: prepare(open_ct(f"phantom:{seed}")) for seed in range(50, 62)}
    for seed, ready in family.items():  # neither fold nor polyp closes the way
        assert ready.path.length > 0.85 * phantoms.person(seed).length
    ratio, near = depth_range(family.items(), 25)
    assert ratio == pytest.approx([2.1, 3.3, 4.3], abs=0.3)
    assert near == pytest.approx([2.2, 4.4, 8.7], rel=0.2)


@pytest.mark.parametrize("spec", ["phantom:", "phantom:-1", "phantom:one", "phantom:1.5"])
def test_seed_must_be_a_whole_number(spec):
    with pytest.raises(CTError, match="phantom:SEED") as caught:
        open_ct(spec)
    assert caught.value.code == "BAD_SPEC"
