"""Polyps on the wall of a phantom colon: domes, flat ones, and heads on a stalk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.phantoms.people import Polyp
from endorender.ct.phantoms.walls import ANGLES, Frame

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

BLEND = 1.5  # mm over which a foot goes over into the wall
TALLEST = 0.55  # of what is free before the wall: what grows on a fold is smaller, so that a scope gets past it


def add(
    polyp: Polyp,
    distance: Float[np.ndarray, "I J K"],
    flesh: Bool[np.ndarray, "I J K"],
    low: Float[np.ndarray, " 3"],
    pitch: float,
    frame: Frame,
    wall: Float[np.ndarray, "N angles"],
    rng: np.random.Generator,
) -> None:
    """Merge a polyp smoothly into the wall, in place.

    distance: (I, J, K) mm, negative in the lumen. flesh: (I, J, K) bool, voxels that are polyp and so never fat.
    low: (3,) mm of the first voxel. wall: (N, ANGLES) mm from the centreline. rng: of the lumps.
    """
    k = int(polyp.place * (len(wall) - 1))
    inward = -(frame.u[k] * np.cos(polyp.angle) + frame.v[k] * np.sin(polyp.angle))
    free = wall[k, int(polyp.angle / (2 * np.pi) * ANGLES) % ANGLES]
    foot = frame.points[k] - free * inward
    share = min(1.0, TALLEST * free / (polyp.stalk + polyp.height))
    width, height, stalk = share * polyp.width, share * polyp.height, share * polyp.stalk
    # Half-axes: what sits on the wall shows one half of an ellipsoid, a head all of it.
    tall, wide = (height / 2 if stalk else height), width / 2
    head = foot + inward * (stalk + 0.6 * tall if stalk else 0.0)
    reach = width + stalk + 6
    lo = np.maximum(np.floor((foot - reach - low) / pitch).astype(int), 0)
    hi = np.minimum(np.ceil((foot + reach - low) / pitch).astype(int) + 1, distance.shape)
    box = tuple(slice(a, b) for a, b in zip(lo, hi))
    p = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(lo, hi)], indexing="ij"), axis=-1) * pitch + low
    along = (p - head) @ inward
    across = np.linalg.norm((p - head) - along[..., None] * inward, axis=-1)
    # Lumps of a few millimetres: no polyp is a ball.
    waves = rng.normal(size=(4, 3)) * 2 * np.pi / width
    lumps = np.sin((p - head) @ waves.T + rng.uniform(0, 2 * np.pi, 4)).sum(axis=-1)
    ratio = np.sqrt((along / tall) ** 2 + (across / wide) ** 2) * (1 + 0.05 * lumps)
    solid = (ratio - 1) * min(tall, wide)
    if stalk:
        t = np.clip((p - foot) @ inward / stalk, -0.3, 1)
        neck = np.linalg.norm(p - foot - t[..., None] * stalk * inward, axis=-1) - 0.24 * width
        solid = np.minimum(solid, neck)
    # Smooth maximum (Quilez) of lumen and not-polyp.
    lumen, outside = distance[box], -solid
    blend = np.clip(0.5 + 0.5 * (outside - lumen) / BLEND, 0, 1)
    distance[box] = lumen + (outside - lumen) * blend + BLEND * blend * (1 - blend)
    flesh[box] |= solid < 0
