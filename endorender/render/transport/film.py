"""Film: where samples are gathered, and what a traced view is, the mean of its samples and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.render.device import backend

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


class Film:
    """Where a kernel gathers samples: running mean and sum of squared deviations of each pixel (Welford 1962)."""

    def __init__(self, camera: Any, channels: int = 3):
        self.camera, self.channels = camera, channels
        self.mean, self.squares = (
            backend.resident(np.zeros((camera.width * camera.height, channels), np.float32)) for _ in range(2)
        )

    def developed(self, spp: int) -> list[Radiance]:
        """After `spp` samples of each pixel: a picture for every three channels."""
        shape = (self.camera.height, self.camera.width, self.channels // 3, 3)
        mean = backend.fetch(self.mean).reshape(shape)
        variance = backend.fetch(self.squares).reshape(shape) / (max(spp - 1, 1) * spp)
        return [
            Radiance(np.ascontiguousarray(mean[:, :, k]), np.ascontiguousarray(variance[:, :, k]), spp)
            for k in range(self.channels // 3)
        ]
