"""Effective configurations, as `RenderConfig.public` gives and a dataset stores them: told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# What a stored configuration leaves out where it is this: keys that are younger than datasets which can be continued.
UNSAID: dict[str, Any] = {"coat": {"type": "wet_ggx"}, "noise": None}


def fingerprint(public: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of an effective configuration."""
    text = json.dumps(public, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: Any, new: Any, key: str = "") -> list[str]:
    """`["spp: 16 -> 32"]`: where two nested configurations part."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in difference(old.get(k), new.get(k), f"{key}.{k}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for n, (a, b) in enumerate(zip(old, new)) for d in difference(a, b, f"{key}[{n}]")]
    return [] if old == new else [f"{key}: {json.dumps(old)} -> {json.dumps(new)}"]
