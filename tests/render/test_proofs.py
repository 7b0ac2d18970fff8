"""Light transport against theory: what is measured stands in proofs.py, what is asked of it here."""

import dataclasses

import numpy as np
import pytest

from endorender.render import radiance
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.scene import Constant, phase_functions
from tests.render import proofs
from tests.render.scenes import cube_scene, tube_scene

PHASES = pytest.mark.parametrize(("name", "case"), phase_functions.cases())


@pytest.mark.parametrize("tracker", proofs.TRACKERS)
@pytest.mark.parametrize("profile", proofs.PROFILES)
@pytest.mark.parametrize("measure", [proofs.free_flights, proofs.shadow_rays])
def test_tracking_passes_what_it_should(measure, profile, tracker):
    """At least 10⁶ paths, so many that 0.2 % are nearly three standard errors or more."""
    found = measure(profile, tracker)
    assert found.error < 0.0008 * found.expected
    assert abs(found.z) < 4
    assert abs(found.bias) < 0.002


@pytest.mark.parametrize("distance", [3.0, 10.0, 100.0])
def test_inverse_square(distance):
    found = proofs.inverse_square(distance)
    assert abs(found.z) < 4
    assert abs(found.bias) < 0.005


@PHASES
def test_furnace(name, case):
    """Radiance 1 everywhere, without outliers."""
    found, image = proofs.furnace(phase_functions.build({"type": name, **case}))
    assert abs(found.bias) < 0.005
    assert abs(found.z) < 4
    assert image.mean.max() < 2
    assert np.abs(image.mean - 1).max() < 6 * np.sqrt(image.variance.max())


@PHASES
def test_reciprocity(name, case):
    """Lamp and lens change places."""
    phase = phase_functions.build({"type": name, **case})
    if proofs.too_peaked(phase):
        pytest.skip("light seldom meets so narrow a peak; its chi-square is in tests/scene/test_sampling.py")
    found = proofs.reciprocity(phase)
    assert found.error < 0.03
    assert abs(found.z) < 4


@pytest.mark.parametrize(("spp", "render"), [(131072, None), (16384, radiance_simple)], ids=["volpath", "simple"])
def test_van_de_hulst_slab(spp, render):
    for found in proofs.slab(spp, render):
        assert found.error < 0.005 * found.expected
        assert abs(found.z) < 4


def test_chandrasekhar_half_space():
    found = proofs.half_space()
    assert found.error < 0.002
    assert abs(found.z) < 4


def test_adding_doubling_knows_chandrasekhar():
    assert proofs.deep_reflectance(0.9, 0.0) == pytest.approx(0.41495, abs=1e-5)


@pytest.mark.parametrize(
    ("after", "spp"), [(10, 8192), *(pytest.param(n, 16384, marks=pytest.mark.slow) for n in (10, 30))]
)
def test_similarity_reflects_what_forward_scattering_does(after, spp):
    """Albedo 0.96, g 0.9: within 0.5 % of the truth; darker channels, whose light leaves sooner, too."""
    for found in proofs.similar_half_space(after, spp=spp):
        assert found.error < 0.003 * found.expected
        assert abs(found.bias) < 0.005


def test_the_measures_see_what_is_wrong(monkeypatch):
    """Two per cent too much extinction, and a picture one standard error off, are found."""
    profile = proofs.PROFILES["linear"]()
    wrong = dataclasses.replace(profile, sigma_t=lambda t: 1.02 * profile.sigma_t(t))
    monkeypatch.setitem(proofs.PROFILES, "linear", lambda: wrong)
    assert abs(proofs.free_flights("linear", "local majorants").z) > 4
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(2, 32, 32, 3)), np.ones((32, 32, 3))
    assert proofs.compare(mean[0], variance, mean[1], variance).rms < 1.05
    assert proofs.compare(mean[0] + 1, variance, mean[1], variance).rms > 1.15
    assert np.abs(proofs.compare(mean[0] + 1, variance, mean[1], variance).mean_z).min() > 3.5


def test_what_cut_paths_would_have_brought_is_told():
    """White scatterers under even light: what is seen and what the limit took are 1 together, to rounding."""
    scene = cube_scene(40.0, 1.0, [Constant()], max_scatterings=50)
    found = radiance([scene], 256, 1)[0]
    assert 0.1 < found.cut < 0.9
    assert found.unspent == pytest.approx([found.cut] * 3)
    assert found.mean.mean() + found.cut == pytest.approx(1, abs=1e-5)
    whole = radiance([scene.with_(max_scatterings=10_000)], 16, 1)[0]
    assert (whole.cut, *whole.unspent) == (0, 0, 0, 0)


def test_cut_paths_of_each_look():
    """One count for all looks that share paths, throughput of each."""
    dark, pale = (tube_scene(albedo=[[a, 0.8 * a, 0.6 * a]] * 4).with_(max_scatterings=3) for a in (0.5, 0.9))
    found = radiance([dark, pale], 64, 2)
    assert found[0].cut == found[1].cut > 0.01
    assert (found[0].unspent < found[1].unspent).all()
    assert (np.diff(found[0].unspent) < 0).all()
