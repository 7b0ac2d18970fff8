"""Networks of transformers: their configurations and their weights, from local folders only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from endorender.errors import UserError
from training.files import missing_extra

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def configuration(name: str, small: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """transformers' configuration: `small`, overridden by the `given` keys. Unknown keys are refused.

    name: the class in transformers ("DPTConfig").
    """
    cls = _transformers(name)
    known = cls().to_dict().keys()
    if unknown := sorted(set(given) - set(known)):
        raise UserError(f"{name} has no {', '.join(unknown)}; it has: {', '.join(sorted(known))}", "INVALID_VALUE")
    try:
        return cls(**{**small, **given})
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {' '.join(str(error).split())[:300]}", "INVALID_VALUE") from None


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise missing_extra(error) from None
    return getattr(transformers, name)


def read_folder(folder: str | Path, name: str, model_types: Sequence[str]) -> dict[str, Any]:
    """All keys of the configuration in a folder that transformers saved (config.json, model.safetensors).

    Errors (UserError): no such folder, or the configuration of another architecture.
    """
    path = Path(folder) / CONFIG
    if not path.is_file() or not path.with_name(WEIGHTS).is_file():
        raise UserError(f"{folder} does not hold {CONFIG} and {WEIGHTS}: give a folder that holds both", "NOT_FOUND")
    try:
        values = json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is not JSON: it was cut short or edited", "TRUNCATED") from None
    found = values.get("model_type") if isinstance(values, dict) else None
    if found not in model_types:
        raise UserError(
            f"{folder} holds the weights of another architecture ({found}): give those of {', '.join(model_types)}",
            "ARCHITECTURE",
        )
    cls = _transformers(name)
    return {k: v for k, v in cls(**values).to_dict().items() if k in cls().to_dict() and not k.startswith("_")}


def fill(module: Any, weights: Mapping[str, Any], folder_is: str, fresh: tuple[str, ...] = ()) -> None:
    """Puts the weights into a torch module; every parameter must be there but those that begin with `fresh`.

    Names may carry the prefix of a whole model ("resnet.encoder…" for "encoder…"); weights that the
    module has no place for (a classifier) are left out. Errors (UserError): ARCHITECTURE.
    """
    own = module.state_dict()
    found = {}
    for name, value in weights.items():
        short = name if name in own else name.partition(".")[2]
        if short in own and not short.startswith(fresh):
            found[short] = value
    for name in own:
        if not name.startswith(fresh) and (name not in found or found[name].shape != own[name].shape):
            raise UserError(
                f"the weights are of another architecture than {folder_is} ({name} differs)", "ARCHITECTURE"
            )
    module.load_state_dict(found, strict=False)
