"""Options that stand for keys of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from endorender.safe_yaml import read_yaml


def training_values(file: str | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a YAML file, overridden by the options that were given."""
    values = read_yaml(Path(file)) if file else {}
    return values | {key: value for key, value in flags.items() if value is not None}


def mask_of(spec: str | None) -> Path | None:
    """The file of `--label MASK[:LABELS]`."""
    from endorender.ct.mask import chosen

    return None if spec is None else chosen(spec)[0]


def names(text: str | None) -> list[str] | None:
    """`a, b` -> ["a", "b"]; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
