"""Seconds of a training step by width of unet, images in a batch, threads and precision, at 120 x 96.

    python tests/benchmarks/training_sizes.py [STEPS [THREADS ...]]

A step: augment, predict, loss, gradient, clip, AdamW. All cases of a number of threads take turns, since other work on
the machine comes and goes. CPU seconds are medians; of the clock the least is told, which a busy machine spoils least.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import product
from pathlib import Path

import torch
from torch.utils.data import default_collate

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.training.conftest import tubes
from training.config import TrainConfig
from training.data import DepthFrames

WIDTHS, BATCHES = (16, 24, 32), (8, 16)
WAYS = ("float32", "float32, channels first", "bfloat16")


class Case:
    """One way of training, a step at a time."""

    def __init__(self, width: int, batch: int, way: str, items: list):
        self.name = (width, batch, way)
        torch.manual_seed(0)
        self.config = TrainConfig(model={"type": "unet", "width": width}, batch=batch)
        self.network = self.config.model.network().train()
        self.network.mixed = way == "bfloat16"
        self.network.channels_last = way == "float32"
        self.batch = default_collate(items[:batch])
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.cpu: list[float] = []
        self.clock: list[float] = []

    def step(self, number: int) -> None:
        """Trains once and notes what it took."""
        config, cpu, clock = self.config, time.process_time(), time.perf_counter()
        batch = config.augment(self.batch, config.augment.draw(config.batch, 0, number))
        loss = config.loss.of(self.network, batch)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        if number:  # the first one makes room
            self.cpu.append(time.process_time() - cpu)
            self.clock.append(time.perf_counter() - clock)


def main(steps: int = 8, *several: int) -> None:
    frames = DepthFrames(tubes(patients=3, views=16, variations=("synthetic",), size=(96, 120)).frames[:16])
    items = [frames[k] for k in range(16)]
    print("| threads | width | batch | precision | CPU s | clock s, least | images per CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in several or (1, 2):
        torch.set_num_threads(threads)
        cases = [Case(*about, items) for about in product(WIDTHS, BATCHES, WAYS)]
        for number in range(steps + 1):
            for case in cases:
                case.step(number)
        for case in cases:
            width, batch, way = case.name
            cpu = statistics.median(case.cpu)
            row = (threads, width, batch, way, f"{cpu:.3f}", f"{min(case.clock):.3f}", f"{batch / cpu:.0f}")
            print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
