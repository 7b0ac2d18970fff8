"""Where a fit of the response begins: exposures and a gamma under which pictures are about as bright as photographs.

Residuals of a fit are linear about the photographs (`target`), which holds near the answer only: a tone curve that is
off by a factor of two sends it the wrong way. Here levels themselves are compared, of pictures that are as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares

from endorender.errors import UserError
from endorender.inverse.problem import ROBUST
from endorender.inverse.target import BURNT, encoded
from endorender.scene.response import LUMA, Response

GAMMAS = (0.6, 4.0)
MOST = 4096  # pixels of a picture that are compared
SMOOTH = 1.0  # px, over which both are averaged: the pictures are noisy


def developed(
    pictures: Sequence[np.ndarray], photographs: Sequence[np.ndarray], visible: np.ndarray, response: Response,
    gamma: bool,
) -> tuple[Response, list[float]]:  # fmt: skip
    """The response, with the gamma that fits best if `gamma`, and the exposure of each picture.

    pictures: (H, W, 3) linear radiance each. photographs: (H, W, 3) uint8 each. visible: (H, W) bool, of all or
    (N, H, W) of each.
    Each picture has a gain for each channel here, since the tissue's colour is not known yet; the exposure is their
    mean by luma. Raises UserError NO_WALL where no light returns, NO_LUMEN where a photograph is burnt out.
    """
    light, shown = [], []
    seen = np.broadcast_to(visible, (len(pictures), *np.shape(visible)[-2:]))
    for number, (picture, photograph, lit) in enumerate(zip(pictures, photographs, seen), 1):
        use = lit & (photograph.max(-1) < BURNT)
        if use.sum() < 16:
            raise UserError(f"photograph {number} is burnt out", "NO_LUMEN")
        near = ndimage.gaussian_filter(picture.astype(float), (SMOOTH, SMOOTH, 0), mode="nearest")[use]
        level = ndimage.gaussian_filter(photograph / 255, (SMOOTH, SMOOTH, 0), mode="nearest")[use]
        step = max(1, len(near) // MOST)
        if not near.max() > 0:
            raise UserError("no light returns from the wall in one of the views: check poses and region", "NO_WALL")
        light.append(near[::step])
        shown.append(level[::step])
    count = len(light)
    start = np.log([[0.2 / max(float(band.mean()), 1e-12) for band in lit.T] for lit in light]).ravel()

    def as_is(u: np.ndarray) -> Response:
        return response.model_copy(update={"gamma": float(np.exp(u[-1]))}) if gamma else response

    def residuals(u: np.ndarray) -> np.ndarray:
        gains, tone = np.exp(u[: 3 * count]).reshape(count, 3), as_is(u)
        whole = encoded(np.concatenate([x * g for x, g in zip(light, gains)]), tone)
        return (whole - np.concatenate(shown)).ravel()

    if gamma:
        start = np.append(start, np.log(response.gamma or 2.2))
    low, high = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    if gamma:
        low[-1], high[-1] = np.log(GAMMAS)
    # The response holds single precision: smaller steps of gamma would be none.
    found = least_squares(residuals, start, bounds=(low, high), loss="soft_l1", f_scale=ROBUST, diff_step=1e-3).x
    exposures = np.exp(found[: 3 * count].reshape(count, 3) @ LUMA)
    return as_is(found), [float(e) for e in exposures]
