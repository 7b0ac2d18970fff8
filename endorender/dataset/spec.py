"""What is written in one word on the command line: a size, a model with its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from endorender.errors import UserError
from endorender.safe_yaml import parse_yaml


def pixels(size: Any) -> tuple[int, int]:
    """`"320x240"` -> (320, 240). Raises UserError."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", str(size))
    if not match or not all(8 <= int(n) <= 8192 for n in match.groups()):
        raise UserError(
            f"must be WIDTHxHEIGHT in pixels, each from 8 to 8192, such as 320x240, got {size}", "INVALID_VALUE"
        )
    return int(match[1]), int(match[2])


def regions(value: Any) -> int | tuple[int, ...] | None:
    """`2` or `"2"` -> 2, `"1,3"` -> (1, 3): which lumens, 1 the largest; None stays None. Raises UserError."""
    if value is None:
        return None
    parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = [int(str(part)) if re.fullmatch(r"\s*\d{1,4}\s*", str(part)) else 0 for part in parts]
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UserError("a region is a number from 1 on, or several, as 1,2", "INVALID_VALUE")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def parse_spec(value: Any) -> Any:
    """`"fisheye:fov=120"` -> {"type": "fisheye", "fov": 120}; mappings pass as they are."""
    if not isinstance(value, str):
        return value
    name, _, rest = value.partition(":")
    return {"type": name.strip(), **(pairs(rest, name, "NAME or NAME:") if rest else {})}


def parse_scope(value: Any) -> Any:
    """A `Scope`: of its outside diameter in mm (`8`, `"8"`), or as `parse_spec` reads it. Raises UserError."""
    from endorender.scene.scope import scopes

    try:
        value = {"type": "own", "diameter": float(value)}
    except (TypeError, ValueError):
        value = parse_spec(value)
    return scopes.build(value)


def pairs(text: str, name: str, before: str = "") -> dict[str, Any]:
    """`"fov=120,k1=-0.01"` -> {"fov": 120, "k1": -0.01}."""
    values = {}
    for part in re.split(r",(?![^\[]*\])", text):
        key, equals, written = part.partition("=")
        if not equals:
            raise ValueError(f"must be {before}key=value,key=value")
        # A star would begin an alias: it is a pattern of names.
        values[key.strip()] = written if "*" in written else parse_yaml(written, f"{name}: {key.strip()}")
    return values


def as_mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping; ValueError otherwise."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a name or a mapping with the key 'type'")
    return value
