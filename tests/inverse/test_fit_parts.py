"""What a fit is made of: scales, photographs as radiance, crops for the Jacobian. No light is traced here."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from endorender.errors import UserError
from endorender.inverse import parameters
from endorender.inverse.calibrate import Calibrated
from endorender.inverse.curvature import Curvature, _groups
from endorender.inverse.pose import apart
from endorender.inverse.problem import _even
from endorender.inverse.report import _radiance
from endorender.inverse.target import by_rank, encoded, gains, linear, target
from endorender.inverse.unknowns import unknowns
from endorender.render import radiance
from endorender.scene import LOOKS, Point, Response
from endorender.scene.response import LUMA
from tests.render.scenes import cube_scene, tube_scene

FIXED = Response(exposure=1.2, gamma=2.2)
FOG = {"sigma_t": [0.0, 0.2, 0.3, 0.3], "albedo": [[0.9, 0.6, 0.4]] * 4}


def test_coordinates_lead_back_to_the_values_and_have_their_slope():
    scene = tube_scene("volume", **FOG)
    names = ["tissue.sigma_t", "tissue.albedo", "phase.g", "lights.0.guides", "camera.pose", "response.exposure"]
    known = unknowns([scene, scene], names, FIXED)
    u = known.pack(known.start)
    assert len(u) == len(known.labels) == 3 + 12 + 1 + 6 + 12 + 1  # extinction of air stands at its bound
    rng = np.random.default_rng(0)
    u = u + rng.normal(size=u.shape) * 0.3
    values = known.values(u)
    assert known.pack(values) == pytest.approx(u, abs=1e-9)
    assert values["tissue.sigma_t"][0] == 0
    parameters.apply(scene, known.of_view(values, 1))  # the scene takes them
    by_value = {n: rng.normal(size=v.shape) for n, v in values.items()}

    def total(at):
        return sum(float((by_value[n] * v).sum()) for n, v in known.values(at).items())

    steps = np.eye(len(u)) * 1e-5
    differences = [(total(u + s) - total(u - s)) / 2e-5 for s in steps]
    assert known.chain(by_value, values) == pytest.approx(differences, rel=1e-5, abs=1e-8)


def test_labels_say_what_is_meant():
    scene = tube_scene("volume", **FOG)
    labels = unknowns([scene] * 2, ["tissue.sigma_t", "tissue.albedo", "camera.pose"], FIXED).labels
    assert labels[0] == "tissue.sigma_t[-300 HU]"
    assert "tissue.albedo[150 HU].green" in labels
    assert labels[-1] == "camera.pose[picture 2].about z"
    own = unknowns([scene] * 2, ["response.exposure", "response.white_balance"], FIXED, [1.0, 2.0])
    assert own.labels[1:3] == ("response.exposure[picture 2]", "response.white_balance.red")
    assert len(own.labels) == 4  # green is the exposure's


@pytest.mark.parametrize(
    "names",
    [
        ["lights.0.intensity", "response.exposure"],
        ["lights.0.colour", "response.exposure"],
        ["lights.0.colour", "response.white_balance"],
        ["lights.0.colour", "lights.0.intensity"],
    ],
)
def test_of_products_one_factor_is_fitted(names):
    with pytest.raises(UserError, match="only the product") as caught:
        unknowns([tube_scene("volume", **FOG)], names, FIXED)
    assert caught.value.code == "NOT_OBSERVABLE"
    assert unknowns([tube_scene("volume", **FOG)], names[:1], FIXED).labels


def test_one_of_two_lights_keeps_its_strength():
    lights = (Point(position=(2, 2, -1), attached="world"), Point(position=(0, 2, -1), attached="world"))
    scene = cube_scene(2.0, 0.8, lights)
    assert unknowns([scene], ["lights.1.intensity", "response.exposure"], FIXED).labels
    with pytest.raises(UserError, match="only the product"):
        unknowns([scene], ["lights.0.intensity", "lights.1.intensity", "response.exposure"], FIXED)


def test_unknown_names_are_one_line():
    scene = tube_scene("volume", **FOG)
    with pytest.raises(UserError, match=r"these can: tissue\.sigma_t"):
        unknowns([scene], ["tissue.colour"], FIXED)
    with pytest.raises(UserError, match="needs a gamma"):
        unknowns([scene], ["response.gamma"], Response(exposure=1.0))
    with pytest.raises(UserError, match=r"these can: response\.exposure"):
        unknowns([scene], ["response.veil"], FIXED)
    with pytest.raises(UserError, match="stands at a bound"):
        unknowns([tube_scene("volume", sigma_t=[0.0] * 4)], ["tissue.sigma_t"], FIXED)


@pytest.mark.parametrize(
    "response", [FIXED, *(look.response.model_copy(update={"exposure": 1.0}) for look in LOOKS.values())], ids=str
)
def test_photographs_lead_back_through_the_response(response):
    levels = np.random.default_rng(1).uniform(0.01, 0.5, (500, 3))
    seen = encoded(levels, response)
    inside = (seen < 0.97).all(-1) & (seen > 0.02).all(-1)
    assert inside.sum() > 50
    assert linear(seen, response)[inside] == pytest.approx(levels[inside], rel=2e-3, abs=1e-5)


def test_residuals_are_those_of_levels_where_pictures_are_near():
    rng = np.random.default_rng(2)
    radiance = np.ones((1, 8, 8, 1)) * rng.uniform(0.02, 0.4, 3)  # even: the slope is taken over neighbours
    photograph = np.round(encoded(radiance * FIXED.exposure, FIXED) * 255).astype(np.uint8)
    aim = target(photograph, FIXED, np.ones((1, 8, 8), bool))
    near = radiance * 1.02
    residual = aim.slope * (gains(FIXED, {}, 1) * near - aim.levels)
    exact = encoded(near * FIXED.exposure, FIXED) - photograph / 255
    assert residual == pytest.approx(exact, abs=4e-4)
    more = FIXED.model_copy(update={"gamma": FIXED.gamma * 1.01})
    change = encoded(aim.levels, more) - encoded(aim.levels, FIXED)
    assert aim.by_gamma * np.log(1.01) == pytest.approx(change, abs=2e-4)


def test_what_is_burnt_or_hidden_does_not_count():
    photograph = np.full((1, 8, 8, 3), 90, np.uint8)
    photograph[0, 2, 3, 0] = 255
    visible = np.ones((1, 8, 8), bool)
    visible[0, 5, 5] = False
    aim = target(photograph, FIXED, visible)
    assert aim.weight.sum() == 3 * 62
    assert aim.weight[0, 2, 3].sum() == aim.weight[0, 5, 5].sum() == 0
    assert target(photograph, FIXED, visible, smooth=True).weight.sum() == 3 * (64 - 18)  # their neighbours neither


def test_colours_are_dealt_out_by_rank():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 240, (5000, 1)) * np.array([[1.0, 0.6, 0.5]])
    pictures = rng.uniform(0, 3, (1, 40, 40, 3))
    visible = np.ones((1, 40, 40), bool)
    visible[0, :4] = False
    dealt = by_rank(pixels.astype(np.uint8), pictures, visible)
    assert (dealt[~visible] == 0).all()
    luma = dealt[visible] @ LUMA
    order = np.argsort(pictures[visible] @ LUMA)
    assert (np.diff(luma[order]) >= -2).all()
    wanted = np.percentile(pixels @ LUMA, [10, 50, 90])
    assert np.percentile(luma, [10, 50, 90]) == pytest.approx(wanted, abs=4)


def test_curvature_knows_what_was_seen():
    """Rows of two coordinates of which the second has none but noise: its interval is the prior's."""
    rng = np.random.default_rng(4)
    signal = np.stack([rng.normal(size=200) * 30, np.zeros(200)], 1)
    rows = signal + rng.normal(size=(2, 200, 2)) * 0.3
    seen = Curvature(rows / 8, 0.0)
    sigma = np.sqrt(np.diag(seen.covariance(1e-4, 1.5)))
    truth = 0.01 / np.sqrt((signal[:, 0] ** 2 / 64).sum())
    assert 0.75 * truth < sigma[0] < 6 * truth  # noise leaks a little of the second's into the first's
    assert sigma[1] > 0.75
    assert seen.hessian()[1, 1] < 1e-3 * seen.hessian()[0, 0]


def test_noise_that_all_columns_share_hides_no_valley():
    """Two parameters do nearly the same, and bright paths spoil both alike: how they differ is still known."""
    rng = np.random.default_rng(2)
    both, apart_, bright = rng.normal(size=(3, 20_000))
    noise = rng.normal(size=(2, 20_000)) * np.exp(2 * bright)
    rows = np.stack([np.stack([both + 0.05 * apart_ + n, both - 0.05 * apart_ + n], -1) for n in noise])
    seen = Curvature(rows, 0.0)
    across = np.array([1.0, -1.0]) / np.sqrt(2)
    told = across @ seen.hessian(-2) @ across
    assert told == pytest.approx(20_000 * 2 * 0.05**2, rel=0.15)
    careful = across @ seen.hessian(2) @ across
    assert told < careful < 1.3 * told


def test_residuals_are_averaged_over_neighbours_that_count():
    """Noise goes, a slow change stays, and what has no weight (burnt out, behind the mask) leaks into nothing."""
    rng = np.random.default_rng(5)
    slow = np.broadcast_to(np.linspace(-0.2, 0.2, 40)[None, None, :, None], (1, 40, 40, 3))
    residuals = slow + 0.1 * rng.normal(size=(2, 1, 40, 40, 3))
    weight = np.ones((1, 40, 40, 3))
    weight[:, 10:20, 10:20] = 0
    residuals[:, weight == 0] = 1e3
    left = (_even(SimpleNamespace(weight=weight, residuals=residuals)) - slow)[:, weight > 0]
    assert left.std() < 0.045
    assert np.abs(left).max() < 0.25


def test_distance_of_poses():
    a = tube_scene().world_from_camera
    b = parameters.moved(a, np.array([0.3, 0, -0.4, 0, np.radians(3), 0]))
    mm, degrees = apart(a, b)
    assert degrees == pytest.approx(3, abs=1e-6)
    assert mm == pytest.approx(0.5, abs=0.02)


def test_channels_and_views_share_a_picture_of_the_jacobian():
    free = np.ones((2, 3), bool)
    free[1, 0] = False
    assert _groups("tissue.albedo", free) == [[0, 1, 2], [3, 4]]
    assert _groups("camera.pose", np.ones((2, 6), bool))[1] == [1, 7]
    assert _groups("phase.g", np.ones((), bool)) == [[0]]
    assert _groups("tissue.sigma_t", np.array([False, True, True])) == [[0], [1]]


def test_the_sheet_shows_pictures_without_the_noise_of_a_fit(monkeypatch):
    scene = tube_scene(size=(24, 16), sigma_t=(0.0, 3.0, 3.0, 3.0))
    truth = radiance([scene], 512, seed=2)[0].mean
    noisy = np.stack([radiance([scene], 2, seed)[0].mean for seed in (0, 1)])[:, None]
    photograph = np.full((1, 16, 24, 3), 90, np.uint8)
    problem = SimpleNamespace(
        views=(scene,), scenes=lambda values: [scene], statistics=False, response=Response(exposure=1)
    )
    problem.wanted = lambda pictures, visible: photograph
    state = SimpleNamespace(pictures=noisy, values={}, gain=np.ones((1, 1, 1, 3)), loss=0.1)
    found = SimpleNamespace(problem=problem, before=state, after=state)
    shown = _radiance(found, state)
    assert shown.shape == (1, 16, 24, 3)
    error = [np.abs(p - truth).mean() for p in (shown[0], noisy.mean(0)[0])]
    assert error[0] < 0.5 * error[1]
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    np.testing.assert_array_equal(_radiance(found, state), noisy.mean(0))
    done = Calibrated(found, scene.camera, 100.0, None, "pixel by pixel")
    with Image.open(io.BytesIO(done._repr_png_())) as sheet:
        assert sheet.width > 600
    assert repr(done) == "Calibrated(pixel by pixel; loss 0.1 -> 0.1)"
