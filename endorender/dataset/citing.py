"""Whom to cite for a dataset: the program, the study that it follows, and whoever gave what it was rendered from."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

from endorender.dataset.frame import open_dataset

ALWAYS = ("endorender", "mahmood2018")
SAMPLE = ("armato2015", "clark2013")  # the shipped airway
MAPS = ("hdrihaven",)  # the shipped environments


def entries() -> dict[str, str]:
    """BibTeX by key."""
    text = resources.files("endorender").joinpath("citations.bib").read_text(encoding="utf-8")
    found = re.findall(r"^@\w+\{(\w+),.*?\}\}$", text, re.M | re.S)
    parts = re.findall(r"^@.*?\}\}$", text, re.M | re.S)
    return dict(zip(found, parts))


def cite(dataset: str | Path | None = None) -> list[str]:
    """BibTeX entries of what a dataset owes; None: of the program alone. Raises UserError for what is no dataset."""
    keys: tuple[str, ...] = ALWAYS
    if dataset is not None:
        found = open_dataset(dataset)
        if any(patient.get("source") == "sample" for patient in found.info["configuration"]["ct"]):
            keys += SAMPLE
        if any(_shipped_map(frame.parameters.get("light")) for frame in found.frames):
            keys += MAPS
    known = entries()
    return [known[key] for key in keys]


def _shipped_map(light: Any) -> bool:
    return isinstance(light, dict) and light.get("type") == "envmap" and bool(light.get("map"))
