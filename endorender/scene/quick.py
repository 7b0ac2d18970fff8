"""`Response.apply` in single precision for many small pictures in a row, as a network's training asks for them.

The same stages and formulas; without noise a picture is within one level of `apply`'s. What differs: shot noise is
Gaussian, of the variance that Poisson's has; noise is a stretch of one table of normal numbers, begun at a random
place; the exposure is set by the colour around the metered percentile, of some 300 pixels of an even grid; pictures are
planes, (3, H, W).
"""

from __future__ import annotations

import functools
from math import exp, inf, log2
from typing import TYPE_CHECKING

import numpy as np

from endorender.scene.optics import circle_of_confusion, coloured, defocused, vignette
from endorender.scene.response import LUMA, SHORT, SHOULDER, Response, srgb, through_jpeg

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, UInt8

TABLE = 1 << 20  # normal numbers: a thirtieth of them are one small picture's
METERED = 300  # pixels, about
WEIGHTS = tuple(LUMA.tolist())
SMALLEST = np.float32(1e-9)  # linear level that stands for 0 where a logarithm is taken
SPAN = np.float32(1 - SHOULDER)
KNEE = np.float32(SHOULDER)
WINDOW = 0.03  # of them on either side of the metered percentile
TURNS = 40  # of the search for the exposure at most; four or five as a rule
CLOSE = 0.05  # 8-bit levels
CODES = 1 << 16  # of linear levels: a step of the darkest is a twentieth of an 8-bit level
MOST_LOG = np.float32(60)  # keeps powers within single precision
MOST_STOPS = 30.0


@functools.cache
def _table() -> np.ndarray:
    found = np.random.default_rng(0x0A15E).standard_normal(TABLE, np.float32)
    found.flags.writeable = False
    return found


def normal(rng: np.random.Generator, *shape: int) -> Float32[np.ndarray, " ..."]:
    """Standard normal numbers, float32, read-only where they fit: a stretch of the table."""
    count = int(np.prod(shape))
    if count > TABLE // 8:
        return rng.standard_normal(shape, np.float32)
    start = int(rng.integers(TABLE - count))
    return _table()[start : start + count].reshape(shape)


def develop(
    radiance: Float[np.ndarray, "3 H W"],
    response: Response,
    rng: np.random.Generator,
    mask: Bool[np.ndarray, "H W"] | None = None,
    z_depth: Float[np.ndarray, "H W"] | None = None,
    focal: float | None = None,
) -> UInt8[np.ndarray, "3 H W"]:
    """(3, H, W) linear radiance -> (3, H, W) uint8 picture; the rest as in `Response.apply`."""
    light = radiance.astype(np.float32, copy=False)
    if response.aperture:
        if z_depth is None or focal is None:
            raise ValueError("a response with an aperture needs the depth and the focal length")
        spread = circle_of_confusion(z_depth, focal, response.focus, response.aperture).astype(np.float32)
        light = defocused(light, spread, mask)
    if response.vignette:
        light = light * vignette(light.shape[1], light.shape[2], response.vignette)
    exposure = response.exposure or 2.0 ** stops(light, response, mask)
    light = light * np.float32(min(exposure, 1e12))
    if response.full_well is not None:
        light = _sensor(light, response.full_well, response.read_noise, rng)
    codes = _toned(light, response)
    if response.chroma_noise:
        h, w = light.shape[1:]
        noise = normal(rng, 2, (h + 1) // 2, (w + 1) // 2)
        levels = _shown(response.gamma)[codes] + coloured(np.float32(response.chroma_noise) * noise, h, w)
        np.clip(levels, 0, 255, out=levels)
        picture = np.rint(levels, out=levels).astype(np.uint8)
    else:
        picture = _rounded(response.gamma)[codes]
    if mask is not None:
        picture *= mask.view(np.uint8)
    if response.jpeg_quality is None:
        return picture
    packed = through_jpeg(np.ascontiguousarray(picture.transpose(1, 2, 0)), response.jpeg_quality)
    return np.ascontiguousarray(packed.transpose(2, 0, 1))


def _sensor(exposed: np.ndarray, full_well: float, read_noise: float, rng: np.random.Generator) -> np.ndarray:
    """As `Response._sensor`: electrons of mean and variance x full_well, and read noise, in levels."""
    spread = exposed * np.float32(1 / full_well)
    spread += np.float32((read_noise / full_well) ** 2)
    np.sqrt(spread, out=spread)
    spread *= normal(rng, *exposed.shape)
    exposed += spread
    return np.minimum(exposed, 1, out=exposed)


def _toned(exposed: np.ndarray, response: Response) -> np.ndarray:
    """(3, H, W) exposed levels, which are used up, -> codes of the linear levels that `Response._tone` encodes."""
    y = np.maximum(exposed, SMALLEST, out=exposed)
    np.log(y, out=y)
    y *= np.float32(response.contrast)
    gains = np.log(0.18) + response.contrast * np.log(np.asarray(response.white_balance) / 0.18)
    y += gains.astype(np.float32)[:, None, None]
    if response.full_well is None:
        np.minimum(y, MOST_LOG, out=y)
    np.exp(y, out=y)
    bleached, scale = None, (CODES - 1) / response.white
    if response.hue < 1:
        bleached = _shoulder(y)
        bleached *= np.float32((1 - response.hue) * scale)
    if bleached is None or response.hue > 0:
        brightest = np.maximum(np.maximum(y[0], y[1]), y[2])
        whole = _shoulder(brightest)
        np.maximum(brightest, SMALLEST, out=brightest)
        whole /= brightest
        whole *= np.float32(response.hue * scale)
        y *= whole
        y = y if bleached is None else np.add(y, bleached, out=y)
    else:
        y = bleached
    y += (np.asarray(response.veil) * scale + 0.5).astype(np.float32)[:, None, None]
    np.minimum(y, np.float32(CODES - 1), out=y)
    return y.astype(np.intp)


@functools.lru_cache(maxsize=32)
def _shown(gamma: float | None) -> np.ndarray:
    """(CODES,) float32 levels 0..255 of the linear levels k / (CODES - 1)."""
    linear = np.linspace(0, 1, CODES)
    return (255 * (srgb(linear) if gamma is None else linear ** (1 / gamma))).astype(np.float32)


@functools.lru_cache(maxsize=32)
def _rounded(gamma: float | None) -> np.ndarray:
    return np.rint(_shown(gamma)).astype(np.uint8)


def _shoulder(level: np.ndarray) -> np.ndarray:
    above = np.maximum(level, KNEE)
    above -= KNEE
    above *= -1 / SPAN
    np.exp(above, out=above)
    above -= 1
    above *= -SPAN
    above += np.minimum(level, KNEE)
    return above


def stops(light: Float[np.ndarray, "3 H W"], response: Response, mask: Bool[np.ndarray, "H W"] | None = None) -> float:
    """log2 of the exposure under which the metered percentile of (3, H, W) light reaches its target.

    `Response.resolve` finds the percentile of what is shown. Here it is the colour of what lies around that percentile
    of the light, which is the same but for differences in hue.
    """
    h, w = light.shape[1:]
    step = max(1, round((h * w / METERED) ** 0.5))
    grid = (slice(step // 2, None, step),) * 2
    lit = light[:, grid[0], grid[1]].reshape(3, -1)
    if mask is not None:
        kept = mask[grid].ravel()
        lit = lit[:, kept] if kept.any() else light[:, mask]
    if not lit.size or float(lit.max()) <= 0:
        return MOST_STOPS
    weights = LUMA * np.asarray(response.white_balance)
    order = np.argsort(weights.astype(np.float32) @ lit)
    rank, reach = response.metered / 100 * (len(order) - 1), WINDOW * len(order)
    around = order[max(0, round(rank - reach)) : round(rank + reach) + 1]
    colour = lit[:, around].mean(1).tolist()
    most, least = (_luma(colour, 2.0**at, response) for at in (MOST_STOPS, -MOST_STOPS))
    if most - least < 2 * SHORT:
        return MOST_STOPS
    target = min(response.target, most - SHORT)
    low, high, slope = -MOST_STOPS, MOST_STOPS, 45.0  # levels a stop
    typical = sum(c * weight for c, weight in zip(colour, WEIGHTS))
    at, last = min(max(log2(0.3 / max(typical, 1e-9)), low), high), None
    for _ in range(TURNS):
        off = _luma(colour, 2.0**at, response) - target
        if abs(off) < CLOSE:
            break
        low, high = (at, high) if off < 0 else (low, at)
        if last is not None:
            slope = max((off - last[1]) / (at - last[0]), 1.0) if at != last[0] else slope
        last = (at, off)
        at = at - off / slope
        if not low < at < high:
            at = (low + high) / 2
    return at


def _luma(colour: list[float], exposure: float, response: Response) -> float:
    """8-bit luma of one colour, held at the full well: `Response._tone` in plain numbers, much faster for one."""
    gained = zip(colour, response.white_balance)
    full = inf if response.full_well is None else 1.0
    y = [0.18 * (min(c * exposure, full) * gain / 0.18) ** response.contrast for c, gain in gained]
    brightest = max(*y, 1e-9)
    whole = _rolled(brightest) / brightest
    total = 0.0
    for level, veil, weight in zip(y, response.veil, WEIGHTS):
        x = min(((1 - response.hue) * _rolled(level) + response.hue * level * whole + veil) / response.white, 1.0)
        if response.gamma is not None:
            shown = x ** (1 / response.gamma)
        else:
            shown = 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055
        total += 255 * weight * shown
    return total


def _rolled(level: float) -> float:
    return level if level <= SHOULDER else SHOULDER + (1 - SHOULDER) * (1 - exp(-(level - SHOULDER) / (1 - SHOULDER)))
