"""The light that a wet wall mirrors, in_parts from what tissue scatters: two parts that want two filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from endorender.render.images.rendering import radiance
from endorender.render.transport.film import Radiance
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue


def in_parts(scenes: Sequence[Scene], *args: Any, **named: Any) -> list[tuple[Radiance, np.ndarray | None]]:
    """`radiance` of several conditions and, of each, the (H, W, 3) part that never scattered in tissue.

    That part is one more look of the same paths, in which tissue is black; it changes the others by rounding alone.
    None where there is no coat to mirror anything. args, named: those of `radiance`.
    """
    if isinstance(scenes[0].medium, GridMedium) or scenes[0].surface == "volume":
        return [(light, None) for light in radiance(scenes, *args, **named)]
    lit = [scene.to_dict()["lights"] for scene in scenes]
    first = [lit.index(lights) for lights in lit]  # looks under the same light share it
    blackened = sorted(set(first))
    traced = radiance([*scenes, *(_black(scenes[n]) for n in blackened)], *args, **{**named, "judged": len(scenes)})
    return [(light, traced[len(scenes) + blackened.index(n)].mean) for light, n in zip(traced, first)]


def _black(scene: Scene) -> Scene:
    labelled = {label: _unlit(tissue) for label, tissue in scene.label_tissues.items()}
    return scene.with_(tissue=_unlit(scene.tissue), label_tissues=labelled)


def _unlit(tissue: Tissue) -> Tissue:
    """The same tissue with albedo 0 everywhere."""
    none = (0.0, 0.0, 0.0)
    changes = {"albedo": (none,) * len(tissue.albedo), "blood_albedo": none, "vessel_albedo": none}
    return tissue.model_copy(update=changes)
