"""JSON Schema of `endorender train --config FILE`, with what the registries hold."""

from __future__ import annotations

from endorender.dataset.developing import RESPONSES
from endorender.dataset.schema import DIALECT, Schema, either, of_model, of_registry
from training.config import TrainConfig
from training.losses import losses
from training.models import models


def train() -> Schema:
    """See `endorender.dataset.schema`."""
    found = of_model(TrainConfig)
    found["properties"] |= {"model": of_registry(models, short=False), "loss": of_registry(losses, short=False)}
    named = {"type": "string", "pattern": f"^({'|'.join(RESPONSES)})(:.*)?$"}
    found["properties"]["augment"]["properties"]["response"] = either(named, {"type": "object"}, {"type": "null"})
    return {"$schema": DIALECT, "title": "endorender train", **found, "required": []}
