"""Light transport proved: against analytic solutions, against the oracle, and against itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from endorender.errors import UserError
from endorender.render import radiance, shareable
from endorender.render.volpath_simple import radiance_simple
from endorender.scene import Constant, Endoscope, EnvironmentMap, Fisheye, Mucosa, Point, phase_functions, tissues
from tests.render.scenes import affine, cube_scene, tube_scene


def assert_same_image(a, b, alpha=0.01):
    """Per-pixel z-test with Šidák correction, rms z, and the image means within 3.5 standard errors."""
    variance = a.variance.astype(float) + b.variance
    difference = a.mean.astype(float) - b.mean
    lit = variance > 1e-12 * max(a.mean.max(), 1e-9) ** 2
    z = difference[lit] / np.sqrt(variance[lit])
    limit = norm.isf(0.5 * (1 - (1 - alpha) ** (1 / z.size)))
    assert (np.abs(z) <= limit).mean() >= 0.9975
    assert np.sqrt((z**2).mean()) < 1.15
    # Channels share paths and are correlated, so each has a test of its own.
    pixels = difference[..., 0].size
    assert (np.abs(difference.mean((0, 1))) < 3.5 * np.sqrt(variance.sum((0, 1))) / pixels).all()


SCENES = {
    "interface": lambda: tube_scene("interface", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4),
    "interface_hg": lambda: tube_scene(
        "interface", sigma_t=[0, 2, 2, 2], albedo=[[0.8, 0.6, 0.4]] * 4, phase={"type": "hg", "g": 0.7}
    ),
    "mucosa": lambda: tube_scene(
        "interface",
        sigma_t=[0, 2, 2, 2],
        albedo=[[0.9, 0.6, 0.4]] * 4,
        blood_albedo=(0.5, 0.2, 0.1),
        vessel_albedo=(0.1, 0.0, 0.0),
        roughness=0.3,
        specular=1,
    ).with_(mucosa=Mucosa(vessels=120, trunk=0.6, film=0.4)),
    "hybrid": lambda: tube_scene(
        "hybrid", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4, surface_weight=1, roughness=0.4
    ),
    "volume": lambda: tube_scene("volume", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4),
    "points": lambda: tube_scene("interface", lights=(Point(intensity=(50, 50, 50)),), albedo=[[0.7, 0.5, 0.3]] * 4),
    "outside": lambda: cube_scene(
        5.0,
        0.8,
        [Constant(radiance=(0.5, 0.6, 0.7)), Point(position=(2, 2, -1), intensity=(3, 3, 3), attached="world")],
        g=0.5,
    ),
    "map": lambda: cube_scene(
        5.0, 0.8, [EnvironmentMap(pixels=[[[0.1, 0, 1], [4, 1, 0]], [[0.5, 0, 0], [0, 9, 0]]])], g=-0.3
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_the_oracle(name):
    # Both stop at 64 scatterings: the oracle has no roulette, and most of its paths would wander for ever.
    scene = SCENES[name]().with_(max_scatterings=64)
    cheap = 16 if name in ("outside", "map") else 1
    assert_same_image(radiance([scene], 1024 * cheap, 1)[0], radiance_simple(scene, 256 * cheap, 2))


@pytest.mark.parametrize("g", [0.0, 0.9, -0.5])
def test_furnace(g):
    """Albedo 1 under constant light: radiance 1 everywhere, by energy conservation."""
    sigma = np.random.default_rng(0).uniform(0, 12, (8, 8, 8)).astype(np.float32)
    image = radiance([cube_scene(sigma, 1.0, [Constant()], g=g)], 2048, 3)[0].mean
    assert abs(image.mean() - 1) < 0.005
    assert image.max() < 2


def test_beer_lambert_through_a_gradient():
    """Absorbing medium before constant light: what passes is exp(-∫ sigma dt), by single rays along the axis."""
    n = 16
    profile = np.linspace(0.2, 4.0, n)
    sigma = np.broadcast_to(profile[None, None], (n, n, n)).astype(np.float32)
    scene = cube_scene(sigma, 0.0, [Constant()], size=4, fov=0.5, pose=affine((1, 1, 1), translation=(0.5, 0.5, -40)))
    got = radiance([scene], 65536 // 4, 4)[0]
    # Trilinear between voxel centres, constant over the outer halves: the integral is the plain sum.
    expected = np.exp(-profile.sum() / n)
    z = (got.mean[..., 0].mean() - expected) / np.sqrt(got.variance[..., 0].mean() / 16)
    assert abs(z) < 4
    assert abs(got.mean[..., 0].mean() / expected - 1) < 0.02


def test_chandrasekhar_semi_infinite():
    """Diffuse reflectance of a matched half space, albedo 0.9, isotropic: 0.41495 (Chandrasekhar's H-function).

    Light falls straight down; by reciprocity the mean radiance seen along the normal under constant light equals it.
    """
    scene = cube_scene(
        2.0, 0.9, [Constant()], size=4, edge=60.0, fov=0.5, pose=affine((1,) * 3, translation=(30, 30, -90))
    )
    got = radiance([scene], 4096, 5)[0]
    error = np.sqrt(got.variance[..., 0].mean() / 16)
    assert error < 0.002
    assert abs(got.mean[..., 0].mean() - 0.41495) < 4 * error


def test_single_scattering_inverse_square():
    """A thin slab lit by a point: radiance follows 1 / r² and carries the albedo once."""
    levels = []
    for distance in (50.0, 100.0):
        light = Point(position=(0.5, 0.5, -distance), intensity=(distance**2 * 4 * np.pi,) * 3, attached="world")
        scene = cube_scene(0.01, 0.5, [light], size=2, fov=0.5, pose=affine((1,) * 3, translation=(0.5, 0.5, -30)))
        levels.append(radiance([scene], 100_000, 6)[0])
    # L = albedo sigma_t (1/4π) (4π) t: 0.005 to first order in sigma_t; the second order is below 1 %.
    for level in levels:
        error = np.sqrt(level.variance[..., 0].mean() / 4)
        assert abs(level.mean[..., 0].mean() - 0.005) < 4 * error + 0.01 * 0.005


def test_same_seed_same_bytes_whatever_the_launches(monkeypatch):
    scene = tube_scene()
    a = radiance([scene], 8, 7)[0]
    module = sys.modules["endorender.render.film"]
    monkeypatch.setattr(module, "LAUNCH_SECONDS", 1e-5)
    calls = []
    b = radiance([scene], 8, 7, progress=calls.append)[0]
    assert a.mean.tobytes() == b.mean.tobytes()
    assert a.variance.tobytes() == b.variance.tobytes()
    assert calls == sorted(calls)
    assert calls[-1] == 1
    assert radiance([scene], 8, 8)[0].mean.tobytes() != a.mean.tobytes()
    assert radiance([scene], 8, 7, frame=1)[0].mean.tobytes() != a.mean.tobytes()


def test_variance_halves_when_samples_double():
    scene = tube_scene(albedo=[[0.6, 0.5, 0.4]] * 4)
    few, many = radiance([scene], 1024, 9)[0], radiance([scene], 2048, 10)[0]
    assert abs(np.median(few.variance / many.variance) - 2) < 0.25


def test_reported_variance_is_the_variance():
    scene = tube_scene(size=(8, 6), sigma_t=[0, 1, 1, 1], albedo=[[0.6, 0.5, 0.4]] * 4)
    runs = [radiance([scene], 64, seed)[0] for seed in range(64)]
    across = np.var([r.mean for r in runs], axis=0, ddof=1)
    reported = np.mean([r.variance for r in runs], axis=0)
    assert abs(across.sum() / reported.sum() - 1) < 0.15


def test_looks_of_one_path_agree_with_single_renders():
    looks = [tissues.build(n) for n in ("yellow_tan", "deep_red")]
    scene = tube_scene()
    scenes = [scene.with_(tissue=t) for t in looks]
    together = radiance(scenes, 256, 11)
    for alone, shared in zip(scenes, together):
        assert_same_image(radiance([alone], 256, 12)[0], shared)


def test_sharing_is_refused_where_paths_differ():
    scene = tube_scene()
    other = scene.with_(tissue=tissues.build({"type": "deep_red", "roughness": 0.3}))
    assert not shareable(scene, other)
    with pytest.raises(UserError, match="one by one"):
        radiance([scene, other], 1, 0)
    tinted = scene.with_(lights=(scene.lights[0].model_copy(update={"colour": (1.0, 0.5, 0.2)}),))
    assert shareable(scene, tinted)


def test_light_on_the_other_side_of_tissue_is_dark():
    """The wall blocks: a point light outside a thick absorbing wall sends nothing in."""
    light = Point(position=(13.0, 23.5, 14.0), intensity=(1e4,) * 3, attached="world")
    scene = tube_scene(lights=(light,), sigma_t=[0, 50, 50, 50], albedo=[[0.0] * 3] * 4)
    assert radiance([scene], 64, 13)[0].mean.max() == 0


def test_a_camera_in_tissue_is_one_clear_line():
    scene = tube_scene()
    pose = scene.world_from_camera.copy()
    pose[:3, 3] = 1.0
    with pytest.raises(UserError, match="inside tissue") as error:
        radiance([scene.with_(world_from_camera=pose)], 1, 0)
    assert error.value.code == "CAMERA_IN_TISSUE"


@pytest.mark.parametrize(("name", "case"), phase_functions.cases())
def test_every_phase_function_and_camera_renders_finite_light(name, case):
    scene = tube_scene(phase={"type": name, **case}).with_(camera=Fisheye(width=12, height=8))
    image = radiance([scene], 32, 14)[0].mean
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() > 0


def test_wider_guides_and_falloff_change_the_light_as_defined():
    """On the axis exp(-μ(1 - cos)) is 1 and the picture hardly changes; far off the axis it darkens."""
    bare, beam = (
        radiance([tube_scene(lights=(Endoscope(guides=((0, 0, 0),), mu=mu, intensity=100.0),))], 512, 15)[0].mean
        for mu in (0.0, 8.0)
    )
    assert beam[:, 0].mean() / bare[:, 0].mean() < 0.5 * beam[3:5, 5:7].mean() / bare[3:5, 5:7].mean()


THREADS = """
import hashlib, sys
from endorender.render import geometry, init, radiance
from tests.render.scenes import tube_scene
init("cpu", threads=int(sys.argv[1]))
scene = tube_scene(size=(24, 16))
seen = geometry(scene)
image = radiance([scene, scene.with_(tissue=scene.tissue.model_copy(update={"albedo": ((0.5, 0.4, 0.3),) * 4}))], 4, 1)
digest = hashlib.sha256(seen.distance.tobytes() + seen.normal.tobytes())
for one in image:
    digest.update(one.mean.tobytes() + one.variance.tobytes())
print(digest.hexdigest())
"""


def test_same_seed_same_bytes_for_one_and_two_threads():
    root = Path(__file__).parents[2]
    digests = [
        subprocess.run(
            [sys.executable, "-c", THREADS, threads], cwd=root, capture_output=True, text=True, check=True
        ).stdout
        for threads in "12"
    ]
    assert len(digests[0].strip()) == 64
    assert digests[0] == digests[1]
