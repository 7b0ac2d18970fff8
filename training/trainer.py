"""Training and fine-tuning: a Lightning Trainer for so many steps, reproducible and safe to interrupt."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from endorender.dataset import open_dataset
from endorender.errors import UserError
from endorender.registry import validated
from training.augment import apply
from training.checkpoint import (
    CHECKPOINT,
    LOG,
    RUN,
    WEIGHTS,
    Run,
    data_identity,
    digest,
    load_checkpoint,
    load_run,
    read_tensors,
    save_checkpoint,
)
from training.config import TrainConfig
from training.data import Batch, DepthFrames, SeededBatches, people, refuse_shared_patients, subset
from training.files import Progress, command, derive, missing_extra, read_json, versions, write_atomic, write_json
from training.metrics import DepthMetrics
from training.models import models
from training.models.layers import DepthNetwork, freeze, frozen_modules

try:
    import lightning.pytorch as lightning
except ImportError as error:
    raise missing_extra(error) from None

VALIDATED = {"abs_rel": ("metric", "median"), "rmse": ("metric", "median"), "delta1": ("median",)}


def train(
    config: TrainConfig | Mapping[str, Any],
    out: str | Path,
    data: Any,
    init_from: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
    pretrained: str | Path | None = None,
) -> Path:
    """Trains a network on the dataset's split "train" and returns the run's folder.

    config: a TrainConfig or its keys. out: the run's folder, absent or empty unless `resume`.
    data: a dataset's folder or an open Dataset; "val" patients, where there are any, are validated on.
    init_from: a run whose weights to start from (fine-tuning); the model is then that run's.
    resume: go on from the last checkpoint; on one CPU the result is the same to the bit as without the
    interruption. A finished run is returned as it is.
    say: told the frozen parameters.
    pretrained: a folder that transformers saved (config.json, model.safetensors) with weights to start
    from; the model's configuration is then that folder's.

    Errors (UserError): `out` holds something else, the configuration or the data changed since the
    interruption, a patient in two splits, no frames, another architecture; DIVERGED with the names of
    the batch's frames, the last good checkpoint kept; STOPPED after SIGTERM or Ctrl-C, with a checkpoint
    of the step that was under way.
    """
    out = Path(out)
    start = load_run(init_from) if init_from is not None else None
    config, given = _with_model(config, start, pretrained)
    dataset = open_dataset(data) if isinstance(data, (str, Path)) else data
    frames = _frames(dataset, config)
    network = _network(config, start, given)
    frozen = freeze(network, config.fine_tune)
    network.train()
    info = _describe(config, frames, network, frozen, start) | {"pretrained": digest(given) if given else None}
    done = _prepare(out, info, resume)
    if done and (out / WEIGHTS).is_file() and read_json(out / RUN, "a training run").get("finished"):
        return out
    if config.fine_tune != "full":
        kept = sum(p.numel() for p in network.parameters() if p.requires_grad)
        still = ", ".join(f"{name}.*" for name in frozen_modules(network))
        say(f"fine-tuning {config.fine_tune}: {kept} weights are trained; frozen: {still}")
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "training"))
        _fit(config, out, network, frames, progress or (lambda done, total, text: None), done)
    write_json(out / RUN, info | {"finished": True})
    return out


def _with_model(
    config: TrainConfig | Mapping[str, Any], start: Run | None, pretrained: str | Path | None
) -> tuple[TrainConfig, dict[str, torch.Tensor] | None]:
    """The configuration with the model that it will be, and the weights of the folder `pretrained`."""
    given = config if isinstance(config, TrainConfig) else validated(TrainConfig, config, "training configuration")
    if pretrained is not None:
        if start is not None:
            raise UserError("give a run to start from or pretrained weights, not both")
        if not hasattr(given.model, "pretrained"):
            who = ", ".join(name for name in models if hasattr(models[name], "pretrained"))
            raise UserError(f"pretrained weights are taken by {who}: choose one of them as model")
        model = given.model.pretrained(pretrained)
        return given.model_copy(update={"model": model}), read_tensors(Path(pretrained) / WEIGHTS)[0]
    if start is None:
        if given.fine_tune != "full":
            raise UserError(
                f"fine_tune {given.fine_tune} needs a trained network: give the run to start from (--init-from RUN)"
            )
        return given, None
    if "model" not in given.model_fields_set:
        return given.model_copy(update={"model": start.config.model}), None
    if given.model != start.config.model:
        raise UserError(
            f"the run to start from has another architecture ({start.info['config']['model']}): leave out model",
            "ARCHITECTURE",
        )
    return given, None


def _frames(dataset: Any, config: TrainConfig) -> dict[str, list[Any]]:
    """Frames to train and to validate on; refuses a patient in two splits, whether it is used here or not."""
    if config.variations is not None:
        known = {frame.variation for frame in dataset.frames}
        if unknown := [v for v in config.variations if v not in known]:
            raise UserError(
                f"the dataset has no variation {', '.join(unknown)}; it has: {', '.join(sorted(known))}", "UNKNOWN_NAME"
            )
    refuse_shared_patients({name: people(dataset.select(split=name)) for name in ("train", "val", "test")})
    chosen = {name: dataset.select(split=name, variations=config.variations) for name in ("train", "val")}
    if not chosen["train"]:
        raise UserError("the dataset has no training patient: name one in its splits, and render again", "NO_FRAMES")
    chosen["train"] = subset(chosen["train"], config.images, config.seed)
    chosen["val"] = subset(chosen["val"], config.validate_images, 0)  # the same for every run
    return chosen


def _network(config: TrainConfig, start: Run | None, weights: dict[str, torch.Tensor] | None) -> DepthNetwork:
    if start is not None:
        return start.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "weights"))
        return config.model.network() if weights is None else config.model.network(weights)


def _describe(
    config: TrainConfig, frames: dict[str, list[Any]], network: DepthNetwork, frozen: list[str], start: Run | None
) -> dict[str, Any]:
    """run.json: no path, no date."""
    before = start.info["seen"] if start else {}
    return {
        "schema": 1,
        "config": config.model_dump(mode="json"),
        "data": {
            name: {
                "frames": len(chosen),
                "patients": sorted(people(chosen).values()),
                "variations": sorted({frame.variation for frame in chosen}),
                "sha256": data_identity(chosen),
            }
            for name, chosen in frames.items()
        },
        # Every person that any of these weights was ever trained on, by the hash of the CT.
        "seen": before | people(frames["train"]),
        "weights": sum(p.numel() for p in network.parameters()),
        "frozen": frozen,
        "init_from": None
        if start is None
        else {
            "weights": start.weights,
            "config": start.info["config"],
            "data": start.info["data"],
            "init_from": start.info["init_from"],
        },
        "versions": versions(),
        "command": command(),
        "finished": False,
    }


def _prepare(out: Path, info: dict[str, Any], resume: bool) -> bool:
    """Makes the run's folder, or checks that it holds the beginning of this very run (True)."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: choose another output folder", "FOREIGN_FOLDER")
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RUN, info)
        return False
    if not resume:
        raise UserError(f"{out} is not empty: choose another output folder, or add --resume", "EXISTS")
    old = read_json(out / RUN, "a training run")
    for key in ("config", "data", "init_from", "pretrained"):
        if old.get(key) != info[key]:
            raise UserError(
                f"{out} was begun with another {_difference(old.get(key), info[key], key)}: "
                "repeat the old one, or choose another output folder",
                "CONFIGURATION_CHANGED",
            )
    return True


def _difference(old: Any, new: Any, name: str) -> str:
    """The first key that differs, with both values: `config.steps (100, now 200)`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{name}.{key}")
    return f"{name} ({old}, now {new})"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _fit(
    config: TrainConfig, out: Path, network: DepthNetwork, frames: dict[str, list[Any]], progress: Progress, done: bool
) -> None:
    module = _Module(config, network)
    first = load_checkpoint(out, network, module.optimiser) if done and (out / CHECKPOINT).is_file() else 0
    module.first = first
    train_frames = DepthFrames(frames["train"], config.cache_mb)
    val_frames = DepthFrames(frames["val"], config.cache_mb) if frames["val"] else None
    workers = 0 if train_frames.cached else config.workers
    batches = DataLoader(
        train_frames,
        batch_sampler=SeededBatches(len(train_frames), config.batch, config.seed, first, config.steps),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each new loader would draw from the state that is checkpointed
    )
    trainer = lightning.Trainer(
        accelerator=config.device,
        devices=1,
        max_epochs=1,
        callbacks=[_Keeper(config, out, val_frames, first, progress)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if first < config.steps:
        trainer.fit(module, batches)


class _Module(lightning.LightningModule):
    """One optimiser step. first: the step at which this process begins."""

    def __init__(self, config: TrainConfig, network: DepthNetwork):
        super().__init__()
        self.config, self.network, self.first = config, network, 0
        self.names: list[str] = []
        self.optimiser = torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimiser

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        step = self.first + index
        self.names = batch["id"]
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate(step)
        batch = apply(batch, self.config.augment.draw(len(self.names), self.config.seed, step))
        loss = self.config.loss(self.network(batch["image"]), batch["z_depth"], batch["mask"])
        self._refuse_nan(loss.detach(), "loss")
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        self._refuse_nan(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip), "gradient")

    def _refuse_nan(self, value: torch.Tensor, what: str) -> None:
        if not math.isfinite(float(value)):
            raise UserError(
                f"the {what} became {float(value)} on the frames {', '.join(self.names)}; the last good checkpoint "
                "is kept: lower learning_rate, or look at these frames",
                "DIVERGED",
            )


class _Keeper(lightning.Callback):
    """Log, validation, checkpoints, and a stop when the process is asked to end."""

    def __init__(self, config: TrainConfig, out: Path, val: DepthFrames | None, first: int, progress: Progress):
        self.config, self.out, self.val, self.first, self.progress = config, out, val, first, progress
        self.names = [f"val_{m}_{p}" for m, protocols in VALIDATED.items() for p in protocols] if val else []
        self.lines = _log_until(out / LOG, first) or [",".join(["step", "loss", "learning_rate", *self.names])]
        self.signal: int | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if self.val is not None and self.first == 0:  # where fine-tuning begins
            found = validate(module.network, self.val, self.config.batch)
            self.lines.append(",".join(["0", "", "", *map(repr, found.values())]))
        if threading.current_thread() is threading.main_thread():
            # Lightning restores the process's own handlers at its teardown, which these replace after it.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: Any) -> None:
        self.signal = number

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        config, done = self.config, self.first + index + 1
        last = done == config.steps
        loss = float(outputs["loss"])
        row = [str(done), repr(loss), repr(config.rate(done - 1))]
        due = config.validate_every and done % config.validate_every == 0
        if self.val is not None and (last or due):
            row += map(repr, validate(module.network, self.val, config.batch).values())
        else:
            row += [""] * len(self.names)
        self.lines.append(",".join(row))
        self.progress(done, config.steps, f"loss {loss:.4f}")
        if last or self.signal is not None or (config.save_every and done % config.save_every == 0):
            write_atomic(self.out / LOG, "\n".join(self.lines) + "\n")
            save_checkpoint(self.out, module.network, module.optimiser, done)
        if self.signal is not None and not last:
            name = signal.Signals(self.signal).name
            raise UserError(f"stopped by {name} after step {done}, which is saved: go on with --resume", "STOPPED")


def _log_until(path: Path, step: int) -> list[str]:
    """The log's header and the rows of the steps up to `step`: later ones will be written anew."""
    if not step or not path.is_file():
        return []
    lines = path.read_text().splitlines()
    return lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= step]


@torch.no_grad()
def validate(network: DepthNetwork, frames: DepthFrames, batch: int = 8) -> dict[str, float]:
    """`val_METRIC_PROTOCOL` over the frames; the network is left in the mode in which it came."""
    mode, device = network.training, next(network.parameters()).device
    network.eval()
    judges = {protocol: DepthMetrics(protocol) for protocol in ("metric", "median")}
    for item in DataLoader(frames, batch, generator=torch.Generator()):
        prediction = network(item["image"].to(device)).cpu()
        for judge in judges.values():
            judge.update(prediction, item["z_depth"], item["mask"])
    network.train(mode)
    found = {protocol: judge.compute() for protocol, judge in judges.items()}
    return {f"val_{m}_{p}": found[p][m] for m, named in VALIDATED.items() for p in named}
