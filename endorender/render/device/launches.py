"""Launches that end soon: a running kernel holds the interpreter's lock, so Ctrl-C waits until it ends.

A kernel that traces paths counts the *work* it does and takes no further path once a launch's budget is spent; the next
launch goes on where each pixel stands. Samples of a pixel are taken in their order, so that the picture's bytes do not
depend on how launches are cut. A path ends after `PATH_WORK`, which only what is no tissue reaches: it counts as one
that `max_scatterings` ended. So a launch takes its budget and, on each thread, one path more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend

SECONDS = 0.3  # to spend on a launch: well below what a user takes for a hang
FIRST_WORK = 1 << 14  # of the first launch, of which nothing is known yet
MOST_WORK = 1 << 29  # of any: counters have 32 bits, and every thread may go beyond by a path
# A unit of work is a random number drawn: each tentative collision costs one. Of an event there is more to do.
EVENT_WORK = 16
PATH_WORK = 1 << 22  # 0.1 s; 10 000 scatterings in the densest of media take a tenth of it

# Threads that keep a card of 132 multiprocessors busy, 2048 on each: pixels alone are too few.
THREADS = 1 << 18

# A launch's share: samples begin to end of the pixels first to last, until most_work is done.
Window = ti.types.struct(first=ti.i32, last=ti.i32, begin=ti.i32, end=ti.i32, most_work=ti.i32)
Launch = Callable[[Any, Any, Any], None]


def lanes(pixels: int, spp: int) -> int:
    """Threads that share a pixel's samples, each taking every so many-th: by the picture alone, whatever its launches.

    One on a CPU, which has few threads; as many as it takes to have THREADS elsewhere.
    """
    return 1 if backend.running() == "cpu" else max(1, min(spp, -(-THREADS // pixels)))


def trace(
    launch: Launch,
    pixels: int,
    spp: int,
    progress: Callable[[float], None] | None = None,
    most_pixels: int | None = None,
    taken: np.ndarray | None = None,
) -> None:
    """Cover pixels × samples by launches that are timed and sized on the go. The result does not depend on them.

    pixels, spp: or lanes, and the samples of each. launch: called with a `Window`, `taken` (N,) int32 samples that each
    pixel has, and `spent` (2,) int32. It adds work to the first of `spent`, takes no path once that is `most_work`,
    and sets the second where it left paths out. progress: gets the share that is done.
    most_pixels: of a launch. taken: (N,) samples that each pixel has beforehand; `spp` and more: it gets none.
    """
    # Elsewhere than on a CPU a launch takes one sample of many pixels: a card wants many threads with little work each,
    # and Mesa's llvmpipe ends a thread after 65535 rounds of its loops, without a word.
    most = spp if backend.running() == "cpu" else 1
    begun = 0 if taken is None else min(int(taken.min()), spp)
    counts = backend.resident(np.zeros(pixels, np.int32) if taken is None else taken.astype(np.int32))
    spent = backend.resident(np.zeros(2, np.int32))
    paths, budget = 4096.0, float(FIRST_WORK)
    done = 0
    while done < pixels:
        block = int(min(max(paths / most, 256), pixels - done, most_pixels or pixels))
        sample = begun
        while sample < spp:
            step = int(min(max(paths / block, 1), spp - sample, most))
            whole, seconds = False, 0.0
            while not whole:
                spent.fill(0)
                began = time.perf_counter()
                launch(Window(done, done + block, sample, sample + step, int(budget)), counts, spent)
                backend.wait()
                took = time.perf_counter() - began
                work, left_out = backend.fetch(spent).tolist()
                whole, seconds = left_out == 0, seconds + took
                budget = min(_resized(budget, max(work, 1), took), MOST_WORK)
                if progress:
                    progress((done + block * (sample - begun + step * whole) / (spp - begun)) / pixels)
            sample += step
            paths = _resized(paths, block * step, seconds)
        done += block


def _resized(size: float, covered: float, seconds: float) -> float:
    """Of the next launch, by how long it took to cover so much; it changes by a factor of 4 at most."""
    return min(max(covered * SECONDS / max(seconds, 1e-4), size / 4, 256), size * 4)


def parts(n: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges (first, one behind the last) that cover n items of which a launch may take `most`."""
    for first in range(0, n, most):
        yield first, min(first + most, n)
