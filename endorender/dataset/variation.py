"""Conditions under which every view is rendered: draw the parameters, record them, render."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from endorender.dataset.constraints import holds
from endorender.dataset.distributions import Source, drawn, found_in, probes
from endorender.dataset.info import VARIATION
from endorender.errors import UserError, unknown
from endorender.registry import Model, validated

SYNTHETIC = "synthetic"
TRIES = 1000  # draws that constraints may refuse in a row


class Variation(Model):
    """One column of a dataset.

    look: name in `endorender.scene.LOOKS`, or None for the plain synthetic renderer.
    tissue, response, light, mucosa: parameters that replace the look's and the configuration's. In the place of any
    value, at any depth, and of the look, there may be a distribution (`{uniform: [low, high]}`; see
    `endorender.dataset.distributions`), drawn anew for every view. A light or tissue with a `type` of its own starts
    from its defaults.
    constraints: conditions on what was drawn, as `light.intensity < 900`; what breaks one is drawn again.
    """

    name: str = Field(pattern=VARIATION)
    look: str | dict[str, Any] | None = None
    tissue: dict[str, Any] = Field({})
    response: dict[str, Any] = Field({})
    light: dict[str, Any] = Field({})
    mucosa: dict[str, Any] = Field({})
    constraints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _seen(self) -> Variation:
        if self.tissue and self.look is None:
            raise ValueError("a tissue is seen under a look only: give look too, the plain picture has no tissue")
        return self

    @field_validator("tissue")
    @classmethod
    def _self_contained(cls, tissue: dict[str, Any]) -> dict[str, Any]:
        """What names a file in full: a dataset keeps what the file holds, never its path."""
        if "file" in tissue:
            from endorender.scene.tissue import tissues

            return tissues.dump(tissues.build(tissue))
        if "phase" not in tissue or any(True for _ in found_in(tissue["phase"])):
            return tissue
        from endorender.scene.phase import phase_functions

        return {**tissue, "phase": phase_functions.dump(phase_functions.build(tissue["phase"]))}

    @field_validator("light")
    @classmethod
    def _pathless(cls, light: dict[str, Any]) -> dict[str, Any]:
        """A light's file by its content: a dataset never holds a path."""
        if "file" not in light:
            return light
        from endorender.scene.maps import remember

        return {**light, "file": remember(light["file"])}


PLAIN = Variation(name=SYNTHETIC)
FOUR = tuple(Variation(name=look, look=look) for look in ("yellow_tan", "pale_pink", "dark_red", "deep_red"))

# Ranges are our choice. Clinical: scopes of one kind in other hands and bowels; colour comes from blood, oxygen, bile,
# scattering lies about the mean of soft tissues (ORGANS in `endorender.scene.physical`), and mucus is smooth and levels
# what is small. Randomized: wider than life, so that what a network will see lies inside.
CLINICAL = Variation(
    name="clinical",
    look="mucosa_physical",
    tissue={
        "organ": "own",
        "scattering": {"truncated": [1.9, 0.3, 1.6, 2.6]},
        "power": {"uniform": [0.9, 1.4]},
        "blood": {"loguniform": [0.008, 0.032]},
        "saturation": {"uniform": [0.5, 0.9]},
        "bile": {"loguniform": [3e-7, 8e-6]},
        "roughness": {"truncated": [0.04, 0.012, 0.025, 0.1]},
        "specular": {"uniform": [0.6, 1.0]},
    },
    light={"mu": {"sobol": [0.0, 2.8]}},
    response={
        "target": {"truncated": [172, 20, 120, 210]},
        "contrast": {"sobol": [1.1, 2.0]},
        "hue": {"uniform": [0.1, 0.4]},
        "white_balance": [{"normal": [1.0, 0.03]}, 1.0, {"normal": [1.0, 0.03]}],
        "full_well": {"loguniform": [2500, 20000]},
        "read_noise": {"uniform": [2, 12]},
        "white": {"uniform": [0.7, 1.0]},
        "vignette": {"uniform": [0.0, 0.35]},
        "focus": {"loguniform": [8, 25]},
        "aperture": {"uniform": [0.0, 0.2]},
        "chroma_noise": {"uniform": [0.0, 3.0]},
        "jpeg_quality": {"choice": [None, 95, 85, 75, 65]},
    },
    mucosa={
        "redness": {"uniform": [0.1, 0.4]},
        "mottling": {"uniform": [0.15, 0.45]},
        "vessel_strength": {"uniform": [0.5, 0.9]},
        "film": {"truncated": [0.06, 0.02, 0.02, 0.12]},
        "film_scale": {"uniform": [5, 9]},
        "levelling": 2.5,
    },
)
# What is about the middle of it, the same for every view; whites a little cooler. Our choice, by eye.
TYPICAL = Variation(
    name="typical",
    look="mucosa_physical",
    tissue={"organ": "own", "scattering": 1.9, "power": 1.15, "blood": 0.016, "saturation": 0.7, "bile": 1.5e-6,
            "roughness": 0.04, "specular": 0.8},
    response={"target": 150, "contrast": 1.6, "hue": 0.1, "white_balance": [0.9, 1.0, 1.08]},
    mucosa={"redness": 0.25, "mottling": 0.3, "vessel_strength": 0.7, "film": 0.06, "film_scale": 7.0,
            "levelling": 2.5},
)  # fmt: skip
RANDOMIZED = Variation(
    name="randomized",
    look={"choice": ["yellow_tan", "pale_pink", "dark_red", "deep_red"]},
    tissue={
        "roughness": {"loguniform": [0.02, 0.6]},
        "specular": {"sobol": [0.0, 1.0]},
        "ior": {"uniform": [1.2, 1.6]},
    },
    light={
        "mu": {"sobol": [0.0, 6.0]},
        "guides": [
            [{"uniform": [-6, 0]}, {"uniform": [-4, 4]}, 0.0],
            [{"uniform": [0, 6]}, {"uniform": [-4, 4]}, 0.0],
        ],
    },
    response={
        "target": {"sobol": [40, 210]},
        "contrast": {"sobol": [0.7, 2.8]},
        "white_balance": [{"loguniform": [0.6, 1.6]}, 1.0, {"loguniform": [0.6, 1.6]}],
        "full_well": {"loguniform": [500, 50000]},
        "read_noise": {"loguniform": [0.5, 40]},
        "jpeg_quality": {"choice": [None, 95, 80, 60, 40]},
    },
    mucosa={
        "redness": {"uniform": [0, 0.9]},
        "mottling": {"uniform": [0, 1]},
        "vessel_strength": {"uniform": [0, 1]},
        "film": {"uniform": [0, 0.25]},
        "film_scale": {"loguniform": [1, 10]},
        "levelling": {"choice": [0.0, 0.0, 1.0, 2.0]},
    },
    constraints=("response.read_noise < 0.05 * response.full_well",),
)

# The paper's second step renders every view under four conditions; its first step made the synthetic image.
PRESETS: dict[str, tuple[Variation, ...]] = {
    "typical": (TYPICAL,),
    "paper4": (PLAIN, *FOUR),
    "synthetic": (PLAIN,),
    "clinical": (CLINICAL,),
    "randomized": (RANDOMIZED,),
    "training": (PLAIN, RANDOMIZED),
}
DESCRIPTIONS = {
    "typical": "one picture as a scope's video shows wet mucosa, by a lens of 140 degrees, denoised (our choice)",
    "paper4": "the plain picture and the four looks of Mahmood et al. 2018, the same conditions for every view",
    "synthetic": "the plain grey picture alone",
    "clinical": "wet mucosa by its blood, light, mask, lens, response and video drawn as a clinic's vary (our choice)",
    "randomized": "domain randomisation: looks, light, response and lens drawn far beyond what a clinic shows",
    "training": "to train on: 120 phantoms, each view plain and under one randomized condition, lenses of many scopes",
}
# Off the axis, tilted, up to walls and folds, and far down the lumen. docs/anatomy.md has the depths that result.
WANDERING = {
    "min_clearance_mm": {"loguniform": [1.0, 4.0]},
    "jitter": {"sobol": [0.0, 1.0]},
    "look_aside": {"uniform": [0, 35]},
    "ahead": {"loguniform": [0.7, 5.0]},
    "approach": {"sobol": [0.0, 1.0]},
}
# Lenses of endoscopes see 70 to 170 degrees; the wider ones through a round window.
SCOPES = [
    {"type": "pinhole", "fov": {"uniform": [70, 110]}},
    {"type": "pinhole", "fov": {"uniform": [90, 140]}, "vignetting": {"uniform": [0, 2]}},
    {"type": "scaramuzza", "mask": "corners", "vignetting": {"uniform": [0, 2]}},
    {"type": "fisheye", "fov": {"uniform": [110, 170]}, "k1": {"uniform": [-0.03, 0.03]}, "mask": "circle",
     "mask_of": "width"},
]  # fmt: skip
TRAINING_SPLITS = {"train": range(1, 101), "val": range(101, 111), "test": range(111, 121)}
FIRST = "typical"  # the preset where none is named
# What a preset says where the configuration says nothing.
SETTINGS: dict[str, dict[str, Any]] = {
    "typical": {
        "denoise": True,
        "camera": {"type": "fisheye", "fov": 140.0, "mask": "corners", "vignetting": 2.0},
        "trajectory": {"look_aside": 10.0},
    },
    "clinical": {
        # Scopes' masks: corners cut, an octagon or a circle that reaches beyond the picture above and below, or none.
        "camera": {
            "type": "pinhole",
            "mask": {"choice": ["none", "corners", "octagon", "circle"]},
            "mask_diameter": {"uniform": [1.0, 1.25]},
            "mask_corner": {"uniform": [0.1, 0.3]},
        },
        "trajectory": {"jitter": {"sobol": [0.1, 0.8]}, "look_aside": {"uniform": [4, 20]}},
    },
    "randomized": {
        "camera": {"type": "pinhole", "fov": {"sobol": [70, 140]}, "vignetting": {"uniform": [0, 3]}},
        "trajectory": WANDERING,
    },
    "training": {
        # From 1001 on: not the phantoms that the experiments judge on.
        "ct": ["phantom:1001..1120"],
        "splits": {name: [f"p{n:03d}" for n in which] for name, which in TRAINING_SPLITS.items()},
        "views": 60,
        "size": "120x96",
        "spp": 12,
        "denoise": True,
        "camera": {"choice": SCOPES},
        "trajectory": WANDERING,
    },
}


def draw(
    variation: Variation,
    light: Mapping[str, Any],
    rng: np.random.Generator,
    response: Mapping[str, Any] | None = None,
    mucosa: Mapping[str, Any] | None = None,
    view: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Parameters of one frame: {tissue, response, light} as registries build them, everything drawn.

    light: the configuration's light, as a mapping with `type`. response: the configuration's, which replaces parameters
    of the look's and is replaced by the variation's. mucosa: the patient's layer, or None. view, seed: see Source.
    A synthetic frame has no tissue; `mucosa` and `look` are there where the variation has its own and draws one.
    Pure: depends on the arguments alone.
    """
    for attempt in range(TRIES):
        found = drawn_by(variation, light, Source(rng, view, seed, attempt), response, mucosa)
        if all(holds(text, found) for text in variation.constraints):
            return found
    raise UserError(
        f"{variation.name}: its constraints refused {TRIES} draws in a row: widen them or the ranges", "CONSTRAINTS"
    )


def refuse_impossible(
    variation: Variation,
    light: Mapping[str, Any],
    response: Mapping[str, Any] | None = None,
    mucosa: Mapping[str, Any] | None = None,
) -> None:
    """Raise UserError where an end of a range, or a choice, is nothing that the models take."""
    for source in probes([variation.look, variation.light, variation.tissue, response or {}, variation.response,
                          variation.mucosa]):  # fmt: skip
        found = drawn_by(variation, light, source, response, mucosa)
        for text in variation.constraints:
            holds(text, found)


def drawn_by(
    variation: Variation,
    light: Mapping[str, Any],
    source: Source,
    response: Mapping[str, Any] | None = None,
    mucosa: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One draw, whatever constraints say of it; see `draw`."""
    from endorender.scene.light import lights
    from endorender.scene.looks import LOOKS
    from endorender.scene.mucosa import mucosas
    from endorender.scene.response import Response
    from endorender.scene.tissue import tissues

    own = {**(response or {}), **variation.response}
    # In this order they take their random numbers; every dataset's bytes depend on it.
    parts = [variation.look, variation.light, variation.tissue, own, variation.mucosa]
    source.prepare(parts)
    name, lit, optics, developed, coat = (drawn(part, source) for part in parts)
    for what, part in (("light", lit), ("tissue", optics), ("response", developed), ("mucosa", coat)):
        if not isinstance(part, Mapping):
            raise UserError(f"{what} must be a mapping of its parameters, got {part!r}", "INVALID_VALUE")
    base = {**({} if "type" in variation.light else light), **lit}
    found: dict[str, Any] = {}
    if name is not None:
        if not isinstance(name, str) or name not in LOOKS:
            raise UserError(unknown("look", name, LOOKS), "UNKNOWN_NAME")
        look = LOOKS[name]
        found["tissue"] = tissues.dump(
            tissues.build({**({} if "type" in variation.tissue else tissues.dump(look.tissue)), **optics})
        )
        developed = {**look.response.model_dump(mode="json"), **developed}
    found["light"] = lights.dump(lights.build(base))
    found["response"] = validated(Response, developed, variation.name).model_dump(mode="json")
    if coat and mucosa is not None:
        found["mucosa"] = mucosas.dump(mucosas.build({**mucosa, **coat}))
    if isinstance(variation.look, Mapping):
        found["look"] = name
    return found


def seed_of(*names: Any) -> int:
    """A seed in [0, 2^31) that depends on the names alone: the same on every machine, in any order of work."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
