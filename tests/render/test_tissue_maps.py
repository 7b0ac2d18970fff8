"""Optics that vary with the gradient and by label, and a coat that varies along HU."""

import functools
import json

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from endorender.ct.volume import Volume
from endorender.errors import UserError
from endorender.render import geometry, optical_depths, radiance, shareable
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.render.medium.labels import blocks
from endorender.render.medium.majorants import bounds
from endorender.render.medium.prepared import prepare
from endorender.scene import Constant, EnvironmentMap, Mucosa, Pinhole, Point, Scene, Tissue
from tests.render.proofs import DARK, OFF, mean_of, oracle, same_image
from tests.render.scenes import THRESHOLD, affine, from_distance, tube, tube_scene

GRADED = {"gradient": (0.0, 150.0, 400.0), "gradient_opacity": (0.3, 1.0, 0.1)}
COATED = {
    "surface_parameters": {"roughness": (0.9, 0.6, 0.2, 0.1), "specular": (0, 0.3, 1, 1), "ior": (1, 1.2, 1.5, 1.6)}
}


@functools.cache
def patches():
    """Three labels in the tube's wall, blocks of odd size; 9 has no tissue in any test."""
    labels = np.zeros(tube().shape, np.uint8)
    labels[12:, :13, 10:19] = 1
    labels[:12, 11:, :] = 2
    labels[12:, 13:, 15:] = 9
    return labels


def labelled(surface, optics=None, others=None, **changes):
    """The tube in up to three tissues: its own, one darker and thinner at label 1, one denser at label 2."""
    common = {"sigma_t": [0, 1.5, 1.5, 1.5], "albedo": [[0.9, 0.6, 0.4]] * 4, "roughness": 0.4}
    base = tube_scene(surface, **{**common, **(optics or {})})
    thin = Tissue(sigma_t=(0, 0.4, 0.4, 0.4), albedo=((0.3, 0.5, 0.9),) * 4, roughness=0.4, **(others or {}))
    dense = Tissue(
        hu=(-900, -100),
        sigma_t=(1.0, 4.0),
        albedo=((0.7, 0.8, 0.2), (0.5, 0.9, 0.1)),
        **{"wall_hu": -500, "roughness": 0.5, "specular": 1, "surface_weight": 1, **(others or {})},
    )
    return base.with_(labels=patches(), label_tissues={1: thin, 2: dense}, **changes)


EVERYTHING = {**GRADED, **COATED, "sigma_t": [0, 2, 2, 2], "albedo": [[0.9, 0.6, 0.4]] * 4}
HG = {"phase": {"type": "hg", "g": 0.8}, "sigma_t": [0, 4, 4, 4], "similarity_after": 2}
SCENES = {
    "interface": lambda: labelled("interface", EVERYTHING),
    "graded": lambda: tube_scene("interface", **{**EVERYTHING, "surface_parameters": {}}),
    "graded_hybrid": lambda: tube_scene("hybrid", **EVERYTHING, surface_weight=1),
    "graded_chromatic": lambda: tube_scene("volume", **EVERYTHING, tint=[[1.0, 0.5, 0.2]] * 4),
    "coated": lambda: tube_scene("interface", sigma_t=[0, 2, 2, 2], albedo=[[0.6, 0.4, 0.2]] * 4, **COATED),
    "labelled_mucosa": lambda: labelled("interface", mucosa=Mucosa(vessels=120, trunk=0.6, film=0.4)),
    "labelled_hybrid": lambda: labelled("hybrid", {"surface_weight": 0.6}),
    "labelled_chromatic": lambda: labelled("volume", {"tint": [[1.0, 0.6, 0.25]] * 4}, GRADED),
    "labelled_similar": lambda: labelled("interface", HG, {"phase": {"type": "hg", "g": 0.3}, "similarity_after": 2}),
}
SLOW = pytest.mark.slow  # 6 to 25 s each, most of it compiling: one kernel that has everything stands for them


@pytest.mark.parametrize("name", [n if n == "interface" else pytest.param(n, marks=SLOW) for n in SCENES])
def test_agrees_with_the_oracle(name):
    assert_same(oracle(SCENES[name](), 512 if name == "interface" else 1024))


def assert_same(found):
    assert found.share_within() >= 0.9975
    assert found.rms < 1.15
    assert np.abs(found.mean_z).max() < 3.5


def ramp(surface, **tissue):
    """HU that rise evenly along x and z of uneven voxels, by 63.2 HU/mm; seen along z."""
    i, _, k = np.meshgrid(np.arange(9), np.arange(5), np.arange(9), indexing="ij")
    medium = Volume((30 * i + 40 * k).astype(np.int16), affine((0.5, 1.0, 2.0)))
    pose = affine((1.0,) * 3, translation=(2.0, 2.0, -16.0))
    optics = Tissue(hu=(0, 600), albedo=((0.8,) * 3,) * 2, **{"phase": "isotropic", **tissue})
    return Scene(medium, Pinhole(width=4, height=4, fov=0.05), pose, (OFF, DARK), optics, surface=surface)


STEEP = float(np.hypot(60, 20))
RENDERERS = [lambda s, spp, seed: radiance([s], spp, seed)[0], radiance_simple]
IDS = ["volpath", "volpath_simple"]


@pytest.mark.parametrize("render", [RENDERERS[0], pytest.param(RENDERERS[1], marks=SLOW)], ids=IDS)
def test_even_slope_thins_the_medium_by_its_factor(render):
    """Light through, and single scattering back to a light at the lens, against integrals of o(|grad|) sigma_t(HU)."""
    o = 0.2 + 0.6 * (STEEP - 20) / 80
    scene = ramp("volume", sigma_t=(0.01, 0.25), gradient=(20.0, 100.0), gradient_opacity=(0.2, 0.8))
    t = (np.arange(16_000) + 0.5) * 1e-3
    sigma = o * (0.01 + 0.24 * (120 + 20 * t) / 600)
    through = np.exp(-(np.cumsum(sigma) - 0.5 * sigma) * 1e-3)
    light = Point(intensity=(4 * np.pi * 16.0**2,) * 3)
    back = 0.8 * (sigma * through**2 * (16 / (16 + t)) ** 2).sum() * 1e-3
    for lamps, expected, limit in (((OFF, Constant()), np.exp(-sigma.sum() * 1e-3), 0), ((light, DARK), back, 1)):
        found = mean_of("", render(scene.with_(lights=lamps, max_scatterings=limit), 16384, 3), float(expected))
        assert found.error < 0.007 * expected
        assert abs(found.z) < 4


def test_depths_follow_the_gradient():
    tissue = {"sigma_t": (0.3, 0.3), "gradient": (0.0, 2 * STEEP), "gradient_opacity": (1.0, 0.0)}
    found = optical_depths(ramp("volume", **tissue))
    sigma, depth = 0.15, 16.0
    np.testing.assert_allclose(found["median"].distance, 16 + np.log(2) / sigma, rtol=1e-4)
    mean = 1 / sigma - depth / np.expm1(sigma * depth)
    np.testing.assert_allclose(found["expected"].distance, 16 + mean, rtol=1e-4)


@pytest.mark.parametrize("render", [pytest.param(RENDERERS[0], marks=SLOW), RENDERERS[1]], ids=IDS)
def test_surfaces_are_left_as_they_are_under_similarity(render):
    """A surface has no mean cosine: where every collision is with one, similarity changes nothing."""
    common = {"gradient_scale": 1e-3, "surface_weight": 1, "roughness": 0.5, "specular": 0.3}
    lamp = Point(position=(6, -9, -14), intensity=(900.0,) * 3, attached="world")
    camera = Pinhole(width=16, height=16, fov=16)
    similar = ramp("hybrid", sigma_t=(2, 2), phase={"type": "hg", "g": 0.8}, similarity_after=0, **common)
    plain = ramp("hybrid", sigma_t=(2, 2), **common)
    a, b = (s.with_(lights=(lamp,), camera=camera, max_scatterings=64) for s in (similar, plain))
    assert_same(same_image(render(a, 256, 1), render(b, 256, 2)))


@pytest.mark.parametrize("surface", ["interface", pytest.param("hybrid", marks=SLOW)])
def test_labels_with_equal_tissues_are_no_labels(surface):
    """Some voxels labelled, or all of them with the tissue of the whole: to the byte."""
    plain = tube_scene(surface, sigma_t=[0, 2, 2, 2], roughness=0.5, specular=0.5, ior=1.5)
    some = plain.with_(labels=patches(), label_tissues={1: plain.tissue, 2: plain.tissue})
    every = plain.with_(tissue=Tissue(), labels=np.full(tube().shape, 5), label_tissues={5: plain.tissue})
    wanted = radiance([plain], 16, 3)[0].mean
    for scene in (some, every):
        assert radiance([scene], 16, 3)[0].mean.tobytes() == wanted.tobytes()


def test_the_coat_at_the_wall_is_that_of_its_hu():
    """Labelled all over, so that the kernel above serves this too."""
    at = {name: float(np.interp(-100, Tissue().hu, v)) for name, v in COATED["surface_parameters"].items()}
    images = [
        radiance(
            [tube_scene().with_(labels=np.ones(tube().shape, int), label_tissues={1: Tissue(**coat, wall_hu=-100)})],
            8,
            3,
        )[0]
        for coat in (COATED, at)
    ]
    assert images[0].mean.tobytes() == images[1].mean.tobytes()
    assert images[0].mean.tobytes() != radiance([tube_scene()], 8, 3)[0].mean.tobytes()


def test_geometry_does_not_depend_on_labels_but_the_guide_does():
    scene = labelled("interface")
    seen, plain = geometry(scene), geometry(tube_scene())
    for name in ("z_depth", "distance", "normal", "mask"):
        assert getattr(seen, name).tobytes() == getattr(plain, name).tobytes()
    albedo = seen.albedo[seen.mask]
    own, thin = (np.isclose(albedo, c).all(-1) for c in ((0.9, 0.6, 0.4), (0.3, 0.5, 0.9)))
    dense = (albedo[:, 1] >= 0.8) & (albedo[:, 2] <= 0.2)
    assert (own | thin | dense).all()
    assert min(own.sum(), thin.sum(), dense.sum()) > 5


@SLOW
def test_light_is_conserved_across_labels():
    """A furnace: albedo 1 everywhere under one radiance gives that radiance."""
    white = {"albedo": ((1.0,) * 3,) * 4, "phase": "isotropic"}
    tissues = {1: Tissue(sigma_t=(0, 9, 9, 9), **white), 2: Tissue(sigma_t=(0, 0.1, 0.1, 0.1), **white)}
    sky = EnvironmentMap(pixels=[[[1.0] * 3, [1.0] * 3], [[1.0] * 3, [1.000001] * 3]])  # uneven enough to be sampled
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (8, 8, 8))
    pose = affine((1.0,) * 3, translation=(3.5, 3.5, -12))
    tissue = Tissue(sigma_t=(0, 1, 1, 1), **white)
    medium = Volume(rng.integers(-600, 300, (8, 8, 8)).astype(np.int16), np.eye(4))
    camera = Pinhole(width=8, height=8, fov=28)
    scene = Scene(medium, camera, pose, (OFF, sky), tissue, surface="volume", labels=labels, label_tissues=tissues)
    image = radiance([scene], 1024, 3)[0]
    found = mean_of("", image, 1.0)
    assert abs(found.measured - 1) < 0.005
    assert image.mean.max() < 1.3


@pytest.mark.parametrize("surface", ["interface", "volume"])
def test_bounds_hold_everywhere(surface):
    scene = labelled(surface, others={})
    prepared, found = prepare(scene.medium), blocks(scene.medium, scene.labelling, surface, THRESHOLD)
    cells = bounds(prepared, scene.tissue, surface, THRESHOLD, scene.labelling, found)
    points = np.random.default_rng(0).uniform(0, np.array(prepared.shape) - 1.001, (40_000, 3))
    hu = map_coordinates(prepared.host.astype(float), points.T, order=1)
    nearest = found.host[tuple(np.floor(points + 0.5).astype(int).T)]
    sigma = np.zeros(len(points))
    for n, tissue in enumerate(scene.tissues):
        at = nearest == n
        sigma[at] = tissue.table(np.maximum(hu, tissue.wall_hu) if surface == "interface" else hu)[at, 0]
    most, least = np.abs(cells[tuple((points // 4).astype(int).T)].T)
    counts = (most > 0) & ((hu >= THRESHOLD) | (surface == "volume"))
    assert (sigma[counts] <= most[counts] * (1 + 1e-6)).all()
    assert (sigma[counts] >= least[counts] * (1 - 1e-6)).all()
    assert (sigma[counts] == most[counts]).mean() > 0.2
    if surface == "volume":
        assert sigma[most == 0].max(initial=0) == 0


def test_depth_behind_a_labelled_wall_is_that_of_its_tissue():
    """Also where the wall lies nearer to a voxel of air than to one of tissue; air itself carries no label."""
    matrix = affine((0.8, 0.8, 1.0), translation=(-16.0, -16.0, -5.0))
    volume = from_distance(lambda p: p[..., 2] - 6.37, (40, 40, 60), matrix)
    labels = ((volume.hu >= THRESHOLD) & (np.arange(40) >= 20)[:, None, None]).astype(np.uint8)
    camera = Pinhole(width=9, height=7, fov=60)
    scene = Scene(volume, camera, np.eye(4), (Point(),), Tissue(sigma_t=(0, 3, 3, 3)), THRESHOLD)
    scene = scene.with_(labels=labels, label_tissues={1: Tissue(sigma_t=(0, 1, 1, 1))})
    behind = optical_depths(scene)["median"].distance - geometry(scene).distance
    np.testing.assert_allclose(behind[:, :4], np.log(2) / 3, atol=1e-3)
    np.testing.assert_allclose(behind[:, 5:], np.log(2), atol=1e-3)


def test_looks_share_paths_where_their_labels_do():
    scene = labelled("interface")
    thin = scene.label_tissues[1]

    def with_first(**changes):
        return scene.with_(label_tissues={**scene.label_tissues, 1: thin.model_copy(update=changes)})

    other = with_first(albedo=((0.1, 0.2, 0.3),) * 4)
    assert shareable(scene, other)
    assert not shareable(scene, with_first(sigma_t=(0, 1, 1, 1)))
    assert not shareable(scene, scene.with_(labels=patches().copy()))
    assert not shareable(scene, scene.with_(label_tissues={1: thin}))


@SLOW
def test_looks_of_one_path_agree_with_single_renders_under_labels():
    scene = labelled("interface")
    thin = scene.label_tissues[1].model_copy(update={"albedo": ((0.1, 0.2, 0.3),) * 4})
    other = scene.with_(label_tissues={**scene.label_tissues, 1: thin})
    one, two = radiance([scene, other], 16, 3)
    assert one.mean.tobytes() == radiance([scene], 16, 3)[0].mean.tobytes()
    assert two.mean.sum() < one.mean.sum()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.zeros((2, 2, 2), np.uint8)}, "labels are"),
        ({"labels": np.full((24, 24, 36), 300)}, "whole numbers from 0 to 255"),
        ({"labels": np.zeros((24, 24, 36))}, "whole numbers from 0 to 255"),
        ({"labels": None}, "need a mask"),
        ({"label_tissues": {0: Tissue()}}, "from 1 to 255, got 0"),
        ({"label_tissues": {1: Tissue(phase="isotropic")}}, "label 1: its phase is isotropic, beside hg"),
        ({"label_tissues": {1: Tissue(similarity_after=4)}}, "similarity_after must be"),
    ],
)
def test_labels_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        labelled("interface").with_(**changes)


def test_labelled_scenes_survive_the_round_trip():
    scene = labelled("hybrid", EVERYTHING)
    again = Scene.from_dict(scene.medium, json.loads(json.dumps(scene.to_dict())), scene.labels)
    assert again.to_dict() == scene.to_dict()
    assert again.label_tissues == scene.label_tissues
    assert again.labelling == scene.labelling
