"""What belongs to a view and not to a variation: the camera and how it flies, drawn for every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from endorender.dataset.constraints import holds
from endorender.dataset.distributions import Source, drawn, found_in, probes
from endorender.dataset.variation import TRIES, seed_of
from endorender.errors import UserError
from endorender.registry import Model, validated


class Trajectory(Model):
    """How a camera flies; see `endorender.scene.trajectory.poses`."""

    min_clearance_mm: float = Field(2.5, gt=0, le=50, description="from the wall, at least; mm")
    jitter: float = Field(0.5, ge=0, le=1, description="part of the free radius that the camera may be pushed aside")
    roll: float = Field(180.0, ge=0, le=180, description="about the view axis, uniform in both directions; degrees")
    look_aside: float = Field(
        12.0, ge=0, le=60, description="standard deviation of the turn away, cut at twice it; degrees"
    )


def varies(spec: Any) -> bool:
    """Whether anything in it is drawn."""
    return next(found_in(spec), None) is not None


def refuse_impossible(camera: Mapping[str, Any], trajectory: Mapping[str, Any], constraints: Sequence[str]) -> None:
    """Raise UserError where an end of a range is nothing that camera or trajectory take. camera: with its size."""
    for source in probes([camera, trajectory]):
        found = _drawn(camera, trajectory, source)
        for text in constraints:
            holds(text, found)


def draw_view(
    camera: Mapping[str, Any],
    trajectory: Mapping[str, Any],
    constraints: Sequence[str],
    names: tuple[Any, ...],
    view: int,
) -> dict[str, dict[str, Any]]:
    """{camera, trajectory} of one view, everything drawn.

    camera: a mapping with type and size. names: of dataset and patient, from which with the view all follows.
    """
    rng = np.random.default_rng(seed_of(*names, view, "view"))
    for attempt in range(TRIES):
        found = _drawn(camera, trajectory, Source(rng, view, seed_of(*names, "views"), attempt))
        if all(holds(text, found) for text in constraints):
            return found
    raise UserError(f"the constraints refused {TRIES} views in a row: widen them or the ranges", "CONSTRAINTS")


def _drawn(camera: Mapping[str, Any], trajectory: Mapping[str, Any], source: Source) -> dict[str, dict[str, Any]]:
    from endorender.scene.camera import cameras

    source.prepare([camera, trajectory])
    optics, flown = drawn(camera, source), drawn(trajectory, source)
    return {
        "camera": cameras.dump(cameras.build(optics)),
        "trajectory": validated(Trajectory, flown, "trajectory").model_dump(mode="json"),
    }
