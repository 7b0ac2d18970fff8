"""Runs on disk: weights and optimiser as safetensors, which hold numbers only and execute nothing.

RUN/run.json                  what was trained on what, from what, with which parameters frozen
RUN/model.safetensors         the weights
RUN/checkpoint.safetensors    weights, their average, optimiser and random state at one step: what `resume` reads
RUN/log.csv                   loss and rate of every step, validation metrics
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from endorender.errors import UserError
from endorender.registry import validated
from training.config import TrainConfig
from training.files import fingerprint, missing_extra, read_json, write_atomic
from training.lora import merged
from training.models.layers import DepthNetwork
from training.shipping import run_folder

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save
except ImportError as error:
    raise missing_extra(error) from None

WEIGHTS, CHECKPOINT, RUN, LOG = "model.safetensors", "checkpoint.safetensors", "run.json", "log.csv"


@dataclass(frozen=True)
class Run:
    """A training run as found on disk. info: run.json; network: with its weights, in evaluation mode."""

    path: Path
    info: dict[str, Any]
    config: TrainConfig
    network: DepthNetwork
    weights: str  # fingerprint of the weights' file


def load_run(path: str | Path) -> Run:
    """Opens a run; `shipped` is that of the package. Errors (UserError): no run there, weights of another architecture,
    not safetensors."""
    path = run_folder(path)
    info = read_json(path / RUN, "a training run")
    if not isinstance(info, dict) or not isinstance(info.get("config"), dict):
        raise UserError(f"{path / RUN} is not the description of a training run", "NOT_FOUND")
    model = info["config"].get("model")
    if isinstance(model, dict) and model.get("type") == "unet":
        model.setdefault("cues", False)  # what an older version wrote
    config = validated(TrainConfig, info["config"], "the run's configuration")
    if not (path / WEIGHTS).is_file():
        raise UserError(f"{path} has no {WEIGHTS}: the run did not reach its first checkpoint; train it", "NOT_FOUND")
    tensors, _ = read_tensors(path / WEIGHTS)
    network = config.model.network()
    load_weights(network, tensors, path / WEIGHTS)
    return Run(path, info, config, network.eval(), digest(tensors))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; UserError if it is anything else, a pickle for one."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise UserError(
            f"{path} is not a whole safetensors file (nothing else is loaded): train the network again", "NOT_WEIGHTS"
        ) from None


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Every tensor of a folder that transformers saved, whether in one file or in several."""
    return {
        name: value
        for path in sorted(Path(folder).glob("model*.safetensors"))
        for name, value in read_tensors(path)[0].items()
    }


def load_weights(network: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Puts the weights in; UserError names the first parameter that does not fit."""
    own = network.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape:
            raise UserError(
                f"{path} holds the weights of another architecture ({name} differs): "
                "give the model that it was trained as",
                "ARCHITECTURE",
            )
    network.load_state_dict(tensors)


def digest(tensors: dict[str, Tensor]) -> str:
    """Fingerprint of names and values: equal for equal weights, wherever they came from."""
    import hashlib

    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def save_checkpoint(
    run: Path,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    average: AveragedModel | None = None,
) -> None:
    """Writes checkpoint.safetensors, which replaces the former in one move; adapters stand in it by themselves."""
    tensors = _named("model", network)
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value.detach().cpu().contiguous() for key, value in state.items()}
    if average is not None:
        tensors |= _named("average", average)
    tensors["random"] = torch.get_rng_state()
    write_atomic(run / CHECKPOINT, save(tensors, {"step": json.dumps(step)}))


def _named(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def save_weights(run: Path, network: torch.nn.Module, step: int) -> None:
    """Writes model.safetensors: the weights, adapters merged, so that a run is opened without them."""
    save_tensors(run, merged(network), step)


def save_tensors(run: Path, weights: dict[str, Tensor], step: int) -> None:
    """Writes model.safetensors, in one move."""
    on_cpu = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomic(run / WEIGHTS, save(on_cpu, {"step": json.dumps(step)}))


def load_checkpoint(
    run: Path, network: torch.nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None = None
) -> int:
    """Restores what `save_checkpoint` wrote, torch's generator included; returns the steps done."""
    tensors, metadata = read_tensors(run / CHECKPOINT)
    if "step" not in metadata or "random" not in tensors:
        raise UserError(f"{run / CHECKPOINT} is not a checkpoint of endorender", "NOT_WEIGHTS")
    for prefix, module in (("model.", network), ("average.", average)):
        if module is not None:
            held = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
            load_weights(module, held, run / CHECKPOINT)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random"])
    return int(json.loads(metadata["step"]))


def data_identity(frames: Any) -> str:
    """Fingerprint of the frames' names and of their files' hashes: which bytes were trained or judged on."""
    return fingerprint([[f.id, {kind: file.sha256 for kind, file in f.files.items()}] for f in frames])
