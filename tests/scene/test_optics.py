"""Lens and video of the camera response, and its quick twin: against closed forms and against `Response.apply`."""

import numpy as np
import pytest

from endorender.scene import Response
from endorender.scene.optics import circle_of_confusion, coloured, defocused, vignette
from endorender.scene.quick import develop, normal, stops
from endorender.scene.response import LUMA

FOCAL = 50.0


@pytest.fixture(scope="module")
def lumen():
    """(H, W, 3) radiance of a tube of coloured mottled wall, as half floats hold it, and (H, W) z-depth in mm."""
    rng = np.random.default_rng(2)
    y, x = (np.mgrid[:96, :120] - np.array([50, 55])[:, None, None]) / FOCAL
    z = (12 / np.maximum(np.hypot(x, y), 0.2)).astype(np.float32)
    blocks = rng.uniform(0.7, 1.2, (12, 15, 3)).repeat(8, 0).repeat(8, 1)
    light = 800 / z[..., None] ** 2 * blocks * [0.9, 0.55, 0.4]
    return light.astype(np.float16).astype(np.float32), z


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"contrast": 2.1, "hue": 0.0, "veil": (0.02, 0.01, 0.0)},
        {"contrast": 0.6, "hue": 1.0, "metered": 50, "gamma": 1.8},
        {"white_balance": (1.3, 1.0, 0.7), "gamma": 2.4, "target": 200},
        {"vignette": 0.6, "aperture": 0.3, "focus": 12},
        {"jpeg_quality": 60},
    ],
    ids=lambda values: "-".join(values) or "plain",
)
@pytest.mark.parametrize("masked", [False, True])
def test_the_quick_picture_is_the_exact_one(lumen, values, masked):
    """Within one level at equal exposure (a JPEG passes such a difference on to its block), and the exposure itself
    within a tenth of a stop and a few levels."""
    light, z = lumen
    mask = np.hypot(*(np.mgrid[:96, :120] - np.array([47.5, 59.5])[:, None, None])) < 47 if masked else None
    planes = np.ascontiguousarray(light.transpose(2, 0, 1)).astype(np.float16)
    response = Response(**values)
    fixed = response.resolve(light, mask, z, FOCAL)
    exact = fixed.apply(light, 0, mask, z, FOCAL).astype(int)
    quick = develop(planes, fixed, np.random.default_rng(0), mask, z, FOCAL).transpose(1, 2, 0).astype(int)
    if response.jpeg_quality is None:
        assert np.abs(quick - exact).max() <= 1
    assert np.abs(quick - exact).mean() < 0.1
    if mask is not None and response.jpeg_quality is None:
        assert not quick[~mask].any()
    metered = develop(planes, response, np.random.default_rng(0), mask, z, FOCAL).transpose(1, 2, 0)
    shown = metered[slice(None) if mask is None else mask].reshape(-1, 3) @ LUMA
    assert abs(np.percentile(shown, response.metered) - response.target) < 4


def test_the_quick_exposure_is_the_exact_one(lumen):
    light, _ = lumen
    planes = np.ascontiguousarray(light.transpose(2, 0, 1))
    for values in ({}, {"target": 60, "contrast": 2}, {"metered": 95}, {"white_balance": (1.4, 1, 0.6), "gamma": 1.8}):
        response = Response(**values)
        for scale in (1e-3, 1, 1e3):
            exact = np.log2(response.resolve(light * scale).exposure)
            assert abs(stops(planes * np.float32(scale), response) - exact) < 0.1
    assert stops(np.zeros((3, 8, 8), np.float32), Response()) == 30  # as `resolve`: as bright as it goes
    assert develop(np.zeros((3, 8, 8), np.float16), Response(), np.random.default_rng(0)).max() <= 12


@pytest.mark.parametrize("full_well", [None, 5000])
def test_a_target_that_a_hue_cannot_reach_does_not_burn_out_the_picture(full_well):
    """A kept deep red is never as bright as 200: 4000 times the light would only whiten or flatten all of it."""
    rng = np.random.default_rng(0)
    light = rng.lognormal(0, 1, (48, 60, 1)) * [1.0, 0.08, 0.04]
    response = Response(target=200, hue=1, metered=50, veil=(0, 0, 0), full_well=full_well)
    exact = np.log2(response.resolve(light).exposure)
    assert exact < 10
    assert abs(stops(light.transpose(2, 0, 1).astype(np.float32), response) - exact) < 1
    for picture in (
        response.apply(light, seed=1),
        develop(light.transpose(2, 0, 1).astype(np.float32), response, rng).transpose(1, 2, 0),
    ):
        assert np.ptp(picture @ LUMA) > 30
        if full_well:  # what the sensor cuts is whitened, and so the target is reached
            assert abs(np.percentile(picture @ LUMA, 50) - 200) < 12


def test_quick_noise_has_the_mean_and_variance_of_counted_electrons():
    response = Response(exposure=1, contrast=1, veil=(0, 0, 0), gamma=1, full_well=4000, read_noise=12)
    level = np.array([0.02, 0.1, 0.4])
    planes = np.broadcast_to(level.astype(np.float32)[:, None, None], (3, 150, 200))
    seen = [develop(planes, response, np.random.default_rng(k)) / 255.0 for k in range(12)]
    expected = np.sqrt(level / 4000 + (12 / 4000) ** 2 + 1 / 12 / 255**2)
    np.testing.assert_allclose(np.mean(seen, (0, 2, 3)), level, atol=3e-4)
    np.testing.assert_allclose(np.std(seen, (0, 2, 3)), expected, rtol=0.02)
    flat = (np.array(seen) - level[:, None, None]) / expected[:, None, None]
    assert abs((flat[..., 1:] * flat[..., :-1]).mean()) < 0.01
    assert abs((flat[:, 0] * flat[:, 1]).mean()) < 0.01
    assert abs((flat[0] * flat[1]).mean()) < 0.02
    large = normal(np.random.default_rng(0), 1 << 18)  # more than the table lends: drawn
    assert abs(large.std() - 1) < 0.01


def test_a_point_out_of_focus_becomes_a_spot_of_the_thin_lens_size():
    """Diameter f A |1/z - 1/focus|; an even disc of it has a standard deviation of a quarter along each axis."""
    z = np.full((65, 65), 5.0)
    z[0, 0], z[0, 1] = np.nan, 0
    spread = circle_of_confusion(z, 200.0, 20.0, 0.2)
    assert spread[1, 1] == pytest.approx(200 * 0.2 * (1 / 5 - 1 / 20))
    assert spread[0, 0] == spread[0, 1] == 0  # nothing is known there
    assert circle_of_confusion(np.full((2, 2), 20.0), 200.0, 20.0, 0.2).max() == 0
    for diameter in (1.0, 2.5, 6.0, 14.0):
        point = np.zeros((1, 65, 65))
        point[0, 32, 32] = 1
        spot = defocused(point, np.full((65, 65), diameter))[0]
        assert spot.sum() == pytest.approx(1)
        assert spot.min() >= 0
        variance = (spot.sum(0) * (np.arange(65) - 32) ** 2).sum()
        assert variance == pytest.approx((diameter / 4) ** 2, rel=1e-6)


def test_defocus_leaves_what_is_even_and_what_is_sharp_and_stays_within_the_mask():
    rng = np.random.default_rng(0)
    light, blur = rng.random((3, 40, 50)), np.zeros((40, 50))
    assert defocused(light, blur) is light
    blur[:, 25:] = 5
    half = defocused(light, blur)
    np.testing.assert_array_equal(half[:, :, :25], light[:, :, :25])
    assert half[:, :, 30:].std() < 0.5 * light[:, :, 30:].std()
    mask = np.zeros((40, 50), bool)
    mask[5:35, 5:45] = True
    even = np.where(mask, 0.7, 0.0)[None].repeat(3, 0)
    np.testing.assert_allclose(defocused(even, np.full((40, 50), 8.0), mask), even, atol=1e-12)
    with pytest.raises(ValueError, match="needs the depth"):
        Response(aperture=0.2).apply(np.ones((8, 8, 3)))


def test_vignette_and_noise_of_colour():
    left = vignette(5, 7, 0.4)
    assert left[2, 3] == 1
    np.testing.assert_allclose(left[[0, 0, -1, -1], [0, -1, 0, -1]], 0.6, rtol=1e-6)
    noise = np.random.default_rng(0).normal(size=(2, 30, 40))
    rgb = coloured(noise, 60, 80)
    np.testing.assert_allclose(LUMA @ rgb.reshape(3, -1), 0, atol=2e-3)  # luma stays
    np.testing.assert_array_equal(rgb[:, ::2, ::2], rgb[:, 1::2, 1::2])  # half the resolution
    grey = np.full((60, 80, 3), 0.2)
    plain, noisy = (Response(exposure=1, chroma_noise=c).apply(grey, seed=1).astype(float) for c in (0, 6))
    assert np.abs(noisy @ LUMA - plain @ LUMA).mean() < 0.5
    assert (noisy[..., 0] - plain[..., 0]).std() == pytest.approx(6 * 1.5748, rel=0.05)
    assert np.array_equal(noisy, Response(exposure=1, chroma_noise=6).apply(grey, seed=1))
    with pytest.raises(ValueError, match="needs a seed"):
        Response(chroma_noise=6).apply(grey)
