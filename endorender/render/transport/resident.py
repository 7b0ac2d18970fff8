"""What a scene is on the device: all that a tracer's kernel is given, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from endorender.render.device import backend
from endorender.render.medium import mucosa
from endorender.render.medium.labels import held_blocks
from endorender.render.medium.majorants import cells
from endorender.render.medium.prepared import Prepared, coat_field
from endorender.render.medium.table import pack_table
from endorender.render.transport import shading
from endorender.render.transport.emitters import E, pack_emitters
from endorender.render.transport.environment import pack_environment
from endorender.render.transport.view import pack_view
from endorender.scene.light import Kind
from endorender.scene.scene import Scene


def packed(
    scenes: Sequence[Scene], prepared: Prepared, roulette: float | None = None
) -> tuple[tuple[str, ...], list[Any]]:
    """Groups of light, see `volpath.tracer`, and what a tracer's kernel takes first, up to the alias table.

    scenes: conditions of one view that share their paths.
    """

    first, channels = scenes[0], 3 * len(scenes)
    emitters, environment = pack_emitters(list(scenes), prepared), pack_environment(list(scenes))
    groups: tuple[str, ...] = ()
    if any(hasattr(light, "emitters") for light in first.lights):
        groups += ("emitters",)
        if (emitters[:, E.KIND] >= Kind.ROUND).any():
            groups += ("areas",)
    if environment:
        light = environment[0][..., :channels]
        # Where all directions are alike a path finds the light by leaving; a shadow ray would only add noise.
        groups += ("even sky",) if (light == light[0, 0]).all() else ("environment",)
    env, alias = environment or (np.zeros((2, 2, channels + 2), np.float32), np.zeros((1, 2), np.float32))
    return groups, [
        prepared.field,
        coat_field(first).values,
        cells(first.medium, first.tissue, first.surface, first.threshold, first.labelling),
        backend.resident(pack_table(list(scenes))),
        held_blocks(first),
        prepared.albedo,
        backend.resident(first.phase.data()),
        shading.coat_albedos(first.surface),
        *mucosa.layer(first),
        *map(backend.resident, (pack_view(first, prepared, roulette), emitters, env, alias)),
    ]
