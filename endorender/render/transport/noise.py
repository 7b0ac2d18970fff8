"""How noisy a picture still is, and which of its pixels take more samples (`noise` of `radiance`).

A pixel's noise is the standard error of what a display shows of it: of v = √(x / (1 + x)), Reinhard's curve with gamma
2, where x is radiance over the picture's mean. So it counts as it is seen: darkness more than brightness, what is burnt
out hardly. Variances are averaged over a window before they decide. A pixel's own would be unsure, and would go with
its mean: one that has missed rare light would stop, and the picture be too dark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from endorender.render.device import launches
from endorender.render.transport.film import Film, Radiance

FEWEST = 8  # samples of every pixel, of which its variance is told
GROWTH = 1.5  # from one look at the variance to the next, so the most that a pixel takes beyond what it needs
WINDOW = 5  # px
DARKEST = 0.01  # of the mean radiance; below it noise counts as there


class Noise(NamedTuple):
    """target: of a pixel, beyond which it takes no more samples. judged: how many of the pictures, from the first on,
    it holds for."""

    target: float
    judged: int


def lanes(pixels: int, spp: int, noise: Noise | None) -> int:
    """As `launches.lanes`; not so many that a pixel would take all of its samples before its noise is looked at."""
    return launches.lanes(pixels, spp if noise is None else min(spp, FEWEST))


def gather(
    launch: launches.Launch, film: Film, spp: int, noise: Noise | None, progress: Callable[[float], None] | None
) -> list[Radiance]:
    """Short launches until every pixel has `spp` samples, or has enough. The film's pictures."""
    slots = film.pixels * film.lanes
    if noise is None:
        launches.trace(launch, slots, -(-spp // film.lanes), progress)
        return film.developed(spp)
    seen = film.camera.visible()
    counts, wanting, began = np.zeros(film.pixels, np.int64), seen.ravel(), 0
    made: list[Radiance] = []
    for end in sorted({-(-count // film.lanes) for count in stages(spp)}):
        taken = np.where(np.repeat(wanting, film.lanes), began, spp)

        def report(done: float, began: int = began, end: int = end) -> None:
            if progress:
                progress((began + (end - began) * done) * film.lanes / (spp + film.lanes))

        launches.trace(launch, slots, end, report, taken=taken)
        counts[wanting] = min(end * film.lanes, spp)
        made = film.developed(counts)
        worst = np.max([of_display(one.mean, one.variance, seen) for one in made[: noise.judged]], 0)
        wanting, began = wanting & (worst > noise.target).ravel(), end
        if not wanting.any():
            break
    if progress:
        progress(1.0)
    return made


def stages(spp: int) -> Iterator[int]:
    """Samples after which the noise is looked at; the last is `spp`."""
    count = float(FEWEST)
    while count < spp:
        yield int(count)
        count *= GROWTH
    yield spp


def of_display(mean: np.ndarray, variance: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(H, W) standard error of the display value (1: white), 0 where nothing is seen.

    mean, variance: (H, W, 3) radiance, and the variance of that mean. seen: (H, W) bool.
    """
    light = mean.mean(-1, dtype=float)
    # The colours of a path are noisy together.
    deviation = np.sqrt(variance, dtype=float).mean(-1)
    whole = light[seen].mean() if seen.any() else 0.0
    if whole <= 0.0:
        return np.zeros(light.shape)
    x = np.maximum(light / whole, DARKEST)
    slope = 0.5 / (np.sqrt(x) * (1 + x) ** 1.5 * whole)
    share = uniform_filter(seen.astype(float), WINDOW, mode="constant")
    around = uniform_filter(np.where(seen, (slope * deviation) ** 2, 0.0), WINDOW, mode="constant")
    return np.where(seen, np.sqrt(np.maximum(around, 0.0) / np.maximum(share, 1e-12)), 0.0)
