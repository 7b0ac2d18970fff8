"""Film: where samples are gathered, and what a traced view is, the mean of its samples and how sure that is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend
from endorender.render.device.cache import kernels

CUT_LIMIT = 1e-3  # share of paths ended early beyond which a dataset warns


@dataclass(frozen=True)
class Radiance:
    """mean: (H, W, 3) float32 linear radiance. variance: (H, W, 3) float32, of the mean. spp: samples per pixel.

    samples: (H, W) int32, what each pixel took where `noise` decided; `spp` is then their mean, rounded up.
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
    samples: np.ndarray | None = None

    def __repr__(self) -> str:
        height, width = self.mean.shape[:2]
        return f"Radiance({width}x{height}, {self.spp} samples a pixel, mean {self.mean.mean():.3g})"

    def _repr_png_(self) -> bytes:
        """As a camera with the default response shows it, for notebooks."""
        from endorender.pictures import png
        from endorender.scene.response import Response

        return png([Response().resolve(self.mean).apply(self.mean)])


class Film:
    """Where a kernel gathers samples: running mean and sum of squared deviations of each lane (Welford 1962).

    lanes: of a pixel, one behind the other; lane k has taken the samples k, k + lanes, ...
    sums: (N, 2, C), both of every lane.
    """

    def __init__(self, camera: Any, channels: int = 3, lanes: int = 1):
        self.camera, self.channels, self.lanes = camera, channels, lanes
        self.pixels = camera.width * camera.height
        self.sums = backend.resident(np.zeros((self.pixels * lanes, 2, channels), np.float32))

    def developed(self, counts: int | np.ndarray) -> list[Radiance]:
        """A picture for every three channels. counts: samples of every pixel, or (N,) of each."""
        shape = (self.camera.height, self.camera.width, self.channels // 3, 3)
        each = np.broadcast_to(np.asarray(counts, np.int64), self.pixels)
        sums = self.sums
        if self.lanes > 1:
            sums = backend.resident(np.zeros((self.pixels, 2, self.channels), np.float32))
            gatherer()(self.sums, sums, self.lanes, backend.resident(each.astype(np.int32)), self.channels)
        mean, squares = (backend.fetch(sums)[:, n].reshape(shape) for n in range(2))
        over = np.maximum((each - 1) * each, 1).astype(np.float32).reshape(*shape[:2], 1, 1)
        variance = squares / over
        samples = None if isinstance(counts, int) else each.astype(np.int32).reshape(shape[:2])
        spp = counts if isinstance(counts, int) else int(np.ceil(each[each > 0].mean()))
        return [
            Radiance(np.ascontiguousarray(mean[:, :, k]), np.ascontiguousarray(variance[:, :, k]), spp, samples=samples)
            for k in range(self.channels // 3)
        ]


@ti.func
def add_sample(mean: ti.template(), squares: ti.template(), value, count):
    """Take one more sample into a running mean and sum of squared deviations; count: of samples, with this one."""
    delta = value - mean
    mean += delta / count
    squares += delta * (value - mean)


@kernels
def gatherer() -> Any:
    """The kernel that puts a pixel's lanes together, always in one order (Chan, Golub, LeVeque 1979)."""

    @ti.kernel
    def gather(
        of_lanes: ti.types.ndarray(),
        sums: ti.types.ndarray(),
        lanes: ti.i32,
        spp: ti.types.ndarray(),
        channels: ti.i32,
    ):
        for index in range(sums.shape[0] * channels):
            pixel, c = index // channels, index % channels
            count, average, scatter = 0.0, 0.0, 0.0
            for lane in range(lanes):
                more = ti.cast((spp[pixel] - lane + lanes - 1) // lanes, ti.f32)
                if more > 0:
                    off = of_lanes[pixel * lanes + lane, 0, c] - average
                    scatter += of_lanes[pixel * lanes + lane, 1, c] + off * off * (count * more / (count + more))
                    average += off * (more / (count + more))
                    count += more
            sums[pixel, 0, c], sums[pixel, 1, c] = average, scatter

    return gather
