"""Light transport. Taichi loads with the first name taken from here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endorender.render.backend import init
    from endorender.render.depths import Depth, depth_gaps, optical_depths
    from endorender.render.exact import Geometry, geometry, recoloured
    from endorender.render.film import Radiance, radiance, shareable
    from endorender.render.glints import in_parts
    from endorender.render.guide import Guides, guides
    from endorender.render.oidn import denoise
    from endorender.render.plain import synthetic

_HOME = {
    "init": "backend",
    "Depth": "depths",
    "depth_gaps": "depths",
    "optical_depths": "depths",
    "denoise": "oidn",
    "Geometry": "exact",
    "geometry": "exact",
    "recoloured": "exact",
    "in_parts": "glints",
    "Guides": "guide",
    "guides": "guide",
    "Radiance": "film",
    "radiance": "film",
    "shareable": "film",
    "synthetic": "plain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'endorender.render' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"endorender.render.{_HOME[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "Depth",
    "Geometry",
    "Guides",
    "Radiance",
    "denoise",
    "depth_gaps",
    "geometry",
    "guides",
    "in_parts",
    "init",
    "optical_depths",
    "radiance",
    "recoloured",
    "shareable",
    "synthetic",
]
