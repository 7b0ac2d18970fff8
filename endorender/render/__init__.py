"""Light transport. Taichi loads with the first name taken from here.

Six rooms, each of which imports only from those named before it: `device` (the engine), `medium` (tissue), `transport`
(how light travels), `gradients` (what derivatives ask of it), `integrators` and `depth`, `images` (what callers ask
for).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endorender.render.depth.exact import Geometry, geometry, recoloured
    from endorender.render.depth.optical import Depth, depth_gaps, optical_depths
    from endorender.render.device.backend import init
    from endorender.render.images.components import in_parts
    from endorender.render.images.guides import guides
    from endorender.render.images.oidn import Guides, denoise
    from endorender.render.images.plain import synthetic
    from endorender.render.images.rendering import radiance, shareable
    from endorender.render.transport.film import Radiance

_HOME = {
    "init": "device.backend",
    "Depth": "depth.optical",
    "depth_gaps": "depth.optical",
    "optical_depths": "depth.optical",
    "denoise": "images.oidn",
    "Geometry": "depth.exact",
    "geometry": "depth.exact",
    "recoloured": "depth.exact",
    "in_parts": "images.components",
    "Guides": "images.oidn",
    "guides": "images.guides",
    "Radiance": "transport.film",
    "radiance": "images.rendering",
    "shareable": "images.rendering",
    "synthetic": "images.plain",
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
