"""What the denoiser is given: guides that are means over a pixel, and mirrored light by itself."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from endorender.render import denoise, geometry, guides, in_parts, radiance
from endorender.scene import Mucosa, tissues
from tests.render.scenes import tube_scene

LAYER = Mucosa(vessels=80.0, territory=2.0, seed=3)


def test_a_pixels_guide_is_the_mean_of_what_a_finer_picture_sees():
    coarse = tube_scene(size=(24, 16)).with_(mucosa=LAYER)
    fine = geometry(coarse.with_(camera=coarse.camera.resized(24 * 4, 16 * 4)))
    found = guides([coarse])[0]
    assert np.isfinite(found.albedo).all()
    assert np.isfinite(found.normal).all()
    normal = np.nan_to_num(fine.normal).reshape(16, 4, 24, 4, 3).mean((1, 3))
    np.testing.assert_allclose(found.normal, normal, atol=2e-4)
    # Of the three depths below the wall each place of a pixel takes one.
    albedo = fine.albedo.reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(found.albedo - albedo).mean() < 0.003
    assert np.abs(found.albedo - albedo).mean() < 0.3 * np.abs(geometry(coarse).albedo - albedo).mean()


def test_looks_of_a_view_have_the_guides_that_they_have_alone():
    scene = tube_scene(size=(12, 8)).with_(mucosa=LAYER)
    looks = [scene.with_(tissue=tissues.build("deep_red")), scene.with_(mucosa=None), scene]
    for one, together in zip(looks, guides(looks)):
        alone = guides([one])[0]
        assert alone.albedo.tobytes() == together.albedo.tobytes()
        assert alone.normal.tobytes() == together.normal.tobytes()


def test_what_meets_no_wall_or_lies_outside_the_mask_is_dark():
    scene = tube_scene(size=(24, 16)).with_(mucosa=LAYER)
    masked = scene.with_(camera=scene.camera.model_copy(update={"mask": "circle"}))
    found = guides([masked])[0]
    hidden = ~masked.camera.visible()
    assert hidden.any()
    assert not found.albedo[hidden].any()
    assert not found.normal[hidden].any()
    assert found.albedo[~hidden].all()


def test_mirrored_light_is_a_part_of_the_same_paths():
    scene = tube_scene().with_(mucosa=LAYER)
    looks = [scene.with_(tissue=tissues.build(n)) for n in ("pale_pink", "deep_red")]
    alone = radiance(looks, 16, 5)
    for one, (light, mirrored) in zip(alone, in_parts(looks, 16, 5)):
        np.testing.assert_allclose(light.mean, one.mean, rtol=1e-4, atol=1e-6)
        assert (mirrored <= light.mean + 1e-6).all()
        assert mirrored.min() > 0
    # Of tissue that is black it is all there is, of a wall without a coat nothing.
    black = tube_scene(albedo=[[0.0, 0.0, 0.0]] * 4)
    light, mirrored = in_parts([black], 16, 5)[0]
    assert mirrored.tobytes() == light.mean.tobytes()
    assert not in_parts([tube_scene(specular=0.0)], 16, 5)[0][1].any()
    assert in_parts([tube_scene("volume")], 4, 5)[0][1] is None


def test_glints_stay_sharp_where_the_mirrored_part_is_known():
    pytest.importorskip("pyoidn")
    rng = np.random.default_rng(0)
    lean_on = guides([tube_scene(size=(48, 32)).with_(mucosa=LAYER)])[0]
    tissue = 0.5 * lean_on.albedo
    spots = np.zeros((32, 48))
    spots[rng.integers(2, 30, 12), rng.integers(2, 46, 12)] = rng.uniform(2, 6, 12)
    glints = np.repeat(gaussian_filter(spots, 0.9)[..., None], 3, -1)
    mirrored = (glints * rng.uniform(0.8, 1.2, glints.shape)).astype(np.float32)
    noisy = (tissue * rng.uniform(0.4, 1.6, tissue.shape) + mirrored).astype(np.float32)
    shiny = glints.max(-1) > 0.1
    whole, parts = denoise(noisy, lean_on), denoise(noisy, lean_on, mirrored)
    error = [np.abs(image - tissue - glints)[shiny].mean() for image in (parts, whole)]
    assert error[0] < 0.5 * error[1]


@pytest.mark.slow
def test_denoised_vessels_are_nearer_to_the_truth():
    """relMSE against many samples where pixel means and centres differ: on a small wall."""
    pytest.importorskip("pyoidn")
    scene = tube_scene(size=(48, 32)).with_(mucosa=LAYER, tissue=tissues.build("pale_pink"))
    centre, mean = geometry(scene), guides([scene])[0]
    differ = np.abs(centre.albedo - mean.albedo).max(-1) > 0.05
    image, truth = radiance([scene], 64, 1)[0].mean, radiance([scene], 1024, 2)[0].mean
    error = [(((denoise(image, g) - truth) / truth)[differ] ** 2).mean() for g in (mean, centre)]
    assert differ.mean() > 0.03
    assert error[0] < 0.7 * error[1]
