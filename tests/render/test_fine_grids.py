"""Voxels of 0.8, 0.5 and 0.4 mm: where they are fine, the blurred field lies on a coarser grid of its own."""

import functools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from endorender.ct.phantoms.colons import PITCH, colon
from endorender.ct.volume import Volume
from endorender.render.depth.exact import camera_in_grid, first_hits
from endorender.render.device import backend
from endorender.render.medium import vessels
from endorender.render.medium.grid import Grid
from endorender.render.medium.prepared import prepare
from endorender.scene import Mucosa
from tests.render.scenes import THRESHOLD, tube_scene

PITCHES = (0.8, 0.5, 0.4)


@functools.cache
def block(pitch):
    """(48 * 0.8 mm)³ of a phantom about a place in its lumen, on a grid of about `pitch` mm, with a scanner's noise."""
    whole = colon(1).hu
    air = np.argwhere(whole < -900)
    low = np.clip(air[len(air) // 2] - 24, 0, np.array(whole.shape) - 48)
    hu = zoom(whole[tuple(slice(a, a + 48) for a in low)].astype(np.float32), PITCH / pitch, order=3)
    if pitch != PITCH:
        hu += 20 * gaussian_filter(np.random.default_rng(0).standard_normal(hu.shape), 0.6)
    spacing = PITCH * 47 / (np.array(hu.shape) - 1)
    return Volume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), np.diag([*spacing, 1.0]))


@functools.cache
def trees(pitch):
    backend.ensure()
    p = prepare(block(pitch))
    return vessels.grow(Grid(p.host, p.spacing), p.smooth, THRESHOLD, Mucosa(seed=1))


def test_the_blurred_field_knows_its_grid():
    backend.ensure()
    for pitch, times in zip(PITCHES, (1, 2, 2)):
        p = prepare(block(pitch))
        assert p.smooth.spacing == pytest.approx(times * p.spacing)
        blurred = gaussian_filter(p.host.astype(float), 0.9 / p.spacing, mode="nearest")
        points = np.random.default_rng(0).uniform(4, 30, (500, 3))
        # Between nodes a blurred ramp is nearly straight.
        assert np.abs(p.smooth.at(points) - Grid(blurred, p.spacing).at(points)).max() < 40


@pytest.mark.parametrize("pitch", PITCHES)
def test_kernels_and_vessels_take_the_same_normals(pitch):
    backend.ensure()
    p = prepare(block(pitch))
    centre = np.argwhere(block(pitch).hu < -900).mean(0) * p.spacing
    open_to = np.argwhere(block(pitch).hu < -990) * p.spacing
    pose = np.eye(4)
    pose[:3, 3] = open_to[np.linalg.norm(open_to - centre, axis=1).argmin()]
    scene = tube_scene().with_(medium=block(pitch), world_from_camera=pose)
    d = np.random.default_rng(0).normal(size=(400, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    t, normal, _ = first_hits(scene, d)
    at = camera_in_grid(p, pose)[0] + t[:, None] * d
    # Beyond the grid's border the two go on in different ways.
    met = ((at > 2) & (at < 46 * PITCH - 1)).all(1)
    assert met.sum() > 200
    here = p.smooth.normals(at[met])
    assert np.abs((here * normal[met]).sum(1)).min() > 0.9999


@pytest.mark.parametrize("pitch", PITCHES)
def test_vessels_run_on_under_the_wall(pitch):
    found = trees(pitch)
    spacing = prepare(block(pitch)).spacing
    field = Grid(block(pitch).hu, spacing)
    s = np.linspace(0, 1, 5)[:, None, None]
    axes = (found.start * (1 - s) + found.end * s).reshape(-1, 3)
    assert (field.at(axes) < THRESHOLD).mean() < 0.005
    # Tissue over a vessel: of the outermost point of its wall, too.
    smooth = prepare(block(pitch)).smooth
    radius = (found.radius[:, :1].T * (1 - s[..., 0]) + found.radius[:, 1:].T * s[..., 0]).reshape(-1, 1)
    assert (field.at(axes + radius * smooth.normals(axes)) < THRESHOLD).mean() < 0.01
    # Where one edge ends, in its parent, another begins, but at the few roots; none is a jump.
    n = len(found.start) // 2
    gap, near = cKDTree(found.start[:n]).query(found.end[n:], k=8)
    outside = (gap - found.radius[:n, 0][near]).min(1) > 0
    assert outside.mean() < 0.01
    assert np.linalg.norm(found.end - found.start, axis=1).max() < 1.2
    assert found.area == pytest.approx(trees(PITCHES[0]).area, rel=0.03)
