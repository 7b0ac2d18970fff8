"""What a traced view is: the mean of its samples, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CUT_LIMIT = 1e-3  # share of paths ended early beyond which a dataset warns


@dataclass(frozen=True)
class Radiance:
    """mean: (H, W, 3) float32 linear radiance. variance: (H, W, 3) float32, of the mean. spp: samples per pixel.

    The variance is that of independent samples. `radiance` spreads them evenly, which leaves less.
    cut: share of the paths that `max_scatterings`, or their work (`launches`), ended. unspent: (3,) throughput that
    those still had, over all paths: even light of radiance 1 all round would have brought that much more at most.
    None: not counted.
    """

    mean: np.ndarray
    variance: np.ndarray
    spp: int
    cut: float | None = None
    unspent: np.ndarray | None = None
