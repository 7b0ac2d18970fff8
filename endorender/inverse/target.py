"""Photographs as what a fit compares radiance with.

A photograph is taken back through the response to linear levels t, and radiance I times its gain is compared with t in
units of the photograph's own levels: slope · (gain · I - t), slope the response's near t. Both slope and weight follow
from the photograph alone, so the residual is linear in I and its noise does not bias the fit, however curved the
response is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from endorender.inverse.response import Response
from endorender.inverse.unknowns import BALANCE, EXPOSURE, GAMMA
from endorender.scene.response import LUMA, SHOULDER
from endorender.scene.response import Response as Fixed

BURNT = 250  # 8-bit level from which on a pixel is taken for saturated
DARKEST = 5 / 255  # level below which the response's slope is taken to be that at this level: at 0 it may be infinite
SPLINE = (1 / 12, 10 / 12, 1 / 12)  # takes box pixels to those of a quadratic B-spline: the same variance, 1/6 px² more
STEP = 0.02
NEAR = 1.5  # px, over which the level is averaged at which the slope is taken


@dataclass(frozen=True)
class Target:
    """levels: (B, H, W, 3) linear, exposed and balanced. slope: of the picture's levels by them. weight: 0 or 1.

    by_gamma: (B, H, W, 3) derivative of the picture's levels by the logarithm of gamma, at the levels.
    """

    levels: np.ndarray
    slope: np.ndarray
    weight: np.ndarray
    by_gamma: np.ndarray


def linear(levels: np.ndarray, response: Fixed) -> np.ndarray:
    """Inverse of the response's tone: (..., 3) levels 0..1 of a picture -> exposed and balanced linear levels."""
    y = response.white * _decoded(levels, response.gamma) - np.asarray(response.veil)
    y = np.clip(y, 1e-9, 0.999)
    span = 1 - SHOULDER
    brightest = y.max(-1, keepdims=True)
    bright = np.where(brightest > SHOULDER, SHOULDER - span * np.log1p(-(brightest - SHOULDER) / span), brightest)
    ratio = brightest / bright
    # Of the other channels the blend of both shoulders is monotone: bisection.
    low, high = np.zeros_like(y), np.broadcast_to(bright, y.shape).copy()
    for _ in range(40):
        mid = (low + high) / 2
        rolled = np.where(mid > SHOULDER, SHOULDER + span * (1 - np.exp(-(mid - SHOULDER) / span)), mid)
        below = (1 - response.hue) * rolled + response.hue * ratio * mid < y
        low, high = np.where(below, mid, low), np.where(below, high, mid)
    return np.asarray(0.18 * ((low + high) / 2 / 0.18) ** (1 / response.contrast))


def _decoded(levels: np.ndarray, gamma: float | None) -> np.ndarray:
    x = np.clip(levels, 0, 1)
    if gamma is not None:
        return np.asarray(x**gamma)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def encoded(linear_levels: np.ndarray, response: Fixed) -> np.ndarray:
    """The response's tone: exposed and balanced linear levels -> levels 0..1."""
    plain = response.model_copy(update={"exposure": 1.0, "white_balance": (1.0, 1.0, 1.0)})
    with torch.no_grad():
        return np.asarray(Response(plain).double()(torch.from_numpy(np.asarray(linear_levels, float))).numpy())


def of_values(response: Fixed, values: Mapping[str, np.ndarray]) -> Fixed:
    """The response with what is fitted of it, but for the exposure."""
    changes: dict[str, Any] = {}
    if GAMMA in values:
        changes["gamma"] = float(values[GAMMA])
    if BALANCE in values:
        changes["white_balance"] = tuple(values[BALANCE].tolist())
    return response.model_copy(update=changes)


def gains(response: Fixed, values: Mapping[str, np.ndarray], views: int) -> np.ndarray:
    """(B, 1, 1, 3) exposure times white balance."""
    exposure = np.broadcast_to(values.get(EXPOSURE, np.array(response.exposure, float)), views)
    balance = np.asarray(values.get(BALANCE, response.white_balance), float)
    return np.asarray(exposure[:, None, None, None] * balance)


def target(photographs: np.ndarray, response: Fixed, visible: np.ndarray, smooth: bool = False) -> Target:
    """(B, H, W, 3) uint8 through the response as it is. visible: (B, H, W) bool, where the camera's mask lets light in.

    smooth: as pixels that weigh light by a B-spline would see it, for fits of a pose.
    """
    seen = photographs / 255
    levels = linear(seen, response)
    weight = (visible & (photographs.max(-1) < BURNT)).astype(float)
    if smooth:
        for axis in (1, 2):
            levels = ndimage.convolve1d(levels, SPLINE, axis, mode="nearest")
            weight = ndimage.minimum_filter1d(weight, 3, axis, mode="nearest")
        seen = encoded(levels, response)
    floor = linear(np.full(3, DARKEST) + encoded(np.zeros(3), response), response)
    # At what neighbours have together: at a pixel's own noisy level, the darker of two errors would count more.
    near = ndimage.gaussian_filter(levels, (0, NEAR, NEAR, 0), mode="nearest")
    at = np.maximum(near, floor)
    up, down = (encoded(at * np.exp(h), response) for h in (STEP, -STEP))
    slope = (up - down) / (2 * STEP * at)
    by_gamma = np.zeros_like(seen)
    if response.gamma is not None:
        more, less = (
            encoded(at, response.model_copy(update={"gamma": response.gamma * np.exp(h)})) for h in (STEP, -STEP)
        )
        by_gamma = (more - less) / (2 * STEP)
    return Target(levels, slope, np.repeat(weight[..., None], 3, -1), by_gamma)


def by_rank(pixels: np.ndarray, pictures: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Photographs of nowhere in particular, dealt out to pictures (B, H, W, 3) of any views, by rank of luminance.

    The pixels of all photographs, sorted by luminance, make a curve of colour over rank; a picture's pixel of a rank is
    to have that colour. So luminance is matched at every percentile, and the mean colour there.
    pixels: (N, 3) uint8, of all photographs. visible: (B, H, W) bool. Returns (B, H, W, 3) uint8.
    """
    lit = pixels[pixels.max(-1) < BURNT].astype(float)
    lit = lit[np.argsort(lit @ LUMA, kind="stable")]
    curve = ndimage.uniform_filter1d(lit, max(1, len(lit) // 100), axis=0, mode="nearest")
    order = np.argsort(pictures[visible] @ LUMA, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.linspace(0, 1, len(order))
    out = np.zeros(pictures.shape, np.uint8)
    ranks = np.linspace(0, 1, len(curve))
    out[visible] = np.round(np.stack([np.interp(rank, ranks, band) for band in curve.T], -1)).astype(np.uint8)
    return out
