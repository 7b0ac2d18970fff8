"""A training step against the bare loop, and how long the loop waits for data.

    python tests/benchmarks/training_speed.py [STEPS]

unet at 256 x 256, batch 8. Both do the same: load, augment, predict, loss, gradient, clip, step. They take
turns, since other work on the machine comes and goes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.training.conftest import tubes
from training.batches import SeededBatches
from training.config import TrainConfig
from training.data import DepthFrames
from training.trainer import train

CONFIG = {"batch": 8, "validate_every": 0, "save_every": 0}


def ours(data, steps: int) -> list[float]:
    """Seconds of every step but the first."""
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        data.splits["val"] = []
        train(
            CONFIG | {"steps": steps}, Path(folder) / "run", data,
            progress=lambda done, total, text: marks.append(time.perf_counter()),
        )  # fmt: skip
    # The last step writes the checkpoint after its mark.
    return [b - a for a, b in pairwise(marks)]


def bare(data, steps: int) -> tuple[list[float], float]:
    """Seconds of every step but the first, and the share of them spent waiting for data."""
    config = TrainConfig(**CONFIG, steps=steps)
    frames = DepthFrames(data.select(split="train"))
    network = config.model.network().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    marks, waited = [], 0.0
    batches = iter(DataLoader(frames, batch_sampler=SeededBatches(len(frames), 8, 0, 0, steps)))
    for step in range(steps):
        begun = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - begun if step else 0.0
        batch = config.augment(batch, config.augment.draw(8, 0, step))
        loss = config.loss.of(network, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimiser.step()
        marks.append(time.perf_counter())
    return [b - a for a, b in pairwise(marks)], waited / (marks[-1] - marks[0])


def main(steps: int) -> None:
    torch.set_num_threads(1)
    data = tubes(patients=4, views=8, variations=("synthetic",), size=(256, 256))
    a, b, waiting = [], [], []
    for _ in range(3):
        a += ours(data, steps)
        times, share = bare(data, steps)
        b += times
        waiting.append(share)
    ratio = statistics.median(a) / statistics.median(b)
    print(f"step {statistics.median(a):.3f} s, bare loop {statistics.median(b):.3f} s, ratio {ratio:.3f} (goal 1.1)")
    print(f"waiting for data: {100 * max(waiting):.1f} % of the time (goal 5 %)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
