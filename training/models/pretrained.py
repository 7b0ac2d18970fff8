"""Networks of transformers: their configurations and their weights, from local folders only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from endorender.errors import UserError, hint
from training.files import missing_extra

CONFIG, WEIGHTS, PARTS = "config.json", "model.safetensors", "model.safetensors.index.json"


def configuration(name: str, small: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """transformers' configuration: `small`, overridden by the `given` keys. Unknown keys are refused.

    name: the class in transformers ("DPTConfig").
    """
    cls = _transformers(name)
    known = cls().to_dict().keys()
    if wrong := sorted(set(given) - set(known)):
        raise UserError(
            f"{name} has no {wrong[0]}{hint(wrong[0], known)}; it has: {', '.join(sorted(known))}", "INVALID_VALUE"
        )
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
    if not path.is_file() or not any(path.with_name(name).is_file() for name in (WEIGHTS, PARTS)):
        raise UserError(f"{folder} does not hold {CONFIG} and {WEIGHTS}: give a folder that holds both", "NOT_FOUND")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path} is not JSON: it was cut short or edited", "TRUNCATED") from None
    found = values.get("model_type") if isinstance(values, dict) else None
    if found not in model_types:
        raise UserError(
            f"{folder} holds the weights of another architecture ({found}): give those of {', '.join(model_types)}",
            "ARCHITECTURE",
        )
    cls = _transformers(name)
    return {k: v for k, v in cls(**values).to_dict().items() if k in cls().to_dict() and not k.startswith("_")}


def load(cls: Any, folder: str | Path, config: Any, fresh: tuple[str, ...] = ()) -> Any:
    """A class of transformers' own modules, in float32, with the weights that a folder of transformers holds.

    transformers renames what older or other versions of it saved under other names. Parameters whose names begin with
    `fresh` need not be there: they come from torch's current generator. Errors (UserError): ARCHITECTURE, TRUNCATED.
    """
    import torch
    from safetensors import SafetensorError

    with _quiet():
        try:
            module, report = cls.from_pretrained(
                str(folder), config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32,
                output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"the weights cannot be read ({type(error).__name__}): the file was cut short or is no safetensors",
                "TRUNCATED",
            ) from None
    off = {*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])}
    if wrong := sorted(key for key in off if not key.startswith(fresh)):
        raise UserError(
            f"the weights are of another architecture than {config.model_type} ({wrong[0]} differs)", "ARCHITECTURE"
        )
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' report and progress bar: what is missing is known here, and said in a line."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
