"""The adjoint beside theory, beside itself and beside Mitsuba. Beside differences: test_adjoint_differences.py."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.render import radiance
from endorender.render.device import cache, launches
from endorender.render.gradients import tape
from endorender.render.images import gradient
from endorender.render.integrators import adjoint
from endorender.scene import Constant, Endoscope, GridMedium, Isotropic, Mucosa, Pinhole, Point, Scene
from tests.render.gradients import STORED, Estimate, dense, magnitudes, reference, weights
from tests.render.gradients import adjoint as estimate
from tests.render.proofs import same_image
from tests.render.reference import build, grids
from tests.render.scenes import affine, cube_scene, tube_scene
from tests.render.test_volpath import SCENES

ROOT = Path(__file__).parents[2]
ALL = ("sigma_t", "air", "albedo", "phase", "lights")


@pytest.mark.parametrize("name", ["volume", "interface", "areas", "map", "outside"])
def test_its_pictures_are_those_of_volpath(name):
    scene = SCENES[name]().with_(max_scatterings=64)
    found = same_image(radiance([scene], 256, 1)[0], gradient.picture(scene, 256, 2))
    assert found.share_within() >= 0.9975
    assert found.rms < 1.15
    assert np.abs(found.mean_z).max() < 3.5


LAYERS = np.array([0.0, 0.0, 0.0, 0.1, 0.3, 0.4, 0.4, 0.0, 0.0, 0.2, 0.0, 0.0])  # mm⁻¹, of 1 mm each


def test_gradients_do_not_depend_on_how_many_threads_a_launch_has(monkeypatch):
    """A card has many, which share a pixel's samples; a CPU few. Sums are the same bytes, whoever adds to them."""
    scene = tube_scene("volume", (16, 12))
    found, pictures = [], []
    for lines, lanes in ((1024, 1), (37, 1), (500, 3)):
        monkeypatch.setattr(adjoint, "LINES", lines)
        monkeypatch.setattr(launches, "lanes", lambda pixels, spp, lanes=lanes: lanes)
        made = gradient.gradient(scene, weights(12, 16), ALL, 4, 5, ambient=0.1)
        found.append([made.table.tobytes(), made.emitters.tobytes()])
        pictures.append(made.picture.mean)
    assert np.abs(made.table).max() > 0
    assert found[0] == found[1] == found[2]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert pictures[2] == pytest.approx(pictures[0], rel=1e-5)


def _layered(light):
    """A thin beam along z through layers, from 12 mm before them."""
    n = len(LAYERS)
    medium = GridMedium(
        np.ascontiguousarray(np.broadcast_to(LAYERS, (2, 2, n)), np.float32),
        np.full((2, 2, n, 3), 0.8, np.float32),
        affine((1.0,) * 3, translation=(0.0, 0.0, 0.5)),
        Isotropic(),
    )
    pose = affine((1.0,) * 3, translation=(0.5, 0.5, -float(n)))
    return Scene(medium, Pinhole(width=2, height=2, fov=0.02), pose, (light,), surface="volume", max_scatterings=1)


def _exactly(value, layers, step=1e-4):
    """Derivatives of value(layers) by each layer; one-sided to second order where it is 0."""
    out = []
    for unit in np.eye(len(layers)):
        if layers @ unit:
            out.append((value(layers + step * unit) - value(layers - step * unit)) / (2 * step))
        else:
            once, twice = value(layers + step * unit), value(layers + 2 * step * unit)
            out.append((-3 * value(layers) + 4 * once - twice) / (2 * step))
    return np.array(out)


def test_extinction_of_layers_under_a_point_light():
    """Once scattered, there and back: albedo / 4π ∫ σ T² I / r² dt, by each layer, most of them empty."""
    n, weighted = len(LAYERS), np.full((2, 2, 3), 1 / 12)

    def value(layers, points=24_000):
        t = (np.arange(points) + 0.5) * n / points
        sigma = np.interp(t - 0.5, np.arange(n), layers)
        depth = (np.cumsum(sigma) - 0.5 * sigma) * n / points
        return 0.8 * (sigma * np.exp(-2 * depth) * (n / (n + t)) ** 2).sum() * n / points

    scene = _layered(Point(intensity=(4 * np.pi * n**2,) * 3))
    found = estimate(scene, weighted, ("sigma_t", "air", "albedo"), 8192, 16, lambda g: g.sigma_t.sum((0, 1)))
    exact = _exactly(value, LAYERS)
    assert (found.error < 0.03 * np.abs(exact).max()).all()
    assert np.abs((found.value - exact) / found.error).max() < 4
    naive = estimate(scene, weighted, ("sigma_t",), 8192, 4, lambda g: g.sigma_t.sum((0, 1)))
    assert naive.value[0] < 0 < exact[0]  # why the further vertex is there


def test_extinction_of_layers_under_even_light():
    """What passes, and what is scattered once into the beam: with R the light from all sides, transmittance to it."""
    scene = _layered(Constant()).with_(max_scatterings=0)
    weighted = np.full((2, 2, 3), 1 / 12)
    found = estimate(scene, weighted, ("sigma_t", "air", "sky"), 4096, 16, lambda g: [*g.sigma_t.sum((0, 1)), *g.sky])
    passes = np.exp(-np.interp(np.linspace(0, 11, 12), np.arange(12), LAYERS).sum())
    assert np.abs((found.value[:12] + passes) / found.error[:12]).max() < 4  # -T by each layer
    assert np.abs((found.value[12:] - passes / 3) / found.error[12:]).max() < 4


def test_a_ray_tells_tissue_apart_from_air():
    """56 mm of air before 8 of tissue and even light, no scattering: what passes, by chance T, tells of all 8 mm.

    So the tissue's sum is that of a coin: variance 8² T (1 - T) for one path. One point of the whole ray for all of it
    would make it 13 times as large.
    """
    sigma_t = np.zeros((2, 2, 64), np.float32)
    sigma_t[..., 56:] = 0.1
    albedo = np.full((2, 2, 64, 3), 0.8, np.float32)
    medium = GridMedium(sigma_t, albedo, affine((1.0,) * 3, translation=(0, 0, 0.5)), Isotropic())
    pose = affine((1.0,) * 3, translation=(0.5, 0.5, -4.0))
    scene = Scene(medium, Pinhole(width=2, height=2, fov=0.02), pose, (Constant(),), surface="volume")
    scene, even, paths = scene.with_(max_scatterings=0), np.full((2, 2, 3), 1 / 12), 4 * 64
    found = [gradient.gradient(scene, even, ("sigma_t",), 64, n).sigma_t[..., 56:].sum() for n in range(100)]
    passes = np.exp(-0.8)
    assert np.mean(found) == pytest.approx(-8 * passes, rel=0.05)
    assert np.var(found, ddof=1) * paths < 1.6 * 64 * passes * (1 - passes)


def test_a_ray_is_told_of_as_far_as_it_goes():
    """Out of a grid through any face, behind a haze too thin to collide with, under even light.

    Each mm takes 1 away and scatters 0.8 in. Rounding lets rays leave the cells a little before the domain ends, and
    what they were told to be long was the way to the last haze then.
    """
    n, pitch = 96, 0.07
    sigma_t = np.zeros((n, n, n), np.float32)
    sigma_t[32:48, 32:48, 32:48] = 1e-6
    centre = pitch * (n / 2 - 0.5)
    medium = GridMedium(sigma_t, np.full((n, n, n, 3), 0.8, np.float32), affine((pitch,) * 3), Isotropic())
    rng = np.random.default_rng(0)
    for _ in range(24):
        pose = affine((1.0,) * 3, translation=(centre - 0.6,) * 3)
        pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
        scene = Scene(medium, Pinhole(width=2, height=2, fov=0.02), pose, (Constant(),), surface="volume")
        g = gradient.gradient(scene.with_(max_scatterings=1), np.full((2, 2, 3), 1 / 12), ("sigma_t", "air"), 4, 1)
        ahead = pose[:3, 2]
        long = ((pitch * n / 2 * np.sign(ahead) + 0.6) / ahead).min()
        assert g.sigma_t.sum() == pytest.approx(-0.2 * long, rel=1e-3)


def _pipe(light):
    """A pipe of air of 16 mm in dense tissue, seen and lit from its axis; mm voxels."""
    x = np.arange(24) - 11.5
    wall = 1.4 * np.clip(np.hypot(x[:, None], x) - 8, 0, 1)
    sigma_t = np.repeat(wall[..., None], 24, 2).astype(np.float32)
    albedo = np.full((24, 24, 24, 3), 0.97, np.float32)
    medium = GridMedium(sigma_t, albedo, affine((1.0,) * 3), Isotropic())
    pose = affine((1.0,) * 3, translation=(11.5, 11.5, 1.0))
    return Scene(medium, Pinhole(width=8, height=8, fov=80), pose, (light,), surface="volume", max_scatterings=31)


def test_the_further_vertex_leaves_dense_tissue_alone():
    """Real collisions tell of that; what is meant for air brings noise there, most of all under a bare light."""
    scene = _pipe(Point(intensity=(30.0,) * 3))
    dense_voxels = dense(scene.medium.sigma_t)

    def noise(wanted):
        found = [gradient.gradient(scene, weights(8), wanted, 64, n, ambient=1.0).sigma_t for n in range(12)]
        return np.var(found, 0)[dense_voxels].sum()

    assert noise(("sigma_t", "air")) < 1.25 * noise(("sigma_t",))


def test_light_is_linear():
    """A picture is the sum of what lights bring: by their strengths the gradient is the picture, sample for sample."""
    scene = tube_scene("volume", (6, 6), sigma_t=[0, 0.5, 0.5, 0.5], albedo=[[0.9, 0.6, 0.4]] * 4, phase={"type": "hg"})
    weighted = weights(6)
    found = gradient.gradient(scene, weighted, ALL, 64, 3)
    brought = 50.0 * found.emitters[:, -3:].sum(0)  # two guides share an intensity of 100
    assert brought == pytest.approx((found.picture.mean * weighted).sum((0, 1)), rel=1e-4)
    own = gradient.picture(scene, 64, 3)
    # Two kernels of one arithmetic, which the compiler may round in another order.
    np.testing.assert_allclose(own.mean, found.picture.mean, rtol=1e-5)


def test_a_path_too_long_for_the_tape_is_walked_again(monkeypatch):
    """The same deposits, whether a path fits or not."""
    scene = cube_scene(
        8.0, 0.97, [Constant(), Point(position=(2, 2, -1), intensity=(3, 3, 3), attached="world")], g=0.3
    )
    take = (*ALL, "sky")
    fits = gradient.gradient(scene, weights(8), take, 8, 1)
    for module in (tape, adjoint):
        monkeypatch.setattr(module, "TAPE", 128)
    cache.forget()
    again = gradient.gradient(scene, weights(8), take, 8, 1)
    monkeypatch.undo()
    cache.forget()
    for name in ("sigma_t", "albedo", "phase", "emitters", "sky"):
        a, b = getattr(fits, name), getattr(again, name)
        assert np.abs(a - b).max() < 1e-4 * np.abs(a).max(), name


def test_the_same_on_one_thread_and_on_two():
    code = (
        "import sys\nfrom endorender.render import init\ninit('cpu', threads=int(sys.argv[1]))\n"
        "from endorender.render.images.gradient import gradient\nfrom endorender.scene import Constant\n"
        "from tests.render.gradients import weights\nfrom tests.render.scenes import cube_scene\n"
        "g = gradient(cube_scene(8.0, 0.97, [Constant()]), weights(8), ('sigma_t', 'air', 'albedo'), 64, 1)\n"
        "print([*map(float, g.sigma_t.ravel()), *map(float, g.albedo.ravel())])"
    )
    one, two = (
        np.array(
            json.loads(
                subprocess.run([sys.executable, "-c", code, n], cwd=ROOT, capture_output=True, check=True).stdout
            )
        )
        for n in "12"
    )
    assert np.abs(one).max() > 0
    assert (one == two).all()


def _by_name(scene, medium):
    """Gradients of a reference scene under Mitsuba's names, with the samples for it."""
    inside = dense(grids(medium)[0])

    def take(g):
        if medium == "cube":
            return [g.sigma_t.sum(), g.phase[0], g.albedo.sum()]
        return [g.sigma_t[inside].sum(), g.phase[0], *g.albedo.sum((0, 1, 2))]

    return take


@pytest.mark.parametrize("name", ["a_g-0.5", pytest.param("c_hdr_g0.0", marks=pytest.mark.slow)])
def test_same_gradients_as_mitsuba(name):
    ref = reference(name)
    scene = build(ref)
    stored = json.loads(STORED.read_text())[name]
    theirs = Estimate(*np.array(list(stored.values())).T)
    spp = 1024 if ref.medium == "cube" else 256
    ours = estimate(scene, weights(16), ("sigma_t", "air", "albedo", "phase"), spp, 8, _by_name(scene, ref.medium))
    assert list(stored) == (
        ["sigma_t", "g", "albedo"]
        if ref.medium == "cube"
        else ["dense sigma_t", "g", "albedo r", "albedo g", "albedo b"]
    )
    assert np.abs(ours.z(theirs)).max() < 4
    # Agreement means something: both are precise beside the terms that a gradient is made of, some of which cancel.
    with magnitudes():
        terms = estimate(scene, weights(16), ("sigma_t", "albedo", "phase"), 8, 2, _by_name(scene, ref.medium)).value
    assert (np.hypot(ours.error, theirs.error) < 0.03 * terms).all()


def _refused(scene, wanted=("albedo",), smooth=False):
    with pytest.raises(UserError) as caught:
        gradient.gradient(scene, np.ones((8, 12, 3)), wanted, 1, 1, smooth_pixels=smooth)
    assert caught.value.code == "NOT_DIFFERENTIABLE"
    return str(caught.value)


def test_what_is_not_covered_is_refused():
    assert "tint" in _refused(tube_scene(tint=[[1.0, 0.5, 0.1]] * 4))
    assert "similarity" in _refused(tube_scene(similarity_after=2))
    assert "gradient magnitude" in _refused(tube_scene(gradient=[0, 100], gradient_opacity=[0.1, 1]))
    assert "mucosa layer" in _refused(tube_scene().with_(mucosa=Mucosa()))
    assert "hybrid" in _refused(tube_scene("hybrid"))
    assert "volume" in _refused(tube_scene("interface"), ("places",))
    outside = tube_scene("volume", lights=(Endoscope(), Point(position=(0, 0, -500), attached="world")))
    assert "within the volume" in _refused(outside, ("places",))
    assert "environment" in _refused(tube_scene("volume", lights=(Constant(),)), ("pose",), True)


def test_unknown_gradients_are_refused():
    with pytest.raises(ValueError, match="no gradient of colour"):
        gradient.gradient(tube_scene(), np.ones((8, 12, 3)), ("colour",), 1, 1)
    with pytest.raises(ValueError, match="smooth pixels"):
        gradient.gradient(tube_scene("volume"), np.ones((8, 12, 3)), ("pose",), 1, 1)


def test_files_of_references_are_whole():
    stored = json.loads(STORED.read_text())
    assert {"a_g-0.5", "c_hdr_g0.0"} <= set(stored)
    assert all(error > 0 for scene in stored.values() for _, error in scene.values())
