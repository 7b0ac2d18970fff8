"""The mucosa layer: trees that are trees, found where they lie, and geometry that knows nothing of it."""

import numpy as np
import pytest

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import geometry, radiance, shareable
from endorender.render.device import backend
from endorender.render.medium import mucosa, vessels
from endorender.render.medium.grid import Grid
from endorender.render.medium.prepared import coat_field, prepare
from endorender.scene import Mucosa, tissues
from tests.render.scenes import THRESHOLD, affine, from_distance, tube, tube_scene
from tests.render.test_volpath import assert_same_image

MANY = {"vessels": 80.0, "territory": 2.0}


def grown(**changes):
    p = prepare(tube())
    return vessels.grow(Grid(p.field, p.spacing), p.smooth, THRESHOLD, Mucosa(**{**MANY, **changes}))


def test_vessels_follow_their_seed():
    backend.ensure()
    one, again, other = grown(seed=3), grown(seed=3), grown(seed=4)
    assert one.start.tobytes() == again.start.tobytes()
    assert one.radius.tobytes() == again.radius.tobytes()
    assert len(one.start) > 100
    assert one.start.tobytes() != other.start.tobytes()
    assert len(grown(vessels=0.0).start) == 0


def test_vessels_lie_under_the_wall_and_it_has_its_area():
    backend.ensure()
    trees = grown(depth=0.1, trunk=0.2)
    p = prepare(tube())
    hu = Grid(p.field, p.spacing).at(trees.start)
    assert (hu > THRESHOLD).mean() > 0.97
    # HU rise by 400 per mm behind the wall: depths of 0.1 mm and a radius, more where a tree comes up.
    depth = (hu - THRESHOLD) / 400
    assert 0.1 < np.median(depth) < 0.5
    z = np.linspace(4, 30, 2601)
    radius = 5 - 1.2 * np.exp(-((z - 14) ** 2) / 2) - 1.2 * np.exp(-((z - 22) ** 2) / 2)
    side = 2 * np.pi * radius * np.hypot(1, np.gradient(radius, z))
    area = side.mean() * 26 + 2 * np.pi * 5**2  # of the tube in scenes.py, straightened, with both ends
    assert trees.area == pytest.approx(area / 100, rel=0.1)  # blurred normals round the edges of the ends


def test_radius_grows_with_the_cube_root_of_what_is_fed():
    m = Mucosa(capillary=0.05, trunk=0.4)
    np.testing.assert_allclose(vessels.radii(np.array([0.0, 1.0, 8.0, 27.0, 1e6]), m), [0.05, 0.05, 0.1, 0.15, 0.4])
    backend.ensure()
    trees = grown(capillary=0.03)
    cubes = (trees.radius / 0.03) ** 3
    # Every width is that of a whole number of capillaries; halves of an edge lie between two such widths.
    ends = cubes[: len(cubes) // 2, 0]
    np.testing.assert_allclose(ends, np.round(ends), atol=1e-6)
    assert trees.radius.max() > 3 * trees.radius.min()


def test_the_hash_finds_every_vessel():
    """What the kernel finds by the hash is what a search through all vessels finds."""
    trees = grown()
    p = np.random.default_rng(0).uniform(4, 20, (4000, 3))
    p[:2000] = trees.start[np.random.default_rng(1).integers(0, len(trees.start), 2000)] + 0.05
    along = trees.end - trees.start
    t = np.einsum("pmc,mc->pm", p[:, None] - trees.start, along) / (along**2).sum(1)
    t = np.clip(t, 0, 1)
    gap = np.linalg.norm(p[:, None] - trees.start - t[..., None] * along, axis=-1)
    r = trees.radius[:, 0] + t * (trees.radius[:, 1] - trees.radius[:, 0])
    fade = vessels.EDGE * r + vessels.LEAST_EDGE
    s = np.clip((r + fade - gap) / (2 * fade), 0, 1)
    expected = (s * s * (3 - 2 * s)).max(1)
    scene = tube_scene().with_(mucosa=Mucosa(**MANY, vessel_strength=1.0))
    found = mucosa.shares(scene, p)[:, 0]
    assert (expected > 0.5).sum() > 200
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_film_is_a_slope_and_never_sends_mirrored_light_below_the_wall():
    backend.ensure()
    device, capsules = mucosa.device(), mucosa.layer(tube_scene().with_(mucosa=Mucosa(film=1.0)))[0]
    rng = np.random.default_rng(0)
    n = 20_000
    points = rng.uniform(-50, 50, (n, 3)).astype(np.float32)
    d = rng.normal(size=(n, 3)).astype(np.float32)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    d[:, 2] = -np.abs(d[:, 2])
    out, values = np.zeros((n, 3), np.float32), np.zeros((n, 4), np.float32)

    @ti.kernel
    def run(
        c: ti.types.ndarray(),
        x: ti.types.ndarray(dtype=ti.math.vec3, ndim=1),
        w: ti.types.ndarray(dtype=ti.math.vec3, ndim=1),
        o: ti.types.ndarray(dtype=ti.math.vec3, ndim=1),
        v: ti.types.ndarray(dtype=ti.math.vec4, ndim=1),
    ):
        for i in range(x.shape[0]):
            o[i] = device.tilt(c, x[i], w[i], ti.math.vec3(0, 0, 1))
            v[i] = device.noise(x[i], 5)

    run(capsules, points, d, out, values)
    mirrored = d - 2 * (d * out).sum(1, keepdims=True) * out
    assert (mirrored[:, 2] > 0).all()
    assert np.degrees(np.arccos(out[:, 2])).max() > 15
    assert values[:, 3].std() == pytest.approx(mucosa.VALUE_RMS, rel=0.03)
    assert np.hypot(values[:, 0], values[:, 1]).std() < np.sqrt((values[:, :2] ** 2).sum(1).mean())
    assert np.sqrt((values[:, :2] ** 2).sum(1).mean()) == pytest.approx(mucosa.SLOPE_RMS, rel=0.03)
    nudged = points + np.float32([1e-2, 0, 0])
    there = np.zeros_like(values)
    run(capsules, nudged, d, out, there)
    step = (nudged - points)[:, 0]
    slope = (there[:, 3] - values[:, 3]) / step
    assert np.abs(slope - 0.5 * (there[:, 0] + values[:, 0])).max() < 5e-3


@pytest.mark.parametrize("wavelength", [4.0, 6.0, 15.0])
def test_the_film_fills_bumps_by_their_size(wavelength):
    """A plane with waves: what is left of their slope in the coat's normal is a Gaussian of the wavelength."""
    backend.ensure()
    k, step = 2 * np.pi / wavelength, 0.6
    medium = from_distance(lambda p: p[..., 2] - 12 - 0.25 / k * np.sin(k * p[..., 0]), (50, 8, 40), affine([step] * 3))
    scene = tube_scene().with_(medium=medium)

    def slope(mucosa):
        field = coat_field(scene.with_(mucosa=mucosa))
        x = np.arange(6, 24, 0.3)
        points = np.stack([x, np.full_like(x, 2.4), 12 + 0.25 / k * np.sin(k * x)], 1)
        n = field._replace(values=backend.fetch(field.values)).normals(points)
        assert (n[:, 2] < -0.9).all()  # towards the air
        return 2 * np.mean(n[:, 0] / -n[:, 2] * -np.cos(k * x))

    assert slope(Mucosa()) == slope(None)
    kept = slope(Mucosa(levelling=1.2)) / slope(None)
    assert kept == pytest.approx(np.exp(-0.5 * (k * 1.2) ** 2), abs=0.05)


def test_what_the_film_fills_is_held_with_the_volume():
    backend.ensure()
    scene = tube_scene().with_(mucosa=Mucosa(levelling=2.0))
    assert coat_field(scene).values is coat_field(scene.with_(mucosa=Mucosa(levelling=2.0, seed=3))).values
    assert coat_field(scene.with_(mucosa=Mucosa())).values is prepare(tube()).smooth.values


def test_geometry_is_the_same_to_the_bit():
    bare = tube_scene(size=(48, 32))
    dressed = bare.with_(mucosa=Mucosa(**MANY, levelling=2.0))
    a, b = geometry(bare), geometry(dressed)
    for name in ("z_depth", "distance", "normal", "mask"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    # The denoiser's guide does show the layer.
    assert a.albedo.tobytes() != b.albedo.tobytes()
    assert (b.albedo <= a.albedo + 1e-6).all()


def test_an_empty_layer_changes_nothing():
    nothing = Mucosa(vessels=0, redness=0, mottling=0, follicles=0, film=0)
    scene = tube_scene(sigma_t=[0, 2, 2, 2], albedo=[[0.8, 0.6, 0.4]] * 4)
    plain, layered = (radiance([s], 64, 5)[0].mean for s in (scene, scene.with_(mucosa=nothing)))
    np.testing.assert_allclose(layered, plain, rtol=1e-3, atol=1e-5 * plain.max())


def test_looks_of_one_path_agree_with_single_renders_under_the_layer():
    scene = tube_scene().with_(mucosa=Mucosa(**MANY))
    scenes = [scene.with_(tissue=tissues.build(n)) for n in ("pale_pink", "deep_red")]
    together = radiance(scenes, 256, 21)
    for alone, shared in zip(scenes, together):
        assert_same_image(radiance([alone], 256, 22)[0], shared)
    assert not shareable(scenes[0], scenes[1].with_(mucosa=Mucosa(seed=9)))


def test_a_layer_needs_a_wall():
    with pytest.raises(UserError, match="needs the surface mode 'interface'"):
        tube_scene("volume").with_(mucosa=Mucosa())
