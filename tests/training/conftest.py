"""A dataset without a renderer: analytic tunnels with exact depth, in two looks, for patients of any number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

LOOKS = {"synthetic": (1.0, 1.0, 1.0), "pale_pink": (0.95, 0.62, 0.55), "deep_red": (0.55, 0.2, 0.15)}
# What the experiments ask for besides.
MORE = {"randomized": (0.9, 0.5, 0.6), "yellow_tan": (0.9, 0.75, 0.5), "dark_red": (0.7, 0.35, 0.25)}
MORE |= {f"c{n}": (0.9, 0.9 - 0.15 * n, 0.8 - 0.1 * n) for n in range(1, 5)}
MORE["partner"] = (0.8, 0.8, 0.5)


@dataclass
class TubeFrame:
    """A view down a tunnel of three-lobed section, as endorender.dataset.Frame presents it."""

    patient: str
    view: int
    variation: str
    size: tuple[int, int] = (24, 32)
    volume: dict[str, Any] = field(default_factory=dict)
    empty: bool = False

    @property
    def id(self) -> str:
        return f"{self.patient}/{self.view:04d}/{self.variation}"

    @property
    def files(self) -> dict[str, Any]:
        text = f"{self.id} {self.size}".encode()
        return {kind: SimpleNamespace(sha256=hashlib.sha256(text).hexdigest()) for kind in ("geometry", "image")}

    @property
    def K(self) -> tuple[tuple[float, ...], ...]:
        h, w = self.size
        return (w / 2, 0.0, w / 2 - 0.5), (0.0, w / 2, h / 2 - 0.5), (0.0, 0.0, 1.0)

    def geometry(self) -> dict[str, np.ndarray]:
        h, w = self.size
        rng = np.random.default_rng([int(self.patient[1:]), self.view])
        y, x = np.mgrid[:h, :w]
        x, y = (x - w / 2 + 0.5) / w * 2, (y - h / 2 + 0.5) / w * 2
        tilt = rng.uniform(-0.4, 0.4, 2)
        rho, theta = np.hypot(x - tilt[0], y - tilt[1]), np.arctan2(y - tilt[1], x - tilt[0])
        radius = rng.uniform(12, 25) * (1 + 0.25 * np.cos(3 * theta + rng.uniform(0, 6)))
        z = (radius / np.maximum(rho, 1e-6)).astype(np.float32)
        mask = (z < 90) & (not self.empty)
        z = np.where(mask, z, np.nan).astype(np.float32)
        ray = np.stack(
            [(np.mgrid[:h, :w][1] - w / 2 + 0.5) / w * 2, (np.mgrid[:h, :w][0] - h / 2 + 0.5) / w * 2, 0 * z + 1], -1
        )
        length = np.linalg.norm(ray, axis=-1)
        normal = np.where(mask[..., None], -ray / length[..., None], np.nan)  # a wall that always faces the camera
        return {"z_depth": z, "distance": (z * length).astype(np.float32), "normal": normal, "mask": mask}

    def image(self) -> np.ndarray:
        z = np.nan_to_num(self.geometry()["z_depth"], nan=1e3)[..., None]
        light = (12 / z) ** 2 * np.array((LOOKS | MORE)[self.variation])
        if self.variation != "synthetic":  # another response, and texture: the domain gap of the tests
            rng = np.random.default_rng([self.view, 7])
            light = light**1.5 * rng.uniform(0.6, 1.4, (*z.shape[:2], 1))
        return (255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


@dataclass
class TubeDataset:
    """As endorender.dataset.Dataset presents it."""

    frames: list[TubeFrame]
    splits: dict[str, list[str]]
    info: dict[str, Any] = field(default_factory=lambda: {"fingerprint": "f" * 16, "views": 1})

    def split(self, name: str) -> list[str]:
        return list(self.splits.get(name, []))

    def select(self, split=None, patients=None, variations=None) -> list[TubeFrame]:
        return [
            f
            for f in self.frames
            if (split is None or f.patient in self.split(split))
            and (patients is None or f.patient in patients)
            and (variations is None or f.variation in variations)
        ]


def tubes(patients: int = 4, views: int = 4, variations: tuple[str, ...] = tuple(LOOKS), **kwargs: Any) -> TubeDataset:
    """Patients p1, p2 … of which the last is "test", the one before it "val", the others "train"."""
    names = [f"p{k + 1}" for k in range(patients)]
    frames = [
        TubeFrame(p, v, look, volume={"ct_sha256": f"ct of {p}"}, **kwargs)
        for p in names
        for v in range(views)
        for look in variations
    ]
    return TubeDataset(frames, {"train": names[:-2], "val": [names[-2]], "test": [names[-1]]})


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_tubes():
    return tubes


@pytest.fixture(scope="session")
def glimpsed(tmp_path_factory):
    """A run of five steps at 64 x 48, only to be read."""
    from training.trainer import train

    config = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 5, "batch": 2, "validate_every": 0}
    return train(config, tmp_path_factory.mktemp("runs") / "run", tubes(size=(48, 64)), say=lambda _: None)
