"""The camera's response as a torch module: exposure, white balance and tone, differentiable and learnable."""

from __future__ import annotations

import torch
from torch import nn

from endorender.errors import UserError
from endorender.scene.response import SHOULDER
from endorender.scene.response import Response as Fixed

SMALLEST = 1e-8  # linear level below which the slope of a power is that at this level: at 0 it may be infinite


def _shoulder(level: torch.Tensor) -> torch.Tensor:
    span = 1 - SHOULDER
    return torch.where(level > SHOULDER, SHOULDER + span * (1 - torch.exp(-(level - SHOULDER) / span)), level)


def refuse_lens(response: Fixed) -> None:
    """Raise UserError where a response's lens changes pixels by their place: what a fit compares does not."""
    if response.vignette or response.aperture:
        raise UserError(
            "a fit knows no vignette and no defocus of a response: leave out vignette and aperture, and give the "
            "camera its vignetting",
            "INVALID_VALUE",
        )


class Response(nn.Module):
    """(..., 3) linear radiance -> (..., 3) levels 0..1: what `scene.Response` does, without noise (of colour either), 8
    bits and JPEG. One with a vignette or an aperture is refused.

    Parameters, as logarithms so that they stay above 0: `log_exposure` (), `log_white_balance` (3,) and, if there is a
    gamma, `log_gamma` (). Exposure and the intensity of light multiply each other, as do white balance and the
    light's colour: of each pair a picture tells the product only. Where a level is cut at 1 the gradient is 0.
    """

    veil: torch.Tensor

    def __init__(self, response: Fixed):
        super().__init__()
        refuse_lens(response)
        if response.exposure is None:
            raise UserError("the exposure is automatic: fix it with Response.resolve(radiance)", "INVALID_VALUE")
        self.log_exposure = nn.Parameter(torch.tensor(response.exposure).log())
        self.log_white_balance = nn.Parameter(torch.tensor(response.white_balance).log())
        self.log_gamma = None if response.gamma is None else nn.Parameter(torch.tensor(response.gamma).log())
        self.contrast, self.hue, self.white = response.contrast, response.hue, response.white
        self.register_buffer("veil", torch.tensor(response.veil))

    def forward(self, radiance: torch.Tensor) -> torch.Tensor:
        """Levels 0..1; gamma-encoded, or sRGB without a gamma."""
        gains = (self.log_exposure + self.log_white_balance).exp()
        x = (radiance * gains).clamp(min=SMALLEST)
        y = 0.18 * (x / 0.18) ** self.contrast
        brightest = y.amax(-1, keepdim=True)
        whole = y * (_shoulder(brightest) / brightest)
        y = ((1 - self.hue) * _shoulder(y) + self.hue * whole + self.veil) / self.white
        y = y.clamp(SMALLEST, 1)
        if self.log_gamma is not None:
            return y ** torch.exp(-self.log_gamma)
        return torch.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)

    def resolved(self, like: Fixed) -> Fixed:
        """The response with the parameters as they are now; all else as in `like`."""
        update = {
            "exposure": float(self.log_exposure.detach().exp()),
            "white_balance": tuple(self.log_white_balance.detach().exp().tolist()),
        }
        if self.log_gamma is not None:
            update["gamma"] = float(self.log_gamma.detach().exp())
        return like.model_copy(update=update)
