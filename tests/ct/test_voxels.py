"""Masks of voxels: the same as scipy.ndimage and scikit-image, to the bit where floats are rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.sparse.csgraph import dijkstra
from skimage.graph import MCP_Geometric

from endorender.ct import voxels

SPACINGS = [(0.7, 0.7, 0.7), (0.5, 0.8, 1.2), (0.703125, 0.703125, 2.5)]


def masks():
    """Random masks from sparse to nearly full, blobs among them, and one that fills its box."""
    rng = np.random.default_rng(0)
    for n in range(24):
        shape = tuple(rng.integers(3, 30, 3))
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), n % 3)
        yield noise > np.quantile(noise, (0.02, 0.3, 0.7, 0.95)[n % 4]), np.array(SPACINGS[n % 3])
    yield np.ones((5, 6, 7), bool), np.array(SPACINGS[0])


@pytest.mark.parametrize(("mask", "spacing"), list(masks()))
def test_depth_is_the_euclidean_distance_transform(mask, spacing):
    expected = ndimage.distance_transform_edt(np.pad(mask, 1), spacing)[1:-1, 1:-1, 1:-1][mask]
    depth = voxels.depth(mask, spacing)
    assert depth == pytest.approx(expected, rel=1e-14)
    assert (depth.astype(np.float32) == expected.astype(np.float32)).all()


@pytest.mark.parametrize(("mask", "spacing"), list(masks()))
def test_flooding_finds_the_component_and_stops_where_it_leaks(mask, spacing):
    mask = np.pad(mask, 1)
    labels, _ = ndimage.label(mask)
    seed = np.zeros_like(mask)
    seed[tuple(np.argwhere(mask)[0])] = True
    component = labels == labels[seed][0]
    near = voxels.widened(seed, 2.0, spacing)
    leaked = int((component & ~near).sum())
    assert (voxels.flooded(mask, seed, near, leaked) == component).all()
    assert leaked == 0 or voxels.flooded(mask, seed, near, leaked - 1) is None


@pytest.mark.parametrize(("mask", "spacing"), list(masks()))
def test_ways_through_the_graph_are_as_long_as_through_the_grid(mask, spacing):
    """With a cost of one and with costs of their own, as scikit-image has them."""
    rng = np.random.default_rng(1)
    start = np.argwhere(mask)[0]
    for cost in (np.ones(mask.shape), rng.uniform(0.5, 2, mask.shape)):
        grid = MCP_Geometric(np.where(mask, cost, np.inf), sampling=tuple(spacing))
        expected, _ = grid.find_costs([start])
        steps, one, two = voxels.graph(mask, spacing)
        steps.data *= 0.5 * (cost[mask][one] + cost[mask][two])
        assert dijkstra(steps, directed=False, indices=0) == pytest.approx(expected[mask], rel=1e-12)


@pytest.mark.parametrize("shape", [(5, 40, 7), (30, 4, 9), (6, 7, 8)])
@pytest.mark.parametrize("beyond", [0, 3])
def test_slabs_cover_an_array_once(monkeypatch, shape, beyond):
    monkeypatch.setattr(voxels, "SLAB", 100)
    array = np.arange(np.prod(shape)).reshape(shape)
    out, count = np.full(shape, -1), 0
    for core, wide, inner in voxels.slabs(shape, beyond):
        assert (out[core] == -1).all()
        out[core] = array[wide][inner]
        count += 1
    assert (out == array).all()
    assert count == 1 if np.prod(shape) <= 200 else count > 1 or beyond


@pytest.mark.parametrize("by", [1, 2, 3])
def test_blocks_have_their_largest_value_and_its_place(by):
    field = np.random.default_rng(0).random((7, 6, 5), dtype=np.float32)
    mask = np.random.default_rng(1).random(field.shape) < 0.7
    best, which = voxels.coarser(field, mask, by)
    field = np.where(mask, field, 0)
    offsets = np.array(list(np.ndindex(by, by, by)))
    for block in np.ndindex(best.shape):
        part = field[tuple(slice(b * by, b * by + by) for b in block)]
        assert best[block] == part.max()
        assert not part.any() or field[tuple(np.array(block) * by + offsets[which[block]])] == part.max()


@pytest.mark.parametrize(("mask", "spacing"), list(masks())[:6])
def test_beside_is_a_dilation_by_six_neighbours(mask, spacing):
    assert (voxels.beside(mask) == ndimage.binary_dilation(mask)).all()


@pytest.mark.parametrize(("mask", "spacing"), list(masks())[:6])
def test_inner_is_an_erosion_by_six_neighbours(mask, spacing):
    assert (voxels.inner(mask) == ndimage.binary_erosion(mask)).all()


@pytest.mark.parametrize("by_mm", [0.1, 0.8, 2.5, 4.0, 90.0])
@pytest.mark.parametrize(("mask", "spacing"), [*masks(), (np.eye(3, dtype=bool)[..., None], np.ones(3))])
def test_widened_is_a_maximum_over_a_box(mask, spacing, by_mm):
    kept = mask.copy()
    size = 2 * np.maximum(1, np.rint(by_mm / spacing).astype(int)) + 1
    wide = voxels.widened(mask, by_mm, spacing)
    assert (wide == ndimage.maximum_filter(mask.view(np.uint8), size=tuple(size))).all()
    wide[:] = False
    assert (mask == kept).all()


@pytest.mark.parametrize("many", [0.0, 1.0])
@pytest.mark.parametrize(("mask", "spacing"), list(masks())[::3])
def test_depth_by_slices_or_by_places_is_the_same(mask, spacing, many, monkeypatch):
    expected = voxels.depth(mask, spacing)
    monkeypatch.setattr(voxels, "MANY", many)
    assert (voxels.depth(mask, spacing) == expected).all()


def test_in_order_changes_the_order_alone():
    array = np.asfortranarray(np.random.default_rng(0).integers(-1000, 1000, (300, 5, 70), dtype=np.int16))
    for given in (array, array[::-1, :, ::2], np.ascontiguousarray(array)):
        out = voxels.in_order(given)
        assert out.flags.c_contiguous
        assert (out == given).all()
        assert out.dtype == given.dtype
