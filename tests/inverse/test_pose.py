"""Where photographs were taken from, and how the response is begun: on a wall that is shaded plainly, and on traced
pictures of a phantom."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from endorender.errors import UserError
from endorender.inverse.develop import developed
from endorender.inverse.parameters import moved
from endorender.inverse.pose import Seen, apart, refine, search, settle
from endorender.inverse.target import encoded
from endorender.render import geometry, synthetic
from endorender.scene import Pinhole, Response
from tests.inverse import recoveries
from tests.render.scenes import tube_scene

FIXED = Response(exposure=1.0, contrast=1.0, veil=(0.0, 0.0, 0.0), gamma=2.2)


def photograph(scene, response, tint=(1.0, 0.7, 0.6)):
    """(H, W, 3) uint8 of the wall in plain light."""
    picture = synthetic(scene, geometry(scene)) * np.array(tint)
    return response.resolve(picture).apply(picture)


@pytest.fixture(scope="module")
def bend():
    """A look along the bent tube with folds, off its middle."""
    return recoveries.views(recoveries.patchwork(), tube_scene().tissue, size=48)[0]


@pytest.mark.parametrize("response", [FIXED, Response(contrast=1.7, gamma=2.2)])
def test_a_settled_pose_is_the_true_one_whatever_exposure_and_contrast(bend, response):
    seen = Seen.of(photograph(bend, response), bend, FIXED)
    true = np.asarray(bend.world_from_camera)
    for seed in (1, 2):
        start = moved(true, recoveries.off(np.random.default_rng(seed), 0.6, 3.0))
        found, _ = settle(bend.with_(world_from_camera=start), seen, start)
        mm, degrees = apart(true, found)
        assert mm < 0.05
        assert degrees < 1  # about its axis the tube looks nearly alike


def test_the_search_finds_what_settling_alone_does_not(bend):
    picture = photograph(bend, FIXED)
    true = np.asarray(bend.world_from_camera)
    start = moved(true, recoveries.off(np.random.default_rng(3), 2.5, 25.0))
    far = bend.with_(world_from_camera=start)
    found, like = search(far, picture, FIXED, 3.0, 30.0)
    assert like > 0.99
    mm, degrees = apart(true, found)
    assert mm < 0.05
    assert degrees < 0.3


def test_another_place_is_not_taken_for_this_one(bend):
    rng = np.random.default_rng(0)
    _, like = search(bend, rng.integers(0, 256, (48, 48, 3)).astype(np.uint8), FIXED, 1.0, 5.0, samples=40)
    assert like < 0.5


def test_exposure_and_gamma_are_begun_from_levels():
    """Colour goes into no exposure, and the tone's true exponent is found however far it is from the first guess."""
    rng = np.random.default_rng(0)
    shape = np.exp(12 * gaussian_filter(rng.normal(size=(2, 40, 40, 1)), (0, 4, 4, 0)) - 1)
    light = [x * np.array([1.0, 0.8, 0.7]) for x in shape]
    true = FIXED.model_copy(update={"gamma": 1.2})
    shown = [
        np.round(255 * encoded(x * g * np.array([1, 0.6, 0.5]), true)).astype(np.uint8)
        for x, g in zip(light, (0.3, 0.6))
    ]
    seen = np.ones((40, 40), bool)
    response, exposures = developed(light, shown, seen, FIXED, gamma=True)
    assert response.gamma == pytest.approx(1.2, rel=0.02)
    colour = 0.6**0.7152 * 0.5**0.0722
    assert exposures == pytest.approx([0.3 * colour, 0.6 * colour], rel=0.03)
    kept, _ = developed(light, shown, seen, FIXED, gamma=False)
    assert kept.gamma == 2.2
    with pytest.raises(UserError, match="photograph 2 is burnt out"):
        developed(light, [shown[0], np.full_like(shown[1], 255)], seen, FIXED, gamma=True)
    with pytest.raises(UserError, match="no light returns"):
        developed([0 * light[0]], shown[:1], seen, FIXED, gamma=True)


@pytest.mark.slow
def test_a_pose_in_a_phantom_from_traced_pictures():
    """From 5 mm and 10 degrees off; tests/benchmarks/recovery.py has more views and more samples.

    With 100 samples a pixel the photograph's own noise moves the pose by 0.1 to 0.3 mm.
    """
    (row,) = recoveries.pose(5.0, 10.0, count=1, size=48, spp=400, far=True, steps=(16,) * 4 + (48,) * 6)
    _, _, _, mm_searched, degrees_searched, mm, degrees, _ = row
    assert mm_searched < 2
    assert degrees_searched < 5
    assert mm < 0.2
    assert degrees < 0.6


@pytest.mark.slow
def test_refining_says_how_well_it_knows():
    scene = recoveries.views(recoveries.patchwork(), tube_scene().tissue, size=32)[0]
    scene = scene.with_(camera=Pinhole(width=32, height=32, fov=95))
    (taken,), response = recoveries.photographs([scene], FIXED.model_copy(update={"exposure": None}), 64)
    asked = []
    _, spread = refine(scene, taken, response, (8,) * 6, progress=lambda *at: asked.append(at))
    assert asked == [(n, 6) for n in range(6)]
    assert spread.shape == (6,)
    assert (spread > 0).all()
    assert np.linalg.norm(spread[:3]) < 1
