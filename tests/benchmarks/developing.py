"""Pictures developed anew at each reading: how long a training step waits for them.

    OMP_NUM_THREADS=1 python tests/benchmarks/developing.py [STEPS]

unet of width 16 at 120 x 96, batch 8, one thread. Without a worker all of the developing is time in which the network
waits, and CPU seconds are counted, since other work on the machine comes and goes; with one, seconds of the clock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.training.conftest import tubes
from tests.training.test_developed import Lit
from training.batches import Loader, SeededBatches
from training.config import TrainConfig
from training.data import DepthFrames


def shares(response: str | None, steps: int, workers: int = 0) -> tuple[float, float]:
    """Seconds of a step, and the share of them in which the loop waits for its batch."""
    augment = {"response": response} if response else {}
    config = TrainConfig(model={"type": "unet", "width": 16}, batch=8, steps=steps, augment=augment)
    data = tubes(patients=6, views=16, size=(96, 120))
    frames = [Lit(**vars(frame)) for frame in data.select(split="train")]
    tensors = DepthFrames(frames, response=config.augment.response)
    network = config.model.network().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    stream = SeededBatches(len(frames), config.batch, 0, 0, steps, numbered=response is not None)
    batches = iter(Loader(tensors, batch_sampler=stream, num_workers=workers))
    clock = time.perf_counter if workers else time.process_time
    waited = worked = 0.0
    for step in range(steps):
        begun = clock()
        batch = next(batches)
        had = clock()
        batch = config.augment(batch, config.augment.draw(config.batch, 0, step))
        loss = config.loss.of(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step > 1:
            waited += had - begun
            worked += clock() - begun
    return worked / (steps - 2), waited / worked


def main(steps: int) -> None:
    torch.set_num_threads(1)
    for name, response, workers in (("stored", None, 0), ("scopes", "scopes", 0), ("scopes, a worker", "scopes", 1)):
        each, share = shares(response, steps, workers)
        print(f"{name}: {each:.3f} s a step, of which {100 * share:.1f} % waiting for data (goal 5 %)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
