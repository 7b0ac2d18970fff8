"""Physical mucosa: the tables it rests on, the half space it is matched to, and what blood does to its colour."""

import numpy as np
import pytest

from endorender.scene import MucosaPhysical, Tissue, tissues
from endorender.scene.halfspace import albedo_of, reflectance
from endorender.scene.physical import ORGANS, band_weights, spectra
from endorender.scene.tissue import DarkRed
from tests.render.scenes import tube_scene


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
    colours = np.array([MucosaPhysical(blood=b).behind("refracting").albedo[0] for b in amounts])
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
    tissue = MucosaPhysical(water=0).behind("open")
    mus, mua = tissue.reduced_scattering(), tissue.absorption(tissue.blood, 0, 0)
    for c, w in enumerate(band_weights()):
        seen = w @ reflectance(mus / (mus + mua), "refracting", tissue.ior)
        assert reflectance(tissue.albedo[0][c]) == pytest.approx(seen, abs=1e-4)
    w = np.maximum(band_weights()[2], 0) / np.maximum(band_weights()[2], 0).sum()
    assert reflectance(w @ mus / (w @ mus + w @ mua), "refracting", tissue.ior) < 0.8 * reflectance(tissue.albedo[0][2])


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


# Of a half space with isotropic scattering, light straight down, without the coat's own reflection: by adding-doubling
# (iadpython 0.5.3, Sample(a, b=1e5, g=0, n, quad_pts=64).rt(), less ((n - 1) / (n + 1))²).
ADDING_DOUBLING = {
    (1.4, 0.7): 0.104040,
    (1.4, 0.9): 0.250579,
    (1.4, 0.98): 0.503700,
    (1.5, 0.7): 0.088902,
    (1.5, 0.9): 0.219905,
    (1.5, 0.98): 0.461404,
}


@pytest.mark.parametrize(("n", "a"), ADDING_DOUBLING)
def test_half_space_behind_a_refracting_wall(n, a):
    assert reflectance(a, "refracting", n) == pytest.approx(ADDING_DOUBLING[n, a], abs=1.5e-4)


def test_walls_in_the_limits():
    """Index 1 is no wall, and nothing is lost at albedo 1 but what the coat reflects of the light that falls in."""
    for wall in ("open", "straight", "refracting"):
        assert reflectance(0.8, wall, 1.0) == pytest.approx(reflectance(0.8))
        a = np.linspace(0.01, 0.99, 20)
        np.testing.assert_allclose(albedo_of(reflectance(a, wall, 1.4, 0.7), wall, 1.4, 0.7), a, atol=1e-6)
    assert reflectance(0.999996, "refracting", 1.4) == pytest.approx(1 - (0.4 / 2.4) ** 2, abs=0.012)


@pytest.mark.parametrize("wall", ["open", "straight", "refracting"])
def test_a_tissue_reflects_the_same_under_every_wall(wall):
    """What the renderer's wall does to light is made up for by the albedo."""
    tissue = MucosaPhysical(blood=0.01).behind(wall)
    mus, mua = tissue.reduced_scattering(), tissue.absorption(0.01, 0, 0, tissue.water)
    true = band_weights() @ reflectance(mus / (mus + mua), "refracting", 1.4)
    np.testing.assert_allclose(reflectance(np.array(tissue.albedo[0]), wall, 1.4, tissue.specular), true, atol=1e-4)


def test_a_scene_tells_its_tissues_the_wall():
    scene = tube_scene().with_(tissue=MucosaPhysical())
    walls = {"interface": "straight", "hybrid": "open", "volume": "open"}
    assert {surface: scene.with_(surface=surface).tissue.wall for surface in walls} == walls
    bent = scene.with_(
        boundary="refracting", labels=np.zeros(scene.medium.hu.shape, int), label_tissues={1: "mucosa_physical"}
    )
    assert bent.tissue.wall == bent.label_tissues[1].wall == "refracting"
    assert "wall" not in tissues.dump(bent.tissue)
    assert bent.tissue.albedo != scene.tissue.albedo
    # A fitted albedo is kept.
    fitted = scene.tissue.model_copy(update={"albedo": ((0.5,) * 3,)})
    assert scene.with_(tissue=fitted).tissue.albedo == fitted.albedo


def test_organs_scatter_as_measured():
    """Marchesini 1994: 14.2 cm⁻¹ at 300 nm, 6.2 at 800; own values replace an organ's."""
    a, b = ORGANS["colon"]
    assert 10 * a * (300 / 500) ** -b == pytest.approx(14.2, rel=2e-3)
    assert 10 * a * (800 / 500) ** -b == pytest.approx(6.2, rel=2e-3)
    at_500 = np.flatnonzero(spectra()["nm"] == 500)[0]
    made = [{}, {"organ": "bronchus"}, {"scattering": 1.5}, {"organ": "own", "scattering": 2.0, "power": 1.0}]
    values = [MucosaPhysical(**m).reduced_scattering()[at_500] for m in made]
    np.testing.assert_allclose(values, [0.922, 1.89, 1.5, 2.0])
    with pytest.raises(ValueError, match="organ own needs scattering and power"):
        MucosaPhysical(organ="own", power=1.0)


def test_water_and_fat_absorb():
    """Segelstein's water, van Veen's fat at tabulated wavelengths; fat yellows tissue without blood."""
    assert at("water", 600) == pytest.approx(0.0020184)
    assert at("fat", 450) == pytest.approx(0.0637, abs=1e-3)
    tissue = MucosaPhysical(water=0.5, fat=0.3)
    more = tissue.absorption(0.02, 0, 0, 0.5, 0.3) - tissue.absorption(0.02, 0, 0)
    np.testing.assert_allclose(more, 0.1 * (0.5 * spectra()["water"] + 0.3 * spectra()["fat"]), rtol=1e-5, atol=1e-9)
    lean, fatty = (MucosaPhysical(blood=0, fat=f).albedo[0] for f in (0.0, 0.5))
    assert lean[2] - fatty[2] > 3 * (lean[0] - fatty[0]) > 0
