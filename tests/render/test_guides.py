"""The denoiser's guides: means over a pixel, so that what is thinner than one is not dotted."""

import numpy as np
import pytest

from endorender.render import denoise, geometry, guides, radiance
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


@pytest.mark.slow
def test_denoised_vessels_are_nearer_to_the_truth():
    """relMSE against many samples where pixel means and centres differ: on a small wall."""
    pytest.importorskip("pyoidn")
    scene = tube_scene(size=(48, 32)).with_(mucosa=LAYER, tissue=tissues.build("pale_pink"))
    centre, mean = geometry(scene), guides([scene])[0]
    differ = np.abs(centre.albedo - mean.albedo).max(-1) > 0.05
    image, truth = radiance([scene], 64, 1)[0].mean, radiance([scene], 1024, 2)[0].mean
    error = [(((denoise(image, g) - truth) / truth)[differ] ** 2).mean() for g in (mean, centre)]
    assert differ.mean() > 0.1
    assert error[0] < 0.7 * error[1]
