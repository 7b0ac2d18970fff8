"""Losses against values worked by hand, and what a mask must never do."""

from math import log

import pytest
import torch

from endorender.errors import UserError
from training.losses import losses

TRUTH = torch.tensor([[[[2.0, 4.0], [8.0, 0.0]]], [[[1.0, 0.0], [0.0, 0.0]]]])
PREDICTION = torch.tensor([[[[4.0, 4.0], [4.0, 9.0]]], [[[3.0, 9.0], [9.0, 9.0]]]])
MASK = TRUTH > 0
L = log(2)


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


@pytest.mark.parametrize(("name", "parameters"), losses.cases())
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


@pytest.mark.parametrize(("name", "parameters"), losses.cases())
def test_the_truth_itself_costs_nothing_and_an_empty_mask_is_an_error(name, parameters):
    loss = losses.build({"type": name, **parameters})
    assert float(loss(TRUTH, TRUTH, MASK)) == pytest.approx(0, abs=1e-7)
    mask = MASK.clone()
    mask[1] = False
    with pytest.raises(UserError, match="image 1") as refusal:
        loss(PREDICTION, TRUTH, mask)
    assert refusal.value.code == "EMPTY_MASK"


@pytest.mark.parametrize(("name", "parameters"), losses.cases())
def test_gradients_are_the_derivatives(name, parameters):
    loss = losses.build({"type": name, **parameters})
    prediction = (PREDICTION.double() + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, TRUTH.double(), MASK), (prediction,))
