"""What a scene is on the device, and how functions of a kernel are given it: as one thing with names.

A kernel's own arrays stay a flat list: neither arrays in a bundle (docs/performance.md) nor closures over resident
arrays work on both engines, or without compiling anew. `packed` is that list, `World.of` names it again within the
kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend
from endorender.render.medium import mucosa
from endorender.render.medium.field import Medium
from endorender.render.medium.labels import held_blocks
from endorender.render.medium.majorants import cells
from endorender.render.medium.prepared import Prepared, coat_field
from endorender.render.medium.table import pack_table
from endorender.render.transport import coating
from endorender.render.transport.emitters import outlines, pack_emitters, profiles
from endorender.render.transport.environment import pack_environment
from endorender.render.transport.view import pack_view
from endorender.scene.scene import Scene

Array = ti.types.ndarray()  # of a kernel's parameter


class World(NamedTuple):
    """All that a path can meet. Names for what a kernel has: see `medium.field.Medium`, which is made likewise."""

    medium: Medium
    view: Any  # `view.View`
    albedo: Any = None  # of a GridMedium: (I, J, K, C)
    phase: Any = None  # table of the phase function, if it is one
    coats: Any = None  # table of the coat, see `scene.surface`
    capsules: Any = None  # the mucosa layer, see `medium.mucosa`
    buckets: Any = None
    emitters: Any = None
    env: Any = None
    alias: Any = None

    @classmethod
    def of(
        cls, q: Any, field: Any, smooth: Any, cells: Any, table: Any, labels: Any, albedo: Any, phase: Any, coats: Any,
        capsules: Any, buckets: Any, emitters: Any, env: Any, alias: Any,
    ) -> World:  # fmt: skip
        """From a kernel's parameters, in the order of `packed` but for the view, of which q is the unpacked one."""
        medium = Medium(field, smooth, cells, table, labels, q.inv, q.threshold, q.wall_hu)
        return cls(medium, q, albedo, phase, coats, capsules, buckets, emitters, env, alias)


class Lit(NamedTuple):
    """Which lights a scene has; what it has not costs nothing.

    outlines: of emitters that a path can meet, profiles: of those that bring one, see `emitters`. even: an environment
    that is not sampled, since paths meet the same light wherever they leave: a shadow ray would only add noise.
    """

    emitters: bool
    outlines: tuple[tuple[int, Any], ...]
    environment: bool
    even: bool
    profiles: tuple[Any, ...] = ()


def packed(scenes: Sequence[Scene], prepared: Prepared, roulette: float | None = None) -> tuple[Lit, list[Any]]:
    """The lights there are, and what a tracer's kernel takes first, up to the alias table.

    scenes: conditions of one view that share their paths.
    """
    first, channels = scenes[0], 3 * len(scenes)
    emitters, environment = pack_emitters(list(scenes), prepared), pack_environment(list(scenes))
    even = environment is not None and bool((environment[0][..., :channels] == environment[0][0, 0, :channels]).all())
    lit = Lit(
        emitters=any(hasattr(light, "emitters") for light in first.lights),
        outlines=outlines(first),
        environment=environment is not None and not even,
        even=even,
        profiles=profiles(first),
    )
    env, alias = environment or (np.zeros((2, 2, channels + 2), np.float32), np.zeros((1, 2), np.float32))
    return lit, [
        prepared.field,
        coat_field(first).values,
        cells(first.medium, first.tissue, first.surface, first.threshold, first.labelling),
        backend.resident(pack_table(list(scenes))),
        held_blocks(first),
        prepared.albedo,
        backend.resident(first.phase.data()),
        coating.coat_data(first.surface, first.coat),
        *mucosa.layer(first),
        *map(backend.resident, (pack_view(first, prepared, roulette), emitters, env, alias)),
    ]
