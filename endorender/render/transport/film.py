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
    """

    def __init__(self, camera: Any, channels: int = 3, lanes: int = 1):
        self.camera, self.channels, self.lanes = camera, channels, lanes
        self.pixels = camera.width * camera.height
        self.mean, self.squares = (
            backend.resident(np.zeros((self.pixels * lanes, channels), np.float32)) for _ in range(2)
        )

    def developed(self, counts: int | np.ndarray) -> list[Radiance]:
        """A picture for every three channels. counts: samples of every pixel, or (N,) of each."""
        shape = (self.camera.height, self.camera.width, self.channels // 3, 3)
        each = np.broadcast_to(np.asarray(counts, np.int64), self.pixels)
        gathered = self.mean, self.squares
        if self.lanes > 1:
            gathered = tuple(backend.resident(np.zeros((self.pixels, self.channels), np.float32)) for _ in range(2))
            gatherer()(
                self.mean, self.squares, *gathered, self.lanes, backend.resident(each.astype(np.int32)), self.channels
            )
        mean, squares = (backend.fetch(array).reshape(shape) for array in gathered)
        over = np.maximum((each - 1) * each, 1).astype(np.float32).reshape(*shape[:2], 1, 1)
        variance = squares / over
        samples = None if isinstance(counts, int) else each.astype(np.int32).reshape(shape[:2])
        spp = counts if isinstance(counts, int) else int(np.ceil(each[each > 0].mean()))
        return [
            Radiance(np.ascontiguousarray(mean[:, :, k]), np.ascontiguousarray(variance[:, :, k]), spp, samples=samples)
            for k in range(self.channels // 3)
        ]


@kernels
def gatherer() -> Any:
    """The kernel that puts a pixel's lanes together, always in one order (Chan, Golub, LeVeque 1979)."""

    @ti.kernel
    def gather(
        lane_mean: ti.types.ndarray(),
        lane_squares: ti.types.ndarray(),
        mean: ti.types.ndarray(),
        squares: ti.types.ndarray(),
        lanes: ti.i32,
        spp: ti.types.ndarray(),
        channels: ti.i32,
    ):
        for index in range(mean.shape[0] * channels):
            pixel, c = index // channels, index % channels
            count, average, scatter = 0.0, 0.0, 0.0
            for lane in range(lanes):
                more = ti.cast((spp[pixel] - lane + lanes - 1) // lanes, ti.f32)
                if more > 0:
                    off = lane_mean[pixel * lanes + lane, c] - average
                    scatter += lane_squares[pixel * lanes + lane, c] + off * off * (count * more / (count + more))
                    average += off * (more / (count + more))
                    count += more
            mean[pixel, c], squares[pixel, c] = average, scatter

    return gather
