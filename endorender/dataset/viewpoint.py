"""What belongs to a view and not to a variation: the camera and how it flies, drawn for every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from endorender.dataset.constraints import holds
from endorender.dataset.distributions import Source, drawn, found_in, probes
from endorender.dataset.spec import as_mapping, parse_spec
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
    ahead: float = Field(
        1.0, gt=0, le=20, description="how far along its way it aims, times the room there (8 to 20 mm)"
    )
    approach: float = Field(
        0.0, ge=0, le=1, description="part of the free way along its line of sight, at most 25 mm, that it then goes"
    )


def built(camera: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A camera of nothing that is drawn, in full. size: width, height."""
    from endorender.scene.camera import cameras

    spec = as_mapping(parse_spec(camera))
    width, height = size
    if (spec.get("width", width), spec.get("height", height)) != size:
        raise ValueError("the camera's size is set by size, not here")
    return cameras.dump(cameras.build({**spec, "width": width, "height": height}))


def varies(spec: Any) -> bool:
    """Whether anything in it is drawn."""
    return next(found_in(spec), None) is not None


def refuse_impossible(
    camera: Mapping[str, Any], size: tuple[int, int], trajectory: Mapping[str, Any], constraints: Sequence[str]
) -> None:
    """Raise UserError where an end of a range is nothing that camera or trajectory take. size: width, height."""
    for source in probes([camera, trajectory]):
        found = _drawn(camera, size, trajectory, source)
        for text in constraints:
            holds(text, found)


def draw_view(
    camera: Mapping[str, Any],
    size: tuple[int, int],
    trajectory: Mapping[str, Any],
    constraints: Sequence[str],
    names: tuple[Any, ...],
    view: int,
) -> dict[str, dict[str, Any]]:
    """{camera, trajectory} of one view, everything drawn.

    camera: a mapping with its type, or a distribution of such. size: width, height.
    names: of dataset and patient, from which with the view all follows.
    """
    rng = np.random.default_rng(seed_of(*names, view, "view"))
    for attempt in range(TRIES):
        found = _drawn(camera, size, trajectory, Source(rng, view, seed_of(*names, "views"), attempt))
        if all(holds(text, found) for text in constraints):
            return found
    raise UserError(f"the constraints refused {TRIES} views in a row: widen them or the ranges", "CONSTRAINTS")


def _drawn(
    camera: Mapping[str, Any], size: tuple[int, int], trajectory: Mapping[str, Any], source: Source
) -> dict[str, dict[str, Any]]:
    source.prepare([camera, trajectory])
    optics, flown = drawn(camera, source), drawn(trajectory, source)
    return {
        "camera": built(optics, size),
        "trajectory": validated(Trajectory, flown, "trajectory").model_dump(mode="json"),
    }
