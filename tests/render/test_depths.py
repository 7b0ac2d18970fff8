"""Median and expected depth against closed forms, and against the free flights that the path tracer samples."""

import numpy as np
import pytest

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import depth_gaps, geometry, optical_depths
from endorender.render.depth.exact import camera_in_grid
from endorender.render.device import backend
from endorender.render.medium.field import Medium
from endorender.render.medium.labels import held_blocks
from endorender.render.medium.majorants import cells
from endorender.render.medium.prepared import prepare
from endorender.render.medium.table import pack_table
from endorender.render.medium.traits import Traits
from endorender.render.transport import tracking
from endorender.scene import LOOKS, Endoscope, Fisheye, Pinhole, Point, Scene, Tissue
from tests.render.scenes import THRESHOLD, WALL, affine, cube_scene, from_distance, tube_scene

SPACING = (0.8, 0.8, 1.0)
START = 6.37  # mm, along z: where tissue begins, between voxels


def slab(surface, tissue, camera=None, end=1e3, slope=400.0, shape=(40, 40, 60)):
    """Tissue from z = START to z = end, seen straight on."""
    matrix = affine(SPACING, translation=(-16.0, -16.0, -5.0))
    volume = from_distance(lambda p: np.minimum(p[..., 2] - START, end - p[..., 2]), shape, matrix, slope)
    camera = camera or Pinhole(width=9, height=7, fov=60)
    return Scene(volume, camera, np.eye(4), (Endoscope(),), tissue, THRESHOLD, surface)


@pytest.mark.parametrize("sigma_t", [0.7, 3.0, 12.0])
@pytest.mark.parametrize("camera", [Pinhole(width=9, height=7, fov=60), Fisheye(width=9, height=7, fov=70)])
def test_homogeneous_half_space_behind_the_wall(sigma_t, camera):
    """median = surface + ln 2 / sigma_t, expected = surface + 1 / sigma_t."""
    scene = slab("interface", Tissue(sigma_t=(0, sigma_t, sigma_t, sigma_t)), camera)
    seen, found = geometry(scene), optical_depths(scene)
    assert seen.mask.all()
    np.testing.assert_allclose(found["median"].distance, seen.distance + np.log(2) / sigma_t, atol=1e-3)
    np.testing.assert_allclose(found["expected"].distance, seen.distance + 1 / sigma_t, atol=1e-3)
    z = camera.unproject(camera.pixels())[..., 2]
    for depth in found.values():
        np.testing.assert_allclose(depth.z_depth, depth.distance * z, rtol=1e-6)
        assert depth.distance.dtype == depth.z_depth.dtype == np.float32


def test_a_thin_septum_lets_light_through():
    """Tissue of optical depth tau, then air up to the grid's end: E[t | collides] in closed form, no median if thin."""
    for sigma_t, thick in ((0.15, 2.0), (0.5, 2.0)):
        scene = slab("interface", Tissue(sigma_t=(0, sigma_t, sigma_t, sigma_t)), end=START + thick)
        seen, found = geometry(scene), optical_depths(scene)
        cos = scene.camera.unproject(scene.camera.pixels())[..., 2]
        path = thick / cos
        tau = sigma_t * path
        mean = 1 / sigma_t - path * np.exp(-tau) / (1 - np.exp(-tau))
        np.testing.assert_allclose(found["expected"].distance, seen.distance + mean, atol=2e-3)
        reached = tau > np.log(2)
        assert np.array_equal(np.isfinite(found["median"].distance), reached)
        assert reached.any() == (sigma_t == 0.5)


@pytest.mark.parametrize("surface", ["volume", "hybrid"])
def test_a_ramp_without_a_wall(surface):
    """sigma_t = k s behind the ramp's foot: median sqrt(2 ln 2 / k), expected sqrt(pi / 2 k), both along the ray."""
    slope, per_hu = 80.0, 0.004  # HU/mm; mm⁻¹ per HU
    tissue = Tissue(hu=(-900, WALL), sigma_t=(0, per_hu * (WALL + 900)), albedo=((0.5,) * 3,) * 2)
    scene = slab(surface, tissue, slope=slope)
    cos = scene.camera.unproject(scene.camera.pixels())[..., 2]
    foot = (START + (-900 - THRESHOLD) / slope) / cos
    k = slope * per_hu * cos
    found = optical_depths(scene)
    # HU are rounded to whole numbers: half of one is 6 µm here.
    np.testing.assert_allclose(found["median"].distance, foot + np.sqrt(2 * np.log(2) / k), atol=0.02)
    np.testing.assert_allclose(found["expected"].distance, foot + np.sqrt(np.pi / 2 / k), atol=0.02)


def test_nothing_in_sight_is_nan_and_so_is_what_the_mask_hides():
    away = slab("interface", Tissue()).with_(world_from_camera=affine((1, -1, -1)), camera=Pinhole(width=9, height=7))
    for depth in optical_depths(away).values():
        assert np.isnan(depth.distance).all()
        assert np.isnan(depth.z_depth).all()
    masked = slab("interface", Tissue(), Pinhole(width=9, height=7, mask="circle"))
    for depth in optical_depths(masked).values():
        assert np.array_equal(np.isfinite(depth.distance), masked.camera.visible())
    with pytest.raises(UserError, match="CT volume"):
        optical_depths(cube_scene(1.0, 0.5, [Point()]))


FLIGHTS = 20_000


@pytest.mark.parametrize("surface", ["interface", "volume"])
def test_agrees_with_sampled_free_flights(surface):
    """Walls at all angles, folds and thin places: quantile and mean of delta tracking's own flights."""
    scene = tube_scene(surface, size=(6, 4), sigma_t=[0, 0.9, 0.9, 0.9])
    prepared = prepare(scene.medium)
    found = optical_depths(scene)
    t = tracking.device("tissue", surface, str(prepared.low.dtype), Traits.of(scene))
    rays = scene.camera.unproject(scene.camera.pixels()).reshape(-1, 3)
    origin, rotation = camera_in_grid(prepared, scene.world_from_camera)
    flown = np.full((len(rays), FLIGHTS), np.nan, np.float32)

    @ti.kernel
    def fly(
        field: ti.types.ndarray(),
        grid: ti.types.ndarray(),
        table: ti.types.ndarray(),
        labels: ti.types.ndarray(),
        directions: ti.types.ndarray(dtype=ti.math.vec3, ndim=1),
        o: ti.math.vec3,
        inv: ti.math.vec3,
        threshold: float,
        wall_hu: float,
        out: ti.types.ndarray(),
    ):
        for i, j in ti.ndrange(out.shape[0], out.shape[1]):
            m = ti.static(Medium(field, None, grid, table, labels, inv, threshold, wall_hu))
            d = directions[i]
            rng = ti.cast(i * out.shape[1] + j, ti.u64) * ti.u64(0xD1342543DE82EF95)
            start, inside = 0.0, False
            for _ in range(20):  # through every wall, as the coat's transmission goes on undeviated
                p = o + start * d
                span = t.clip(m, p, d)
                if span[1] <= 1e-3:
                    break
                inside = t.value(m, p) >= threshold
                event, hit, _ = t.walk(m, p, d, 0.0, span[1], inside, rng)
                if event == t.COLLISION:
                    out[i, j] = start + hit
                if event != t.SURFACE:
                    break
                start += hit + 1e-3

    fly(
        prepared.field,
        cells(scene.medium, scene.tissue, surface, scene.threshold),
        backend.resident(pack_table([scene])),
        held_blocks(scene),
        np.ascontiguousarray(rays @ rotation.T, np.float32),
        ti.math.vec3(*origin),
        ti.math.vec3(*(1 / prepared.spacing)),
        scene.threshold,
        scene.tissue.wall_hu,
        flown,
    )
    collided = np.isfinite(flown)
    assert collided.mean() > 0.9
    error = np.nanstd(flown, 1) / np.sqrt(collided.sum(1))
    z = (np.nanmean(flown, 1) - found["expected"].distance.ravel()) / error
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 1.5
    # Of all flights, half end before the median: a binomial count.
    before = (flown < found["median"].distance.reshape(-1, 1)).sum(1)
    z = (before - FLIGHTS / 2) / np.sqrt(FLIGHTS / 4)
    assert np.isfinite(found["median"].distance).all()
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 1.5


def test_gap_between_surface_and_median_in_voxels():
    scene = slab("interface", Tissue(), Pinhole(width=80, height=60, fov=60))
    looks = {name: look.tissue for name, look in LOOKS.items()}
    thin = Tissue(sigma_t=(0, 0.5, 0.5, 0.5))
    gaps = depth_gaps(scene, {**looks, "thin": thin})
    for name, tissue in looks.items():
        assert gaps[name] == pytest.approx(np.log(2) / tissue.sigma_t[-1] / 0.8, abs=0.01)
        # Colon scatters less than half as much as the looks do: there light comes from deeper, and rendering warns.
        assert (gaps[name] < 0.5) == (name != "mucosa_physical")
    assert gaps["thin"] == pytest.approx(np.log(2) / 0.5 / 0.8, abs=0.01)
    assert depth_gaps(scene, {"empty": Tissue(sigma_t=(0, 0, 0, 0))})["empty"] == np.inf
