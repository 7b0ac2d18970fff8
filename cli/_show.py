"""Mappings as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def table(values: Mapping[str, Any], as_json: bool = False) -> str:
    """Aligned `key  value` lines, or JSON."""
    if as_json:
        return json.dumps(values, indent=2, ensure_ascii=False, default=str)
    width = max(map(len, values), default=0)
    return "\n".join(f"{key.replace('_', ' '):{width}}  {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ("; " if any(isinstance(v, (str, Mapping)) for v in value) else " x ").join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
