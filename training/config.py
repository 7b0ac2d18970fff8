"""What a training run is told, validated once and stored beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from endorender.deprecated import warn
from endorender.registry import Model
from training.augment import Augment
from training.lora_config import Lora
from training.losses import losses
from training.models import models

if TYPE_CHECKING:
    AnyModel: TypeAlias = Any
    AnyLoss: TypeAlias = Any
else:
    AnyModel, AnyLoss = models.field(), losses.field()


class TrainConfig(Model):
    """Configuration of `endorender train`; the dataset's path and the output folder are not part of it.

    model, loss: a registered name, or a mapping with `type` and parameters.
    variations: which images of each view to train on (such as "synthetic"); null: all that there are.
    images: how many training frames to use, drawn by the seed (more images include the fewer); null: all.
    steps, batch: optimiser steps and images in each.
    learning_rate, warmup, schedule, weight_decay, clip: AdamW; the rate rises over `warmup` steps and
    falls to zero by a cosine, or stays; the gradient's norm is clipped.
    fine_tune: which parameters are trained, "full", "head" (all but the encoder), "last-layer", or "lora"
    (adapters of the rank in `lora`, and the last layer).
    validate_every, validate_images: steps between validations, and how many frames (0 steps: at the end only).
    patience: stop after so many validations in a row whose abs_rel (median) was no better; 0: never.
    keep: the weights of the "last" step, or of the "best" validation.
    ema: decay of the moving average of the weights, such as 0.999; it is what is validated and kept. 0: none.
    save_every: steps between checkpoints (0: at the end only).
    device: as everywhere in endorender; "auto" takes a card that torch can use, else the CPU.
    devices: processes on this machine (GPUs, or CPU processes) that share each batch.
    precision: "bfloat16" trains encoder and decoder in 16 bits (weights, last layer and loss in 32): quicker where the
    processor has it (AVX512_BF16, AMX, a card), far slower elsewhere. Validation is always in float32.
    compile: torch.compile on the network: some minutes of compiling, then quicker steps (needs a C++ compiler).
    loggers: "tensorboard" (RUN/tensorboard), "wandb" and "mlflow" are told what log.csv holds (extras of these names;
    training/loggers.py).
    cache_mb, workers: frames are decoded once if they fit in memory, otherwise by so many processes.
    """

    model: AnyModel = Field("unet", validate_default=True)
    loss: AnyLoss = Field("silog", validate_default=True)
    variations: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    images: int | None = Field(None, ge=1)
    steps: int = Field(400, ge=1)
    batch: int = Field(8, ge=1, le=4096)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(1.0, gt=0)
    fine_tune: Literal["full", "head", "last-layer", "lora"] = "full"
    lora: Lora = Lora()
    augment: Augment = Augment()
    seed: int = Field(0, ge=0, lt=2**63)
    validate_every: int = Field(50, ge=0)
    validate_images: int = Field(32, ge=1)
    patience: int = Field(0, ge=0)
    keep: Literal["last", "best"] = "last"
    ema: float = Field(0.0, ge=0, lt=1)
    save_every: int = Field(100, ge=0)
    cache_mb: float = Field(2048, ge=0)
    workers: int = Field(2, ge=0, le=64)
    device: Literal["auto", "cpu", "cuda", "vulkan", "metal"] = "auto"
    devices: int = Field(1, ge=1, le=1024)
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        """`tensorboard`, of before there were others."""
        if not isinstance(values, Mapping) or "tensorboard" not in values:
            return values
        rest = {key: value for key, value in values.items() if key != "tensorboard"}
        if not values["tensorboard"]:
            return rest
        warn("tensorboard")
        held = rest.get("loggers") or ()
        several = held.split(",") if isinstance(held, str) else held
        return {**rest, "loggers": ("tensorboard", *several)}

    @field_validator("device", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return "cuda" if value == "gpu" else value  # the name in runs of before

    @field_validator("variations", "loggers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(v.strip() for v in value.split(",")) if isinstance(value, str) else value

    @field_validator("devices")
    @classmethod
    def _shared(cls, devices: int, info: Any) -> int:
        if info.data.get("batch", devices) % devices:
            raise ValueError(f"a batch of {info.data['batch']} cannot be shared evenly")
        return devices

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: a pure function, so nothing of it is to be restored."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall = 0.5 * (1 + cos(pi * step / self.steps)) if self.schedule == "cosine" else 1.0
        return self.learning_rate * rise * fall
