"""Conditions under which every view is rendered: draw the parameters, record them, render."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from endorender.errors import UserError
from endorender.registry import Model, validated

SYNTHETIC = "synthetic"


class Variation(Model):
    """One column of a dataset.

    look: name in `endorender.scene.LOOKS`, or None for the plain synthetic renderer.
    tissue, response, light: parameters that replace the look's and the configuration's. A value written
    `{uniform: [low, high]}` is drawn anew for every view. A light or tissue with a `type` of its own starts from its
    defaults.
    """

    name: str = Field(pattern="^[a-z0-9][a-z0-9_]{0,40}$")
    look: str | None = None
    tissue: dict[str, Any] = Field({})
    response: dict[str, Any] = Field({})
    light: dict[str, Any] = Field({})

    @field_validator("tissue")
    @classmethod
    def _self_contained(cls, tissue: dict[str, Any]) -> dict[str, Any]:
        """What names a file in full: a dataset keeps what the file holds, never its path."""
        if "file" in tissue:
            from endorender.scene.tissue import tissues

            return tissues.dump(tissues.build(tissue))
        if "phase" not in tissue:
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

# The paper's second step renders every view under four conditions; its first step made the synthetic image.
PRESETS: dict[str, tuple[Variation, ...]] = {
    "paper4": (PLAIN, *FOUR),
    "synthetic": (PLAIN,),
}


def draw(
    variation: Variation, light: Mapping[str, Any], rng: np.random.Generator, response: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Parameters of one frame: {tissue, response, light} as registries build them, every range drawn.

    light: the configuration's light, as a mapping with `type`. response: the configuration's, which replaces parameters
    of the look's and is replaced by the variation's. A synthetic frame has no tissue.
    Pure: depends on the arguments alone.
    """
    from endorender.scene.light import lights
    from endorender.scene.looks import LOOKS
    from endorender.scene.response import Response
    from endorender.scene.tissue import tissues

    base = {**({} if "type" in variation.light else light), **_drawn(variation.light, rng)}
    own = {**(response or {}), **variation.response}
    if variation.look is None:
        plain = validated(Response, _drawn(own, rng), variation.name)
        return {"light": lights.dump(lights.build(base)), "response": plain.model_dump(mode="json")}
    if variation.look not in LOOKS:
        raise UserError(f"no look is called {variation.look!r}; there are: {', '.join(LOOKS)}", "UNKNOWN_NAME")
    look = LOOKS[variation.look]
    tissue = {**({} if "type" in variation.tissue else tissues.dump(look.tissue)), **_drawn(variation.tissue, rng)}
    developed = {**look.response.model_dump(mode="json"), **_drawn(own, rng)}
    return {
        "tissue": tissues.dump(tissues.build(tissue)),
        "light": lights.dump(lights.build(base)),
        "response": validated(Response, developed, variation.name).model_dump(mode="json"),
    }


def _drawn(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {k: _draw(v, rng) for k, v in values.items()}


def _draw(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, Mapping) and set(value) == {"uniform"}:
        low, high = value["uniform"]
        return float(rng.uniform(low, high))
    return value


def seed_of(*names: Any) -> int:
    """A seed in [0, 2^31) that depends on the names alone: the same on every machine, in any order of work."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
