"""Optics along HU, packed for kernels: a block of rows for each tissue of a scene."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from endorender.render.medium.traits import Traits
from endorender.scene.halfspace import reflectance
from endorender.scene.scene import Scene
from endorender.scene.tissue import TABLE_HU, Tissue

# Rows of the packed table behind those of HU: colours of the mucosa layer, and what a tissue has once (`Own`).
BLOOD, VESSEL, OWN, ROWS = range(len(TABLE_HU), len(TABLE_HU) + 4)


class Own(IntEnum):
    """Columns of row OWN. Without labels kernels take all but the last from the view."""

    WALL_HU = 0
    HYBRID = 1
    SIGMA_TOP = 2
    PER_SLOPE = 3  # rows of the column of opacities to a HU/mm


def own(tissue: Tissue) -> np.ndarray:
    """What a tissue has once, as `Own` says; float32."""
    hybrid, top = 25 * tissue.surface_weight**3 / tissue.gradient_scale, max(*tissue.sigma_t, 1e-9)
    return np.array([tissue.wall_hu, hybrid, top, (len(TABLE_HU) - 1) / tissue.steepest()], np.float32)


def pack_table(scenes: list[Scene]) -> np.ndarray:
    """(B ROWS, 1 + P + 3 K + ...): a block of rows for the scenes' tissue, then one for each label's.

    Columns: sigma_t and the P floats of the phase, each scene's albedo, then what `Traits` ask for: the mean cosine and
    the least albedo of all channels; roughness, specular weight and IOR of the coat; the factor on sigma_t along the
    gradient, whose rows run from 0 to the tissue's steepest; each channel's share of sigma_t. Below the rows along HU
    those of BLOOD, VESSEL and OWN. Where the wall is a cover, through which no light comes, reflectances stand in the
    place of albedos.
    """
    traits = Traits.of(scenes[0])
    every = zip(*(s.tissues for s in scenes))
    return np.concatenate([_block(list(tissues), traits, scenes[0].surface) for tissues in every])


def _block(tissues: list[Tissue], traits: Traits, surface: str) -> np.ndarray:
    """Rows of one tissue, which the looks have in different colours."""
    tables, first = [t.table() for t in tissues], tissues[0]
    parts = [tables[0][:, :-3], *(t[:, -3:] for t in tables)]
    parts += [first.forward()[:, None], _least_albedo(tissues, traits, surface)[:, None]] if traits.similar else []
    parts += [first.coats()] if traits.coated else []
    parts += [first.opacities(np.linspace(0, first.steepest(), len(TABLE_HU)))[:, None]] if traits.graded else []
    parts += [first.tints()] if traits.chromatic else []
    rows = np.zeros((ROWS, sum(p.shape[1] for p in parts)), np.float32)
    rows[:BLOOD] = np.concatenate(parts, 1)
    colours = slice(tables[0].shape[1] - 3, tables[0].shape[1] - 3 + 3 * len(tissues))
    rows[BLOOD, colours] = np.concatenate([t.blood_albedo for t in tissues])
    rows[VESSEL, colours] = np.concatenate([t.vessel_albedo for t in tissues])
    if traits.coat.role == "cover":
        cosine = np.append(first.forward(), np.repeat(first.forward(np.array([first.wall_hu])), 2))[:, None]
        rows[:OWN, colours] = matte(rows[:OWN, colours], cosine)
    rows[OWN, : len(Own)] = own(first)
    return rows


def matte(albedo: np.ndarray, cosine: np.ndarray | float = 0.0) -> np.ndarray:
    """Diffuse reflectance of a deep layer without a wall, by the similarity relation. cosine: the mean one."""
    return reflectance(albedo * (1 - cosine) / (1 - albedo * cosine))


def _least_albedo(tissues: list[Tissue], traits: Traits, surface: str) -> np.ndarray:
    """(1025,) least albedo of all channels and looks, below 1; 0 where a collision may be with a surface (hybrid)."""
    if surface == "hybrid":
        return np.zeros(len(TABLE_HU), np.float32)
    darkest = np.min([t.table()[:, -3:].min(1) for t in tissues], 0)
    if traits.layered:
        darkest = np.minimum(darkest, min(min(*t.blood_albedo, *t.vessel_albedo) for t in tissues))
    return np.asarray(np.minimum(darkest, 0.999), np.float32)
