"""Which learning rate to begin with: the range test of Smith (2017), by Lightning's tuner."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.tuner import Tuner
from matplotlib.figure import Figure

from endorender.errors import UserError
from training.batches import Loader, SeededBatches
from training.checkpoint import load_run
from training.config import TrainConfig
from training.data import DepthFrames
from training.devices import accelerator
from training.files import derive
from training.loop import Module, lightning, quiet
from training.trainer import prepared

LEAST, MOST = 1e-6, 1.0


@dataclass(frozen=True)
class Rates:
    """suggested: the rate at which the loss falls most steeply. rates, losses: of each step; losses are smoothed."""

    suggested: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def figure(self) -> Figure:
        """Loss against rate, with the suggestion."""
        from training.figures import COLOURS, style_axes

        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axes = figure.subplots()
        style_axes(axes, "learning rate", "training loss")
        axes.plot(self.rates, self.losses, color=COLOURS[1])
        axes.axvline(self.suggested, color=COLOURS[2], label=f"suggested: {self.suggested:.2g}")
        axes.set_xscale("log")
        axes.legend(frameon=False)
        return figure


def find_rate(
    config: TrainConfig | Mapping[str, Any],
    data: Any,
    init_from: str | Path | None = None,
    pretrained: str | Path | None = None,
    steps: int = 100,
) -> Rates:
    """Trains for some steps under a rate that rises from LEAST to MOST, and throws the weights away.

    config, data, init_from, pretrained: as for `training.trainer.train`; nothing is written. steps: of the test, on the
    frames that training would see first. Errors (UserError): as for `train`; NO_RATE where no loss falls.
    """
    start = load_run(init_from) if init_from is not None else None
    config, frames, network, *_ = prepared(config, data, start, pretrained)
    network.train()
    chosen = DepthFrames(frames["train"], config.cache_mb, config.augment.response, config.seed)
    numbered = config.augment.response is not None
    batches = Loader(
        chosen,
        batch_sampler=SeededBatches(len(chosen), config.batch, config.seed, 0, steps, numbered=numbered),
        generator=torch.Generator(),
    )
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(derive(config.seed, "training"))
        trainer = lightning.Trainer(
            accelerator=accelerator(config.device), devices=1, max_epochs=1, logger=False, default_root_dir=folder,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        found = Tuner(trainer).lr_find(
            _Searched(config, network), batches, min_lr=LEAST, max_lr=MOST, num_training=steps, update_attr=False
        )
    suggested = None if found is None else found.suggestion()
    if found is None or suggested is None or not isfinite(suggested):
        raise UserError("under no rate does the loss fall: look at the data, or give more steps", "NO_RATE")
    return Rates(float(suggested), tuple(map(float, found.results["lr"])), tuple(map(float, found.results["loss"])))


class _Searched(Module):
    """The same steps, with the tuner's rates in the place of the schedule's."""

    def __init__(self, config: TrainConfig, network: Any):
        super().__init__(config, network)
        self.learning_rate = config.learning_rate  # which the tuner looks for

    def set_rate(self, step: int) -> None:
        """The tuner sets it."""

    def refuse_nan(self, value: torch.Tensor, what: str) -> None:
        """Where the rate is too high, this is what is to be seen."""
