"""Light transport against the oracle and against itself. Against theory: test_proofs.py."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from endorender.ct.volume import Volume
from endorender.errors import UserError
from endorender.render import radiance, shareable
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.scene import (
    Constant,
    Directional,
    Disk,
    Endoscope,
    EnvironmentMap,
    Mucosa,
    Pinhole,
    Point,
    Rectangle,
    Ring,
    Scene,
    Spot,
    ThinLens,
    Tissue,
    tissues,
)
from tests.render.proofs import oracle, same_image, variance_ratio
from tests.render.scenes import affine, cube_scene, tube_scene


def assert_same_image(a, b):
    """Per-pixel z-test with Šidák correction, rms z, and the image means within 3.5 standard errors."""
    assert_same(same_image(a, b))


def assert_same(found):
    assert found.share_within() >= 0.9975
    assert found.rms < 1.15
    assert np.abs(found.mean_z).max() < 3.5


PEAKED = {"type": "tabulated", "cos_theta": [-1, 0, 0.8, 0.97, 1], "values": [0.3, 0.05, 0.4, 3, 40]}
SKY = [[[0.1, 0, 1], [4, 1, 0]], [[1, 0, 0], [0, 0.2, 0]], [[0.5, 0, 0], [0, 9, 0]]]
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
    ).with_(mucosa=Mucosa(vessels=120, trunk=0.6, film=0.4, levelling=1.5)),
    "hybrid": lambda: tube_scene(
        "hybrid", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4, surface_weight=1, roughness=0.4
    ),
    "volume": lambda: tube_scene("volume", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4),
    "lens": lambda: tube_scene("volume", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4).with_(
        camera=ThinLens(width=12, height=8, focus=4, aperture=2, vignetting=3, mask="circle")
    ),
    "double_hg": lambda: tube_scene(
        "volume",
        sigma_t=[0, 1.5, 1.5, 1.5],
        albedo=[[0.9, 0.6, 0.4]] * 4,
        phase={"type": "double_hg", "g2": -0.3},
        phase_parameters={"g1": [0.95, 0.3, 0.8, 0.8], "w": [1.0, 0.5, 0.9, 0.9]},
    ),
    "tabulated": lambda: tube_scene(
        "hybrid", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4, phase=PEAKED, roughness=0.4
    ),
    "chromatic": lambda: tube_scene(
        "interface",
        sigma_t=[0, 1.5, 1.5, 1.5],
        albedo=[[0.9, 0.8, 0.7]] * 4,
        tint=[[1.0, 0.6, 0.25], [1.0, 0.6, 0.25], [0.5, 1.0, 0.8], [0.5, 1.0, 0.8]],
    ),
    "chromatic_volume": lambda: tube_scene(
        "volume", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.8, 0.7]] * 4, tint=[[1.0, 0.5, 0.1]] * 4
    ),
    "similar": lambda: tube_scene(
        "interface",
        sigma_t=[0, 4, 4, 4],
        albedo=[[0.95, 0.9, 0.8]] * 4,
        phase={"type": "hg", "g": 0.8},
        phase_parameters={"g": [0.2, 0.8, 0.7, 0.7]},
        similarity_after=2,
    ),
    "similar_hybrid": lambda: tube_scene(
        "hybrid",
        sigma_t=[0, 4, 4, 4],
        albedo=[[0.95, 0.9, 0.8]] * 4,
        phase={"type": "hg", "g": 0.8},
        similarity_after=1,
        surface_weight=0.4,
        roughness=0.4,
    ),
    "similar_chromatic": lambda: tube_scene(
        "volume",
        sigma_t=[0, 4, 4, 4],
        tint=[[1.0, 0.7, 0.4]] * 4,
        albedo=[[0.95, 0.9, 0.8]] * 4,
        phase={"type": "hg", "g": 0.8},
        similarity_after=1,
    ),
    "similar_mucosa": lambda: tube_scene(
        "interface",
        sigma_t=[0, 4, 4, 4],
        albedo=[[0.95, 0.9, 0.8]] * 4,
        blood_albedo=(0.9, 0.6, 0.4),
        vessel_albedo=(0.7, 0.3, 0.1),
        phase={"type": "hg", "g": 0.8},
        similarity_after=1,
    ).with_(mucosa=Mucosa(vessels=120, trunk=0.6, film=0.4)),
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
    # Lights in sight, from the front and from behind, and such as only light.
    "areas": lambda: tube_scene(
        "interface",
        lights=(
            Disk(position=(1.5, 0, 9), direction=(-0.2, 0, -1), radius=1.5, intensity=60, temperature=3000),
            Ring(radius=2, inner=1.4, intensity=60),
            Rectangle(
                position=(11, 11.5, 13), direction=(1, 0.2, 0.3), width=3, height=1, intensity=40, attached="world"
            ),
        ),
        sigma_t=[0, 1.5, 1.5, 1.5],
        albedo=[[0.9, 0.6, 0.4]] * 4,
    ),
    "lamps": lambda: cube_scene(
        5.0,
        0.8,
        [
            Spot(position=(0.5, 0.2, 0), inner=3, outer=12, intensity=30),
            Directional(direction=(1, 0.2, 0.3), irradiance=3, colour=(1, 0.5, 0)),
            Disk(position=(0.7, 1.6, 0.5), direction=(0, -1, 0), radius=0.5, intensity=2, attached="world"),
            Rectangle(position=(0.4, 0, 4), direction=(0, 0, -1), width=0.4, height=1, intensity=1),
            Ring(position=(-1, 0, 2), direction=(1, 0, 0.3), radius=0.6, inner=0.5, intensity=3),
            EnvironmentMap(pixels=SKY, attached="camera", rotation=(10, 20, 30), scale=0.5),
            Constant(radiance=0.2),
        ],
        g=0.5,
    ),
}


# The oracle takes each channel by itself here: half a minute. "similar" and "similar_chromatic" stay.
LONG = ("similar_hybrid", "similar_mucosa")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in SCENES])
def test_agrees_with_the_oracle(name):
    more = {"outside": 16, "map": 16, "lamps": 16, "interface_hg": 4}  # heavy tails: z is normal only with many samples
    assert_same(oracle(SCENES[name](), 1024 * more.get(name, 1)))


def test_beer_lambert_in_three_colours():
    """An absorber whose extinction differs between channels, before constant light, by spectral MIS."""
    n, tint = 9, (1.0, 0.3, 0.05)
    medium = Volume(np.full((n, n, n), 40, np.int16), affine((1.0, 1.0, 1.0)))
    tissue = Tissue(hu=(40,), sigma_t=(0.5,), albedo=((0, 0, 0),), tint=(tint,))
    pose = affine((1, 1, 1), translation=(4.0, 4.0, -40.0))
    scene = Scene(medium, Pinhole(width=4, height=4, fov=0.5), pose, (Constant(),), tissue, surface="volume")
    got = radiance([scene], 16384, 4)[0]
    expected = np.exp(-0.5 * (n - 1) * np.array(tint))
    z = (got.mean.mean((0, 1)) - expected) / np.sqrt(got.variance.mean((0, 1)) / 16)
    assert (np.abs(z) < 4).all()
    assert (np.abs(got.mean.mean((0, 1)) / expected - 1) < 0.03).all()


def test_similarity_from_the_start_is_a_tissue_of_its_own():
    """Isotropic, (1 - a g) as dense in each channel, albedo a (1 - g) / (1 - a g)."""
    a, g = np.array([0.95, 0.9, 0.8]), 0.8
    common = {"sigma_t": [0, 4, 4, 4], "phase": {"type": "hg", "g": g}}
    scene = tube_scene("volume", albedo=[a] * 4, similarity_after=0, **common)
    share = 1 - a * g
    densest = 4 * share.max()
    thin = tube_scene(
        "volume", albedo=[a * (1 - g) / share] * 4, sigma_t=[0] + [densest] * 3, tint=[share / share.max()] * 4
    )
    assert_same_image(radiance([scene], 1024, 1)[0], radiance([thin], 1024, 2)[0])
    exact = tube_scene("volume", albedo=[a] * 4, **common)
    late = scene.with_(tissue=scene.tissue.model_copy(update={"similarity_after": 10_001}))
    assert_same_image(radiance([exact], 256, 3)[0], radiance([late], 256, 4)[0])


def test_looks_share_their_paths_under_similarity():
    """Extinction follows each look's own albedo, and still one set of paths carries them all."""
    looks = [
        SCENES["similar"]().with_(tissue=SCENES["similar"]().tissue.model_copy(update={"albedo": ((*a,),) * 4}))
        for a in ([0.95, 0.9, 0.8], [0.6, 0.98, 0.3])
    ]
    assert shareable(*looks)
    for together, look in zip(radiance(looks, 512, 1), looks):
        assert_same_image(together, radiance([look], 512, 2)[0])


def thin_block(hu, phase, direction, **tissue):
    """A thin block of one HU seen along z, under a far light that shines on it from `direction`."""
    light = Point(position=tuple(1000.0 * d for d in direction), intensity=(1e6,) * 3, attached="world")
    volume = Volume(np.full((5, 5, 5), hu, np.int16), affine((0.25,) * 3, translation=(-0.5,) * 3))
    pose = affine((1, 1, 1), translation=(0, 0, -30))
    optics = Tissue(hu=(-100, 300), sigma_t=(0.01, 0.01), albedo=((0.5, 0.3, 0.1),) * 2, phase=phase, **tissue)
    return Scene(volume, Pinhole(width=2, height=2, fov=0.5), pose, (light,), optics, surface="volume")


@pytest.mark.parametrize(("direction", "cos_theta"), [((0, 0, -1), -1.0), ((1, 0, 0), 0.0), ((0.6, 0, 0.8), 0.8)])
@pytest.mark.parametrize("render", [radiance, radiance_simple])
def test_single_scattering_is_the_phase_function_of_that_hu(render, direction, cos_theta):
    """A thin block shows L = albedo sigma_t t p(cos θ), with the parameters that its HU has between control points."""
    varying = {"g1": (0.0, 0.8), "g2": (-0.6, -0.2), "w": (1.0, 0.4)}
    scene = thin_block(0, "double_hg", direction, phase_parameters=varying).with_(max_scatterings=1)
    got = render([scene], 400_000, 6)[0] if render is radiance else render(scene, 400_000, 6)

    def lobe(g):
        return (1 - g * g) / (4 * np.pi * (1 + g * g - 2 * g * cos_theta) ** 1.5)

    expected = np.array([0.5, 0.3, 0.1]) * 0.01 * (0.85 * lobe(0.2) + 0.15 * lobe(-0.5))
    error = np.sqrt(got.variance.mean((0, 1)) / 4)
    assert (error < 0.01 * expected).all()
    assert (np.abs(got.mean.mean((0, 1)) - expected) < 4 * error + 0.01 * expected).all()


def test_looks_of_one_path_agree_where_the_phase_has_several_parameters():
    """Albedos stand behind the phase's columns of the table, whatever their number."""
    red, blue = ((0.5, 0.3, 0.1),) * 2, ((0.1, 0.2, 0.6),) * 2
    # Of single scattering the ratio is that of the albedos, path by path.
    scene = thin_block(0, "double_hg", (1, 0, 0)).with_(max_scatterings=1)
    scenes = [scene.with_(tissue=scene.tissue.model_copy(update={"albedo": a})) for a in (red, blue)]
    one, two = (r.mean.mean((0, 1)) for r in radiance(scenes, 2000, 7))
    np.testing.assert_allclose(two / one, [0.2, 2 / 3, 6], rtol=1e-3)


def test_same_seed_same_bytes_whatever_the_launches(monkeypatch):
    scene = tube_scene()
    a = radiance([scene], 8, 7)[0]
    module = sys.modules["endorender.render.device.launches"]
    monkeypatch.setattr(module, "SECONDS", 1e-5)
    calls = []
    b = radiance([scene], 8, 7, progress=calls.append)[0]
    assert a.mean.tobytes() == b.mean.tobytes()
    assert a.variance.tobytes() == b.variance.tobytes()
    assert calls == sorted(calls)
    assert calls[-1] == 1
    assert radiance([scene], 8, 8)[0].mean.tobytes() != a.mean.tobytes()
    assert radiance([scene], 8, 7, frame=1)[0].mean.tobytes() != a.mean.tobytes()


def test_variance_halves_when_samples_double():
    assert abs(variance_ratio(tube_scene(albedo=[[0.6, 0.5, 0.4]] * 4)) - 2) < 0.25


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
    """The wall blocks: lights outside a thick absorbing wall send nothing in."""
    light = Point(position=(13.0, 23.5, 14.0), intensity=(1e4,) * 3, attached="world")
    disk = Disk(position=(13.0, 23.5, 14.0), direction=(0, -1, 0), intensity=1e4, attached="world")
    sun = Directional(direction=(0, -1, 0), irradiance=1e4)
    scene = tube_scene(lights=(light, disk, sun), sigma_t=[0, 50, 50, 50], albedo=[[0.0] * 3] * 4)
    assert radiance([scene], 64, 13)[0].mean.max() == 0


def test_a_camera_in_tissue_is_one_clear_line():
    scene = tube_scene()
    pose = scene.world_from_camera.copy()
    pose[:3, 3] = 1.0
    with pytest.raises(UserError, match="inside tissue") as error:
        radiance([scene.with_(world_from_camera=pose)], 1, 0)
    assert error.value.code == "CAMERA_IN_TISSUE"


def test_an_even_sky_brings_every_path_the_same():
    """Albedo 1 under one radiance from everywhere: no noise at all, for nothing is sampled but the way out."""
    sigma = np.random.default_rng(0).uniform(0, 12, (8, 8, 8)).astype(np.float32)
    image = radiance([cube_scene(sigma, 1.0, [Constant(radiance=(0.5, 1.0, 2.0))])], 16, 3)[0]
    np.testing.assert_allclose(image.mean, np.broadcast_to([0.5, 1.0, 2.0], image.mean.shape), rtol=1e-6)


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
