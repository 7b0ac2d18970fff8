"""Scenes of random models: never NaN, infinite or negative light."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.render import geometry, radiance
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.scene import GridMedium, Scene, cameras, lights, phase_functions, tissues
from tests.render.scenes import THRESHOLD, affine, tube
from tests.strategies import models

SURFACES = ("interface", "hybrid", "volume", "grid")
NAMES = (SURFACES, list(phase_functions), list(cameras), list(lights), list(tissues))
# Each choice of classes is a kernel to compile: few of them, in which every registered class appears.
EVERY = [tuple(names[n % len(names)] for names in NAMES) for n in range(max(map(len, NAMES)))]
ALL = list(itertools.product(*NAMES[:4]))
MANY = random.Random(0).sample(ALL, min(24, len(ALL)))


@st.composite
def scenes(draw, surface, phase, camera, light, tissue):
    """A view in the tube, or of a small grid, of models of these classes."""
    size = {"width": draw(st.integers(1, 5)), "height": draw(st.integers(1, 4))}
    eye = draw(models(cameras, camera, **size))
    scatterer = draw(models(phase_functions, phase))
    # Guides beside it, or a closed wall would leave the scene dark.
    lamps = [draw(models(lights, light)), draw(models(lights, "endoscope"))]
    limit = draw(st.sampled_from([0, 1, 40]))
    pose = affine(
        (1.0,) * 3,
        Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-3, 3)] * 3))).as_matrix(),
        np.array([13.2, 12.0, 9.0]) + draw(st.tuples(*[st.floats(-1.5, 1.5)] * 3)),
    )
    if surface == "grid":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        dense, white = draw(st.sampled_from([0.0, 0.3, 40.0])), draw(st.sampled_from([0.0, 0.7, 1.0]))
        sigma_t = (dense * rng.random((3, 4, 5)) * (rng.random((3, 4, 5)) < 0.7)).astype(np.float32)
        albedo = np.maximum(rng.random((3, 4, 5, 3)), white).astype(np.float32)
        medium = GridMedium(sigma_t, albedo, affine((2.0, 1.5, 1.0), translation=(12.0, 10.0, 14.0)), scatterer)
        return Scene(medium, eye, pose, tuple(lamps), surface="volume", max_scatterings=limit)
    stuff = draw(models(tissues, tissue, phase=scatterer))
    try:
        return Scene(tube(), eye, pose, tuple(lamps), stuff, THRESHOLD, surface, max_scatterings=limit)
    except UserError as error:  # a tissue's parameters do not know how fine the grid is
        assert error.code == "TOO_DENSE"  # noqa: PT017
        reject()


def assert_sound(scene, spp, seed, integrators):
    """Finite light that is not negative, and a variance likewise; finite geometry behind the mask."""
    try:
        images = [integrate(scene, spp, seed) for integrate in integrators]
    except UserError as error:
        assert error.code == "CAMERA_IN_TISSUE"  # noqa: PT017
        return
    for image in images:
        assert np.isfinite(image.mean).all()
        assert image.mean.min() >= 0
        assert np.isfinite(image.variance).all()
        assert image.variance.min() >= 0
    if scene.surface == "interface":
        seen = geometry(scene)
        assert np.isfinite(seen.z_depth[seen.mask]).all()
        assert np.isfinite(seen.normal[seen.mask]).all()


def fast(scene, spp, seed):
    """`volpath` as `volpath_simple` is called."""
    return radiance([scene], spp, seed)[0]


QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("classes", EVERY, ids="-".join)
def test_random_scenes_give_sound_light(classes):
    @settings(max_examples=12, derandomize=True, **QUIET)
    @given(scenes(*classes), st.integers(1, 4), st.integers(0, 2**63 - 1))
    def check(scene, spp, seed):
        assert_sound(scene, spp, seed, [fast])

    check()


@pytest.mark.slow
@pytest.mark.parametrize("classes", MANY, ids="-".join)
def test_more_random_scenes_give_sound_light(classes):
    """Other choices of surface, phase function, camera and light, any tissue, in both integrators."""

    @settings(max_examples=40, derandomize=True, **QUIET)
    @given(st.sampled_from(list(tissues)).flatmap(lambda t: scenes(*classes, t)), st.integers(1, 4), st.integers(0, 99))
    def check(scene, spp, seed):
        assert_sound(scene, spp, seed, [fast, radiance_simple])

    check()


def test_every_registered_class_is_drawn():
    for position, names in enumerate(NAMES):
        assert {classes[position] for classes in EVERY} == set(names)
