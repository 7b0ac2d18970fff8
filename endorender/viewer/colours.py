"""Colours of a frame's points, each with a scale that says what they mean."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from endorender.dataset.arrays import opened
from endorender.errors import UserError

if TYPE_CHECKING:
    from endorender.dataset import Frame

ERROR_MM = 5.0  # ends of the scale of predictions
RESIDUAL_MM = 0.5  # likewise of the agreement of neighbouring views: twice what `check-geometry` lets pass


class Scale(NamedTuple):
    """A named matplotlib colour map between two ends, and what it measures."""

    what: str
    colours: str
    low: float
    high: float

    def paint(self, values: np.ndarray) -> np.ndarray:
        """(...) -> (..., 3) uint8."""
        from matplotlib import colormaps

        share = np.clip((np.nan_to_num(values) - self.low) / (self.high - self.low), 0, 1)
        return np.asarray(colormaps[self.colours](share, bytes=True)[..., :3])

    def html(self) -> str:
        """A bar with its ends."""
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        stops = ", ".join(to_hex(c) for c in colormaps[self.colours](np.linspace(0, 1, 9)))
        return (
            f"<div style='padding: 0 1em; font-size: 0.8em'>{self.what}"
            f"<div style='height: 0.8em; border-radius: 3px; background: linear-gradient(to right, {stops})'></div>"
            "<div style='display: flex; justify-content: space-between'>"
            f"<span>{self.low:g} mm</span><span>{self.high:g} mm</span></div></div>"
        )


class Predictions:
    """Depths that `endorender evaluate` kept of a network. folder: an evaluation."""

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / "predictions.npz"
        with opened(self._path) as arrays:
            self._names = set(arrays.files)
        self._by_content = self._read_names(Path(folder) / "frames.csv")

    @staticmethod
    def _read_names(table: Path) -> dict[tuple[str, str], str]:
        """(hash of its geometry, variation) of a frame -> its name in the evaluation; empty where no hash was kept."""
        try:
            with open(table, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row.get("geometry")]
            return {(row["geometry"], row["variation"]): row["frame"] for row in rows}
        except (OSError, ValueError, KeyError, csv.Error):
            return {}

    def _name(self, frame: Frame) -> str | None:
        """By what the frame shows where the evaluation says so: another dataset has a first patient as well."""
        own = (frame.files["geometry"].sha256, frame.variation)
        name = self._by_content.get(own) if self._by_content else frame.id
        return name if name in self._names else None

    def depth(self, frame: Frame) -> np.ndarray | None:
        """(H, W) z-depth in mm as the network said it, before any alignment; None where it was not asked."""
        name = self._name(frame)
        if name is None:
            return None
        with opened(self._path) as arrays:
            found = np.asarray(arrays[name])
        if found.ndim != 2 or found.dtype.kind != "f":
            raise UserError("predictions.npz holds no depth: evaluate again", "TRUNCATED")
        return found

    def refuse_strange(self, frames: list[Frame]) -> None:
        """Raise UserError where none of the frames was predicted."""
        if not any(self._name(frame) for frame in frames):
            raise UserError("the evaluation is of other data: it holds no frame of this dataset", "NO_PREDICTIONS")


# A frame, the next view's frame of the same patient if there is one -> (H, W) mm, NaN where nothing is known.
Values = Callable[["Frame", "Frame | None"], np.ndarray]


def measures(top: float, predictions: Predictions | None = None) -> dict[str, tuple[Values, Scale]]:
    """What points may be coloured by instead of their picture, each with its scale. top: mm, end of that of depth."""
    found: dict[str, tuple[Values, Scale]] = {
        "depth": (lambda frame, after: frame.geometry()["z_depth"], Scale("z-depth", "viridis", 0.0, top)),
        "agreement of views": (
            residual,
            # From pale to dark red: on the dark page what agrees must be seen as well.
            Scale("distance from the wall that the next view sees", "YlOrRd", 0.0, RESIDUAL_MM),
        ),
    }
    if predictions is not None:
        known = predictions
        found["prediction error"] = (
            lambda frame, after: prediction_error(frame, known),
            Scale("predicted minus true z-depth", "coolwarm", -ERROR_MM, ERROR_MM),
        )
    return found


def residual(frame: Frame, after: Frame | None) -> np.ndarray:
    """(H, W) mm from a pixel's point to the wall in the next view; NaN where that view does not see the point."""
    from endorender.dataset.consistency import BESIDE, reproject

    if after is None:
        return np.full(frame.geometry()["mask"].shape, np.nan)
    off, landed, _ = reproject(frame, after)
    try:
        seen = landed & ~frame.flow()["occlusion"]
    except UserError:  # rendered before there was any: then as `check-geometry` does
        seen = landed & (np.abs(off) < BESIDE)
    return np.where(seen, np.abs(off), np.nan)


def prediction_error(frame: Frame, predictions: Predictions) -> np.ndarray:
    """(H, W) mm, predicted minus true z-depth; NaN where either is unknown."""
    true = frame.geometry()["z_depth"]
    told = predictions.depth(frame)
    return np.full_like(true, np.nan) if told is None or told.shape != true.shape else told - true
