"""Losses against values worked by hand, and what a mask must never do."""

from math import log

import pytest
import torch

from endorender.errors import UserError
from training.crf import negative_log_likelihood
from training.data import DepthFrames
from training.losses import DepthLoss, losses
from training.models import models
from training.models.crf_network import RandomField

TRUTH = torch.tensor([[[[2.0, 4.0], [8.0, 0.0]]], [[[1.0, 0.0], [0.0, 0.0]]]])
PREDICTION = torch.tensor([[[[4.0, 4.0], [4.0, 9.0]]], [[[3.0, 9.0], [9.0, 9.0]]]])
MASK = TRUTH > 0
L = log(2)
CASES = [case for case in losses.cases() if issubclass(losses[case[0]], DepthLoss)]


def test_silog_is_eigens_formula_per_image():
    # d of the first image: ln 2, 0, −ln 2; of the second: ln 3.
    for focus in (0.0, 0.5, 1.0):
        first = 2 * L**2 / 3 - focus * 0
        second = log(3) ** 2 * (1 - focus)
        value = losses.build({"type": "silog", "variance_focus": focus})(PREDICTION, TRUTH, MASK)
        assert float(value) == pytest.approx((first + second) / 2, abs=1e-6)


def test_silog_with_full_focus_is_blind_to_scale():
    loss = losses.build({"type": "silog", "variance_focus": 1.0})
    assert float(loss(7 * PREDICTION, TRUTH, MASK)) == pytest.approx(float(loss(PREDICTION, TRUTH, MASK)), abs=1e-5)


def test_log_l1_by_hand():
    assert float(losses.build("log_l1")(PREDICTION, TRUTH, MASK)) == pytest.approx((2 * L / 3 + log(3)) / 2, abs=1e-6)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_what_the_mask_hides_has_no_say(name, parameters):
    loss = losses.build({"type": name, **parameters})
    reference = loss(PREDICTION, TRUTH, MASK)
    for hidden in (0.0, -1.0, float("nan"), float("inf")):
        truth = TRUTH.where(MASK, torch.tensor(hidden))
        prediction = PREDICTION.clone().requires_grad_()
        value = loss(prediction, truth, MASK)
        value.backward()
        assert float(value.detach()) == pytest.approx(float(reference), abs=1e-6)
        assert bool(prediction.grad.isfinite().all())
        assert float(prediction.grad[~MASK].abs().sum()) == 0


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_the_truth_itself_costs_nothing_and_an_empty_mask_is_an_error(name, parameters):
    loss = losses.build({"type": name, **parameters})
    assert float(loss(TRUTH, TRUTH, MASK)) == pytest.approx(0, abs=1e-7)
    mask = MASK.clone()
    mask[1] = False
    with pytest.raises(UserError, match="image 1") as refusal:
        loss(PREDICTION, TRUTH, mask)
    assert refusal.value.code == "EMPTY_MASK"


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_gradients_are_the_derivatives(name, parameters):
    loss = losses.build({"type": name, **parameters})
    prediction = (PREDICTION.double() + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, TRUTH.double(), MASK), (prediction,))


def test_berhu_by_hand():
    # |x| of the first image: 2, 0, 4; c = 0.2 · 4 = 0.8. Of the second: 2, c = 0.4.
    first = ((4 + 0.64) / 1.6 + 0 + (16 + 0.64) / 1.6) / 3
    second = (4 + 0.16) / 0.8
    assert float(losses.build("berhu")(PREDICTION, TRUTH, MASK)) == pytest.approx((first + second) / 2, rel=1e-6)


def test_berhu_is_linear_below_its_threshold():
    truth = torch.full((1, 1, 1, 4), 10.0)
    prediction = truth + torch.tensor([1.0, -2.0, 3.0, 10.0])  # c = 5 with half of the largest
    value = losses.build({"type": "berhu", "share": 0.5})(prediction, truth, truth > 0)
    assert float(value) == pytest.approx((1 + 2 + 3 + (100 + 25) / 10) / 4)


def test_gradient_matching_by_hand():
    # d of the first image: ln 2, 0 / −ln 2, hidden: across ln 2, down 2 ln 2, over three pixels; none in the second.
    extra = losses.build({"type": "gradient_matching", "weight": 1.0, "scales": 1})
    plain = losses.build("silog")
    gained = float(extra(PREDICTION, TRUTH, MASK)) - float(plain(PREDICTION, TRUTH, MASK))
    assert gained == pytest.approx(3 * L / 3 / 2, rel=1e-5)


def test_gradient_matching_sums_over_scales():
    truth = torch.ones(1, 1, 1, 5)
    prediction = torch.tensor([0.0, 1.0, 3.0, 3.0, 0.0])[None, None, None].exp()
    # Steps 1, 2, 0, 3 over five pixels; every second pixel: 3, 3 over three; every fourth: 0 over two.
    expected = 6 / 5 + 6 / 3 + 0
    loss = losses.build({"type": "gradient_matching", "weight": 1.0, "scales": 3, "base": "log_l1"})
    base = losses.build("log_l1")(prediction, truth, truth > 0)
    assert float(loss(prediction, truth, truth > 0) - base) == pytest.approx(expected, rel=1e-5)
    shifted = float(loss(7 * prediction, truth, truth > 0)) - float(
        losses.build("log_l1")(7 * prediction, truth, truth > 0)
    )
    assert shifted == pytest.approx(expected, rel=1e-5)  # scale costs nothing here


def test_crf_likelihood_takes_the_mean_logarithm_of_valid_pixels():
    labels = torch.tensor([[0, 0, 1], [0, 2, 2]])
    pairs, strength = torch.tensor([[0, 1], [0, 2], [1, 2]]), torch.tensor([0.2, 0.5, 0.1], dtype=torch.float64)
    field = RandomField(pairs, strength, torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64), labels)
    truth = torch.tensor([[20.0, 40.0, 0.0], [0.0, 10.0, 10.0]])
    value = losses.build("crf_nll").of_field(field, truth, truth > 0, log(20))
    y = torch.tensor([0.5 * L, 0.0, -L], dtype=torch.float64)
    expected = negative_log_likelihood(field.a, field.z, y, torch.tensor([True, False, True])) / 2
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_crf_likelihood_trains_the_network_and_belongs_to_no_other(make_tubes):
    data = DepthFrames(make_tubes(views=2, variations=("synthetic",)).frames[:2])
    batch = torch.utils.data.default_collate([data[k] for k in range(2)])
    torch.manual_seed(0)
    network = models.build({"type": "cnn_crf", "superpixels": 40, "width": 8, "levels": 2}).network()
    loss, optimiser = losses.build("crf_nll"), torch.optim.AdamW(network.parameters(), lr=1e-2)
    history = []
    for _ in range(25):
        value = loss.of(network, batch)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        history.append(float(value.detach()))
    assert history[-1] < history[0] - 0.1
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in network.parameters())
    with pytest.raises(UserError, match="cnn_crf"):
        loss.of(models.build({"type": "unet", "width": 8, "levels": 2}).network(), batch)
    batch["mask"][1] = False
    with pytest.raises(UserError, match="image 1"):
        loss.of(network, batch)
