"""What makes pictures here, told without loading it: this package, and the engine that its kernels run on."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from typing import Any

from endorender import __version__
from endorender.errors import UserError

ENGINES = ("taichi", "quadrants")


def engine_name() -> str:
    """The engine that ENDORENDER_ENGINE asks for. Raises UserError UNKNOWN_NAME."""
    name = os.environ.get("ENDORENDER_ENGINE") or "taichi"
    if name not in ENGINES:
        raise UserError(f"ENDORENDER_ENGINE is one of {', '.join(ENGINES)}, not {name!r}", "UNKNOWN_NAME")
    return name


def absent(name: str) -> UserError:
    """An engine that is not installed."""
    extra = "" if name == "taichi" else f"[{name}]"
    return UserError(f"the engine {name} is not installed: pip install 'endorender{extra}'", "MISSING_EXTRA")


def engine() -> dict[str, str]:
    """Its {name, version}: the same seed gives the same bytes on one engine. Raises UserError UNKNOWN_NAME,
    MISSING_EXTRA."""
    name = engine_name()
    return {"name": name, "version": _version(name)}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise absent(name) from None


def generator() -> dict[str, Any]:
    """`generator` of dataset.json."""
    return {"name": "endorender", "version": __version__, "engine": engine()}
