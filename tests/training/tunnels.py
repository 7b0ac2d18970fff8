"""Experiments on tunnels instead of renders, as small as they get."""

import csv
from typing import ClassVar

import numpy as np
import pytest

from tests.training.conftest import TubeFrame
from training.presets import KNOWN_LOOKS, NEW_LOOK, PRESETS
from training.study import Study

LOOKS = ("synthetic", *KNOWN_LOOKS, NEW_LOOK)


class Lit(TubeFrame):
    """A tunnel that keeps its radiance."""

    camera: ClassVar = {"type": "pinhole", "fov": 90.0}

    @property
    def files(self):
        return super().files | {"radiance": super().files["image"]}

    def radiance(self):
        return (900 * (self.image() / 255.0) ** 2.2).astype(np.float32)


def frames(self, dataset):
    """Tunnels of the patients' numbers, in the variations that were asked for."""
    looks = [v["name"] for v in dataset.values["variations"]] if "variations" in dataset.values else LOOKS
    if dataset.values.get("preset") == "training":
        looks = ["synthetic", "randomized"]
    aliases = [p["alias"] if p["alias"] != "airway" else "p99" for p in dataset.patients]
    return [
        Lit(a, v, look, volume={"ct_sha256": f"ct of {a}"})
        for a in aliases
        for v in range(dataset.views)
        for look in looks
    ]


def table(folder, name):
    with open(folder / f"tables/{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def shortened(monkeypatch, **values):
    """The preset tiny with the network of today alone, and less of everything: what the default suite has time for."""
    tiny = PRESETS["tiny"]
    today = tiny.settings["today"].model_copy(update={"steps": 2, "further_steps": 1, "variety_steps": 2})
    small = {"settings": {"today": today}, "test_views": 1, "airway_views": 1, "counts": (2, 4), "conditions": (1, 2)}
    monkeypatch.setitem(PRESETS, "tiny", tiny.model_copy(update=small | values))
    monkeypatch.setattr(type(tiny), "settings_of", lambda self, name: self.settings)


@pytest.fixture
def tubes(monkeypatch):
    monkeypatch.setattr(Study, "frames", frames)
