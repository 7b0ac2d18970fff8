"""Lumen and path in hollows of other forms than a tube: a stomach, a sinus behind a narrow door, a collapsed colon."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import Volume, lumens, prepare
from endorender.ct.anatomy.lumen import sample


def scan(hollow: np.ndarray, pitch: float) -> Volume:
    """Air in soft tissue, with a scanner's blur (0.7 mm) and noise."""
    hu = ndimage.gaussian_filter(np.where(hollow, -1000.0, 40.0), 0.7 / pitch)
    hu += np.random.default_rng(5).normal(0, 12, hu.shape)
    return Volume(np.rint(hu).astype(np.int16), np.diag([pitch, pitch, pitch, 1.0]))


def grid(size: tuple[float, float, float], pitch: float) -> list[np.ndarray]:
    return np.meshgrid(*(np.arange(0, s, pitch) for s in size), indexing="ij")


def ball(at, centre, radii):
    return sum(((a - c) / r) ** 2 for a, c, r in zip(at, centre, radii)) < 1


def along(at, points, radius):
    """Everything within `radius` of a broken line."""
    near = np.zeros(at[0].shape, bool)
    for a, b in itertools.pairwise(points):
        a, b = np.array(a, float), np.array(b, float)
        t = sum((x - p) * d for x, p, d in zip(at, a, b - a)) / float((b - a) @ (b - a))
        t = np.clip(t, 0, 1)
        near |= sum((x - p - t * d) ** 2 for x, p, d in zip(at, a, b - a)) < radius**2
    return near


def check(ready, hollow: np.ndarray, pitch: float) -> None:
    """The lumen is the hollow, and the path stays within it."""
    assert ready.lumen.volume_ml == pytest.approx(hollow.sum() * pitch**3 / 1000, rel=0.04)
    assert (sample(ready.volume, ready.volume.hu, ready.path.points) < -700).all()
    assert ready.path.clearance.min() > 0


def test_stomach():
    """A wide bag with a gullet above and a gateway below: the way leads through all three."""
    at = grid((110, 90, 190), 1.5)
    hollow = ball(at, (55, 45, 100), (38, 28, 60)) | along(at, [(55, 45, 180), (55, 45, 140)], 8)
    hollow |= along(at, [(40, 45, 55), (20, 45, 30), (20, 45, 12)], 7)
    ready = prepare(scan(hollow, 1.5))
    check(ready, hollow, 1.5)
    heights = np.sort(ready.path.points[[0, -1], 2])
    assert heights[0] < 35
    assert heights[1] > 160
    assert ready.lumen.clearance.max() == pytest.approx(28, abs=3)


def test_sinus_behind_a_narrow_door():
    """A nasal passage and a maxillary sinus of 14 ml behind an ostium. Of 7 mm, as after surgery, it is part of the
    way; of 3 mm, as by nature, no scope passes, and passage and sinus are two lumens with a gap that is reported."""
    at = grid((70, 60, 90), 0.6)
    passage = along(at, [(15, 8, 30), (15, 52, 30)], 5)
    sinus = ball(at, (46, 30, 42), (14, 15, 16))
    door = [(15, 30, 30), (46, 30, 42)]
    hollow = passage | sinus | along(at, door, 3.5)
    ready = prepare(scan(hollow, 0.6))
    check(ready, hollow, 0.6)
    across = ready.path.points[:, 0]
    assert across.min() < 20
    assert across.max() > 40
    assert ready.path.clearance.min() == pytest.approx(3.5, abs=1.0)
    rows, gaps = lumens(scan(passage | sinus | along(at, door, 1.5), 0.6))
    assert [row["volume_ml"] for row in rows] == [pytest.approx(14, rel=0.06), pytest.approx(3.9, rel=0.06)]
    (gap,) = gaps
    assert gap["gap_mm"] < 8
    assert gap["at_mm"] == pytest.approx([25, 30, 34], abs=3)


def test_collapsed_segment_is_reported():
    """A colon whose middle 18 mm lie wall on wall: two lumens, and the gap between them with its place."""
    at = grid((50, 50, 150), 1.0)
    hollow = along(at, [(25, 25, 20), (25, 25, 60)], 12) | along(at, [(25, 25, 102), (25, 25, 135)], 10)
    found, (gap,) = lumens(scan(hollow, 1.0))
    assert len(found) == 2
    assert gap["regions"] == [1, 2]
    assert gap["gap_mm"] == pytest.approx(42 - 22, abs=3)
    assert gap["at_mm"] == pytest.approx([25, 25, 82], abs=4)
