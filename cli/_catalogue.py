"""What `endorender list` shows: every registry, and the presets of a dataset."""

from __future__ import annotations

import inspect
from typing import Any

from endorender.errors import UserError
from endorender.registry import REGISTRIES

Entry = tuple[str, str, list[str]]


def kinds() -> list[str]:
    """Kinds that can be listed."""
    _load()
    return sorted([*REGISTRIES, "preset"])


def entries(kind: str) -> list[Entry]:
    """(name, first line of the documentation, one line per parameter) of everything of this kind."""
    _load()
    if kind == "preset":
        return _presets()
    if kind not in REGISTRIES:
        raise UserError(f"nothing is listed under {kind!r}; there are: {', '.join(kinds())}", "UNKNOWN_NAME")
    registry = REGISTRIES[kind]
    return [(name, _first_line(registry[name]), _parameters(registry[name])) for name in registry]


def _load() -> None:
    """Import the modules that register something; none of them loads Taichi or torch."""
    import importlib

    import endorender.dataset.layouts
    import endorender.scene  # noqa: F401

    for module in ("models", "losses", "protocols"):
        importlib.import_module(f"training.{module}")


def _presets() -> list[Entry]:
    from endorender.dataset import PRESETS

    return [
        (name, f"{len(columns)} variation{'s' if len(columns) > 1 else ''} of every view", [v.name for v in columns])
        for name, columns in PRESETS.items()
    ]


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n")[0]


def _parameters(cls: Any) -> list[str]:
    """`fov = 100.0  full horizontal angle, degrees`."""
    if hasattr(cls, "model_fields"):
        return [
            f"{n}{'' if f.is_required() else ' = ' + _short(f.get_default(call_default_factory=True))}"
            f"  {f.description or ''}".rstrip()
            for n, f in cls.model_fields.items()
        ]
    signature = inspect.signature(cls).parameters.values()
    return [f"{p.name} = {_short(p.default)}" if p.default is not p.empty else p.name for p in signature]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
