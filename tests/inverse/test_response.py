"""The response as a torch module: the same numbers as on the host, and gradients of them."""

import numpy as np
import pytest
import torch

from endorender.errors import UserError
from endorender.inverse import Response
from endorender.scene import LOOKS
from endorender.scene import Response as Fixed

RADIANCE = np.random.default_rng(0).gamma(1.0, 0.3, (16, 16, 3))


@pytest.mark.parametrize(
    "fixed",
    [
        *(look.response.model_copy(update={"exposure": 1.7}) for look in LOOKS.values()),
        Fixed(exposure=0.6, gamma=2.2, white_balance=(1.2, 1.0, 0.7)),
    ],
    ids=str,
)
def test_it_is_the_response_of_the_host(fixed):
    levels = Response(fixed)(torch.from_numpy(RADIANCE)).detach().numpy()
    assert levels == pytest.approx(fixed._tone(RADIANCE * fixed.exposure), abs=2e-6)
    assert (np.abs(levels * 255 - fixed.apply(RADIANCE)) <= 0.501).all()


def test_gradcheck():
    response = Response(Fixed(exposure=0.8, gamma=2.2, contrast=1.3)).double()
    radiance = torch.from_numpy(np.clip(RADIANCE[:3, :3], 0.05, 0.9)).requires_grad_()

    def levels(x, exposure, balance, gamma):
        named = {"log_exposure": exposure, "log_white_balance": balance, "log_gamma": gamma}
        return torch.func.functional_call(response, named, (x,))

    start = [p.detach().clone().requires_grad_() for p in response.parameters()]
    assert torch.autograd.gradcheck(levels, (radiance, *start))


def test_no_gradient_is_infinite_at_black_or_white():
    response = Response(Fixed(exposure=1.0, contrast=0.5, veil=(0.0, 0.0, 0.0)))
    radiance = torch.tensor([[0.0, 1e-12, 1e3]], requires_grad=True)
    response(radiance).sum().backward()
    assert torch.isfinite(radiance.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in response.parameters())


def test_a_fit_of_the_response_finds_it():
    truth = Fixed(exposure=1.4, white_balance=(1.1, 1.0, 0.8), gamma=2.0)
    target = torch.from_numpy(truth._tone(RADIANCE * truth.exposure)).float()
    response = Response(Fixed(exposure=1.0, gamma=2.4))
    optimiser = torch.optim.LBFGS(response.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = ((response(torch.from_numpy(RADIANCE).float()) - target) ** 2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = response.resolved(truth)
    gains = np.array(found.white_balance) * found.exposure
    assert gains == pytest.approx(1.4 * np.array([1.1, 1.0, 0.8]), rel=1e-3)  # the product alone is seen
    assert found.gamma == pytest.approx(2.0, rel=1e-3)


def test_automatic_exposure_must_be_fixed_first():
    with pytest.raises(UserError, match="resolve"):
        Response(Fixed())
