"""Training and fine-tuning: a Lightning Trainer for so many steps, reproducible and safe to interrupt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from endorender.dataset.frame import refuse_absent
from endorender.errors import UserError
from endorender.outputs import sweep
from endorender.registry import validated
from training import baselines, curves, scale
from training.batches import subset
from training.checkpoint import LOG, RUN, WEIGHTS, Run, data_identity, digest, load_run, read_weights
from training.config import TrainConfig
from training.data import aliases, frame_size, opened, people, refuse_shared_patients
from training.devices import accelerator
from training.files import Progress, command, derive, read_csv, read_json, versions, write_json
from training.loop import fit, rank
from training.lora import add_adapters
from training.models import models
from training.models.layers import DepthNetwork, freeze, frozen_modules


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
    data: a dataset's folder, "LAYOUT@FOLDER" (whose patients are all trained on), an open
    Dataset, or several of these; "val" patients, where there are any, are validated on.
    init_from: a run whose weights to start from (fine-tuning); the model is then that run's.
    resume: go on from the last checkpoint; on one CPU the result is the same to the bit as without the
    interruption. A finished run is returned as it is.
    say: told the frozen parameters.
    pretrained: a folder that transformers saved (config.json, model.safetensors) with weights to start
    from; the model's configuration is then that folder's.

    config.devices > 1: the processes share each batch; Lightning starts them by running this program anew,
    and they end where this function would return.

    Errors (UserError): `out` holds something else, the configuration or the data changed since the
    interruption, a patient in two splits, no frames, another architecture; DIVERGED with the names of
    the batch's frames, the last good checkpoint kept; STOPPED after SIGTERM or Ctrl-C, with a checkpoint
    of the step that was under way.
    """
    out = Path(out)
    start = load_run(init_from) if init_from is not None else None
    config, frames, network, frozen, given = prepared(config, data, start, pretrained)
    network.train()
    info = _describe(config, frames, network, frozen, start) | {
        "pretrained": digest(read_weights(given)) if given else None
    }
    if not rank():
        sweep(out)
    done = resume if rank() else _prepare(out, info, resume)
    if done and (out / WEIGHTS).is_file() and read_json(out / RUN, "a training run").get("finished"):
        return out
    if not frames["val"] and not rank():
        say("no patient is in the split val: the network is trained without a look at patients it does not know")
    if config.fine_tune != "full" and not rank():
        say(_what_is_trained(network, config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "training"))
        try:
            fit(config, out, network, frames, progress or (lambda done, total, text: None), done)
        except UserError:
            if rank():
                sys.exit(2)  # the first process says it
            raise
    if rank():
        sys.exit(0)  # a helper's work ends here: what follows is for the process that began it
    curve = curves.write(out, read_csv(out / LOG)) if frames["val"] else None
    if curve is not None:
        say(f"learning curve (curve.png): {curve['words']}")
    write_json(out / RUN, info | {"finished": True, "curve": curve})
    return out


class Prepared(NamedTuple):
    """What is trained on what. frozen: names of parameters. pretrained: a folder of weights that were read."""

    config: TrainConfig
    frames: dict[str, list[Any]]
    network: DepthNetwork
    frozen: list[str]
    pretrained: Path | None


def prepared(
    config: TrainConfig | Mapping[str, Any], data: Any, start: Run | None, pretrained: str | Path | None
) -> Prepared:
    """Everything that can be refused before a step is done. start: the run to go on from. See `train`."""
    config, given = _with_model(config, start, pretrained)
    accelerator(config.device)  # before anything is read or written
    frames = _frames(opened(data, "train"), config)
    network = _network(config, start, given)
    if config.precision == "bfloat16" and not network.mixes:
        name = models.name_of(type(config.model))
        raise UserError(f"{name} is trained in float32 only: leave out precision", "INVALID_VALUE")
    return Prepared(config, frames, network, _freeze(network, config), given)


def _freeze(network: DepthNetwork, config: TrainConfig) -> list[str]:
    """Names of the frozen parameters."""
    if config.fine_tune != "lora":
        return freeze(network, config.fine_tune)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "adapters"))
        return add_adapters(network, config.lora)


def _what_is_trained(network: DepthNetwork, config: TrainConfig) -> str:
    kept = sum(p.numel() for p in network.parameters() if p.requires_grad)
    if config.fine_tune == "lora":
        still = f"all but adapters of rank {config.lora.rank} and the last layer"
    else:
        still = ", ".join(name if "." in name else f"{name}.*" for name in frozen_modules(network))
    return f"fine-tuning {config.fine_tune}: {kept} weights are trained; frozen: {still}"


def _with_model(
    config: TrainConfig | Mapping[str, Any], start: Run | None, pretrained: str | Path | None
) -> tuple[TrainConfig, Path | None]:
    """The configuration with the model that it will be, and the folder whose weights it takes."""
    given = config if isinstance(config, TrainConfig) else validated(TrainConfig, config, "training configuration")
    if pretrained is not None:
        if start is not None:
            raise UserError("give a run to start from or pretrained weights, not both")
        if not hasattr(given.model, "pretrained"):
            who = ", ".join(name for name in models if hasattr(models[name], "pretrained"))
            raise UserError(f"pretrained weights are taken by {who}: choose one of them as model")
        model = given.model.pretrained(pretrained)
        return given.model_copy(update={"model": model}), Path(pretrained)
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
    refuse_absent(dataset.frames, variations=config.variations)
    refuse_shared_patients({name: people(dataset.select(split=name), own=True) for name in ("train", "val", "test")})
    chosen = {name: dataset.select(split=name, variations=config.variations) for name in ("train", "val")}
    if not chosen["train"]:
        raise UserError("the dataset has no training patient: name one in its splits, and render again", "NO_FRAMES")
    if (config.patience or config.keep == "best") and not chosen["val"]:
        raise UserError("patience and keep best need patients in the split val: name one in the dataset's splits")
    if config.augment.moves and any(frame.K is None for frame in chosen["train"]):
        raise UserError(
            "rotation and zoom need the intrinsics of every frame: give them with the data, or leave both out"
        )
    chosen["train"] = subset(chosen["train"], config.images, config.seed)
    chosen["val"] = subset(chosen["val"], config.validate_images, 0)  # the same for every run
    return chosen


def _network(config: TrainConfig, start: Run | None, pretrained: Path | None) -> DepthNetwork:
    if start is not None:
        return start.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "weights"))
        return config.model.network() if pretrained is None else config.model.network(pretrained)


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
                "patients": aliases(chosen),
                "variations": sorted({frame.variation for frame in chosen}),
                "sha256": data_identity(chosen),
            }
            for name, chosen in frames.items()
        },
        "scale": scale.describe(frames["train"], frame_size(frames["train"][0]), config.augment.zoom),
        # What a network has to beat, fitted on the very frames that it is trained on.
        "baselines": None if rank() else baselines.fitted(frames["train"]),
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
            "average_of": start.info.get("average_of"),
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
    old, new = ({**one, "config": _learnt_by(one.get("config"))} for one in (old, info))
    for key in ("config", "data", "init_from", "pretrained"):
        if old.get(key) != new[key]:
            raise UserError(
                f"{out} was begun with another {_difference(old.get(key), new[key], key)}: "
                "repeat the old one, or choose another output folder",
                "CONFIGURATION_CHANGED",
            )
    return True


def _learnt_by(config: Any) -> Any:
    """A configuration with the defaults of keys that there were not yet when it was written, without `loggers`:
    who looks on changes nothing of what is learnt."""
    if not isinstance(config, dict):  # of a file that somebody has changed
        return config
    try:
        whole = validated(TrainConfig, config, "the run's configuration").model_dump(mode="json")
    except UserError:
        return config
    return {key: value for key, value in whole.items() if key != "loggers"}


def _difference(old: Any, new: Any, name: str) -> str:
    """The first key that differs, with both values: `config.steps (100, now 200)`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{name}.{key}")
    return f"{name} ({old}, now {new})"
