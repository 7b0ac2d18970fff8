"""The loop: a Lightning Trainer for so many steps, alone or in several processes, safe to interrupt."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import distributed
from torch._dynamo.exc import TorchDynamoException
from torch.optim.swa_utils import AveragedModel

from endorender.errors import UserError
from training.averaging import moving
from training.batches import Loader, SeededBatches
from training.checkpoint import CHECKPOINT, LOG, load_checkpoint, save_checkpoint, save_weights
from training.config import TrainConfig
from training.data import Batch, DepthFrames
from training.devices import accelerator, cores
from training.files import Progress, derive, missing_extra, write_atomic
from training.loggers import loggers
from training.metrics import DepthMetrics
from training.models.layers import DepthNetwork
from training.turned import grown

try:
    import lightning.pytorch as lightning
except ImportError as error:
    raise missing_extra(error) from None

if TYPE_CHECKING:
    from jaxtyping import Float

VALIDATED = {"abs_rel": ("metric", "median"), "rmse": ("metric", "median"), "delta1": ("median",)}
JUDGED = "val_abs_rel_median"  # what early stopping and the best weights go by
UNAVERAGED = "val_abs_rel_median_unaveraged"  # the same of the step's own weights, where an average is kept


def rank() -> int:
    """Which of the processes that train together this one is; 0 writes."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def mean_over_processes(value: Float[torch.Tensor, "*n"]) -> Float[torch.Tensor, "*n"]:
    """The value itself in a single process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def anywhere(flag: bool, device: Any = "cpu") -> bool:
    """Whether the flag is set in any process. All must ask: a process that stops alone leaves others waiting."""
    return bool(mean_over_processes(torch.tensor(float(flag), device=device)) > 0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's hints about hardware, loggers and workers are not for our users; errors still show."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for name, level in zip(names, levels):
            logging.getLogger(name).setLevel(level)


def fit(
    config: TrainConfig, out: Path, network: DepthNetwork, frames: dict[str, list[Any]], progress: Progress, done: bool
) -> None:
    """Trains the network on frames["train"]. done: go on from the checkpoint, if there is one."""
    network.mixed = config.precision == "bfloat16"
    module = Module(config, network)
    average = moving(network, config.ema) if config.ema else None
    if config.compile:
        network.compile()  # in place: names of weights stay, and the average, made before, is as it was
    begun = done and (out / CHECKPOINT).is_file()
    first = load_checkpoint(out, network, module.optimiser, average) if begun else 0
    module.first = first
    response = config.augment.response
    train_frames = DepthFrames(frames["train"], config.cache_mb, response, config.seed)
    val_frames = DepthFrames(frames["val"], config.cache_mb) if frames["val"] else None
    # Pictures are developed while the network works, where there is a core for it.
    busy = not train_frames.cached or (response is not None and cores() > config.devices)
    workers = config.workers if busy else 0
    share = config.batch // config.devices
    batches = Loader(
        train_frames,
        batch_sampler=SeededBatches(
            len(train_frames),
            config.batch,
            config.seed,
            first,
            config.steps,
            slice(rank() * share, (rank() + 1) * share),
            numbered=response is not None,
        ),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each new loader would draw from the state that is checkpointed
    )
    keeper = _Keeper(config, out, val_frames, first, progress, average)
    if first == config.steps or keeper.exhausted():
        return
    with quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator(config.device),
            devices=config.devices,
            strategy="ddp" if config.devices > 1 else "auto",
            max_epochs=1,
            callbacks=[keeper],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        ended = "failed"
        try:
            trainer.fit(module, batches)
            ended = "success"
        except TorchDynamoException:
            raise UserError("torch.compile does not work here: leave out compile", "NO_COMPILER") from None
        finally:
            keeper.close(ended)
            if distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()


class Module(lightning.LightningModule):
    """One optimiser step. first: the step at which this process begins."""

    def __init__(self, config: TrainConfig, network: DepthNetwork):
        super().__init__()
        self.config, self.network, self.first = config, network, 0
        self.names: list[str] = []
        self.stop = False
        self.optimiser = torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimiser

    def on_train_batch_start(self, batch: Batch, index: int) -> int | None:
        return -1 if self.stop else None  # -1: Lightning leaves the epoch

    def training_step(self, batch: Batch, index: int) -> Float[torch.Tensor, ""]:
        config, step = self.config, self.first + index
        self.names = batch["id"]
        self.set_rate(step)
        share = slice(rank() * len(self.names), (rank() + 1) * len(self.names))
        drawn = config.augment.draw(config.batch, config.seed, step)  # of the whole batch, whoever holds which part
        batch = config.augment(batch, {key: value[share] for key, value in drawn.items()})
        if getattr(self.network, "grows", False):
            above, before = np.random.default_rng([derive(config.seed, "padding"), step]).random(2)
            batch = grown(batch, int(self.network.encoder.stride), above, before)  # type: ignore[arg-type]
        loss: Float[torch.Tensor, ""] = config.loss.of(self.network, batch)
        self.refuse_nan(loss.detach(), "loss")
        return loss

    def set_rate(self, step: int) -> None:
        """The optimiser's for this step."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate(step)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.refuse_nan(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip), "gradient")

    def refuse_nan(self, value: Float[torch.Tensor, ""], what: str) -> None:
        """Raises UserError DIVERGED with the names of the batch's frames."""
        if anywhere(not math.isfinite(float(value)), value.device):
            raise UserError(
                f"the {what} became {float(value)} on the frames {', '.join(self.names)}; the last good checkpoint "
                "is kept: lower learning_rate, or look at these frames",
                "DIVERGED",
            )


class _Keeper(lightning.Callback):
    """Log, validation, checkpoints, and a stop when the process is asked to end or nothing gets better.

    What it knows of earlier steps it reads from the log, so that there is nothing else to restore.
    """

    def __init__(
        self, config: TrainConfig, out: Path, val: DepthFrames | None, first: int, progress: Progress,
        average: AveragedModel | None,
    ):  # fmt: skip
        self.config, self.out, self.val, self.first, self.progress = config, out, val, first, progress
        self.average = average
        self.names = [f"val_{m}_{p}" for m, protocols in VALIDATED.items() for p in protocols] if val else []
        if val and average is not None:
            self.names.append(UNAVERAGED)
        self.lines = _log_until(out / LOG, first) or [",".join(["step", "loss", "learning_rate", *self.names])]
        self.signal: int | None = None
        self.loggers = [] if rank() else loggers(config, out, first)

    def close(self, status: str) -> None:
        """No more is written. status: "success" or "failed"."""
        for logger in self.loggers:
            logger.finalize(status)

    def judged(self) -> list[float]:
        """abs_rel (median) at every validation so far."""
        if not self.names:
            return []
        column = 3 + self.names.index(JUDGED)
        cells = [line.split(",")[column] for line in self.lines[1:]]
        return [float(cell) for cell in cells if cell]

    def exhausted(self) -> bool:
        """Whether `patience` validations in a row were no better than the best before them."""
        values = self.judged()
        return (
            bool(self.config.patience and values)
            and len(values) - 1 - values.index(min(values)) >= self.config.patience
        )

    def kept(self, module: Any) -> DepthNetwork:
        """What is validated and stored: the network, or the average of its weights."""
        return cast(DepthNetwork, module.network if self.average is None else self.average.module)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if self.average is not None:
            self.average.to(module.device)
        if not rank() and self.val is not None and self.first == 0:  # where fine-tuning begins
            self._validate(module, ["0", "", ""])
        if threading.current_thread() is threading.main_thread():
            # Lightning restores the process's own handlers at its teardown, which these replace after it.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: Any) -> None:
        self.signal = number

    def _validate(self, module: Any, row: list[str]) -> None:
        """Adds the row with its validation metrics; keeps the weights if they are the best so far."""
        assert self.val is not None
        found = validate(self.kept(module), self.val, self.config.batch)
        if self.average is not None:
            found[UNAVERAGED] = validate(module.network, self.val, self.config.batch)[JUDGED]
        self.lines.append(",".join([*row, *map(repr, found.values())]))
        values = self.judged()
        if self.config.keep == "best" and values.index(min(values)) == len(values) - 1:
            save_weights(self.out, self.kept(module), int(row[0]))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        config, done = self.config, self.first + index + 1
        loss = float(mean_over_processes(outputs["loss"]))
        if self.average is not None:
            self.average.update_parameters(module.network)
        if not rank():
            row = [str(done), repr(loss), repr(config.rate(done - 1))]
            due = config.validate_every and done % config.validate_every == 0
            if self.val is not None and (done == config.steps or due):
                self._validate(module, row)
            else:
                self.lines.append(",".join(row + [""] * len(self.names)))
            self.progress(done, config.steps, f"loss {loss:.4f}")
            self._show()
        module.stop = anywhere(self.exhausted(), module.device)
        last = done == config.steps or module.stop
        asked = anywhere(self.signal is not None, module.device)
        if not rank() and (last or asked or (config.save_every and done % config.save_every == 0)):
            write_atomic(self.out / LOG, "\n".join(self.lines) + "\n")
            save_checkpoint(self.out, module.network, module.optimiser, done, self.average)
            if config.keep == "last":
                save_weights(self.out, self.kept(module), done)
        if asked and not last:
            name = signal.Signals(self.signal or signal.SIGTERM).name
            raise UserError(f"stopped by {name} after step {done}, which is saved: go on with --resume", "STOPPED")

    def _show(self) -> None:
        """The log's newest row to whoever follows."""
        names, cells = self.lines[0].split(","), self.lines[-1].split(",")
        row = {name: float(cell) for name, cell in zip(names[1:], cells[1:]) if cell}
        for logger in self.loggers:
            logger.log_metrics(row, step=int(cells[0]))


def _log_until(path: Path, step: int) -> list[str]:
    """The log's header and the rows of the steps up to `step`: later ones will be written anew. Rows that a disk cut
    short are left out."""
    if not step or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    whole = [line for line in lines[1:] if line.count(",") == lines[0].count(",") and line.split(",")[0].isdecimal()]
    return lines[:1] + [line for line in whole if int(line.split(",")[0]) <= step]


@torch.no_grad()
def validate(network: DepthNetwork, frames: DepthFrames, batch: int = 8) -> dict[str, float]:
    """`val_METRIC_PROTOCOL` over the frames; the network is left in the mode in which it came."""
    mode, device = network.training, next(network.parameters()).device
    network.eval()
    # Only the first of several processes validates: it must not wait for the others.
    judges = {
        protocol: DepthMetrics(
            protocol, [m for m, named in VALIDATED.items() if protocol in named], sync_on_compute=False
        )
        for protocol in ("metric", "median")
    }
    for item in Loader(frames, batch_size=batch, generator=torch.Generator()):
        prediction = network(item["image"].to(device)).cpu()
        for judge in judges.values():
            judge.update(prediction, item["z_depth"], item["mask"])
    network.train(mode)
    found = {protocol: judge.compute() for protocol, judge in judges.items()}
    return {f"val_{m}_{p}": found[p][m] for m, named in VALIDATED.items() for p in named}
