"""Physical mucosa: the tables it rests on, the half space it is matched to, and what blood does to its colour."""

import numpy as np
import pytest

from endorender.scene import MucosaPhysical, Tissue, tissues
from endorender.scene.physical import albedo_of, band_weights, reflectance, spectra
from endorender.scene.tissue import DarkRed


def at(name, nm):
    s = spectra()
    return s[name][np.flatnonzero(s["nm"] == nm)[0]]


def test_haemoglobin_at_known_wavelengths():
    """Prahl's table: the Soret band, oxygenated haemoglobin's two peaks, the red where blood is bright."""
    for nm, hbo2, hb in [(410, 466840, 303956), (540, 53236, 46592), (560, 32613.2, 53788), (660, 319.6, 3226.56)]:
        assert at("hbo2", nm) == pytest.approx(hbo2, rel=1e-6)
        assert at("hb", nm) == pytest.approx(hb, rel=1e-6)
    # 150 g/l of haemoglobin, half of it oxygenated: 2.303 ε c.
    blood = MucosaPhysical(saturation=0.5).absorption(1.0, 0.0, 0.0)
    green = blood[np.flatnonzero(spectra()["nm"] == 540)[0]]
    assert green == pytest.approx(0.1 * np.log(10) * 0.5 * (53236 + 46592) * 150 / 64500, rel=1e-6)


def test_reflectance_of_a_half_space():
    """Chandrasekhar's H-function: 0.41495 at albedo 0.9; nothing of nothing, all of all; inverted exactly."""
    assert reflectance(0.9) == pytest.approx(0.41495, abs=1e-5)
    assert reflectance(0.0) == 0
    assert reflectance(0.999996) > 0.99
    a = np.linspace(0.01, 0.995, 50)
    np.testing.assert_allclose(albedo_of(reflectance(a)), a, atol=1e-6)


def test_bands_turn_white_into_white_and_red_light_into_red():
    weights = band_weights()
    np.testing.assert_allclose(weights.sum(1), 1)
    red = weights @ (spectra()["nm"] > 600)
    assert red[0] > 0.7
    assert abs(red[1:]).max() < 0.2


def test_colour_follows_blood_oxygen_and_bile():
    amounts = [0.005, 0.01, 0.02, 0.05, 0.1]
    colours = np.array([MucosaPhysical(blood=b).albedo[0] for b in amounts])
    assert (colours[:, 0] > colours[:, 1]).all()
    assert (colours[:, 1] >= colours[:, 2]).all()
    assert (np.diff(colours, axis=0) < 0).all()
    assert 0.7 < colours[0].min() < colours[0].max() < 1
    more_oxygen = MucosaPhysical(saturation=0.98).albedo[0][0] - MucosaPhysical(saturation=0.3).albedo[0][0]
    assert more_oxygen > 0.01
    jaundice = np.subtract(MucosaPhysical().albedo[0], MucosaPhysical(bile=2e-4).albedo[0])
    assert jaundice[2] > 10 * abs(jaundice[0])
    assert MucosaPhysical(melanin=0.02).albedo[0] < MucosaPhysical().albedo[0]


def test_averaged_absorption_would_give_the_wrong_colour():
    """The band's albedo reflects what the spectrum does; that of the mean absorption reflects less."""
    tissue = MucosaPhysical()
    mus, mua = tissue.reduced_scattering(), tissue.absorption(tissue.blood, 0, 0)
    for c, w in enumerate(band_weights()):
        seen = w @ reflectance(mus / (mus + mua))
        assert reflectance(tissue.albedo[0][c]) == pytest.approx(seen, abs=1e-4)
    w = np.maximum(band_weights()[2], 0) / np.maximum(band_weights()[2], 0).sum()
    assert reflectance(w @ mus / (w @ mus + w @ mua)) < 0.8 * reflectance(tissue.albedo[0][2])


def test_similarity_is_a_relation_between_both_versions():
    short, full = MucosaPhysical(), MucosaPhysical(similarity=False, g=0.8)
    assert (short.phase.g, full.phase.g) == (0, 0.8)
    one, two = short.optics(), full.optics()
    np.testing.assert_allclose(one.sigma_t * one.albedo, two.sigma_t * two.albedo * (1 - 0.8), rtol=1e-4)
    np.testing.assert_allclose(one.sigma_t * (1 - one.albedo), two.sigma_t * (1 - two.albedo), rtol=1e-4)


def test_looks_of_different_blood_share_paths_only_where_they_scatter_alike():
    assert MucosaPhysical().shares_paths(MucosaPhysical())
    assert not MucosaPhysical().shares_paths(MucosaPhysical(blood=0.1))
    assert not MucosaPhysical().shares_paths(Tissue())
    assert Tissue().shares_paths(Tissue(vessel_albedo=(0.1, 0.1, 0.1)))
    assert not DarkRed().shares_paths(DarkRed(roughness=0.3))


def test_another_blood_can_be_drawn_over_a_dumped_tissue():
    told = tissues.dump(MucosaPhysical())
    assert "albedo" not in told
    assert tissues.build({**told, "blood": 0.1}).albedo == MucosaPhysical(blood=0.1).albedo
