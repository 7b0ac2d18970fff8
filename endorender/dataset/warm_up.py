"""Having kernels ready before a patient is: a small view of a hollow of a few voxels, under the same configuration."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection

import numpy as np

from endorender.dataset.config import RenderConfig
from endorender.dataset.patient import Ready, outline
from endorender.dataset.patients import Patient
from endorender.dataset.view import render_view
from endorender.errors import Notice, UserError

NOBODY = "rehearsal"
LOOKED_AT = 64  # views, among which every kind of camera is
VOXELS, EDGE = 12, 3  # of the hollow's grid; of tissue on each side


def warm_up(config: RenderConfig, names: Collection[str]) -> None:
    """Have every kernel read and compiled that these variations of a view need, whatever the CT.

    What is wrong with the configuration is not said here, but when a patient is rendered.
    """
    from endorender.ct import Volume

    hu = np.full((VOXELS,) * 3, 50, np.int16)
    hu[(slice(EDGE, -EDGE),) * 3] = -1000
    pose = np.eye(4)
    pose[:3, 3] = VOXELS - 1.0  # the centre: voxels are 2 mm wide
    labels = np.zeros(hu.shape, np.uint8) if config.labels else None
    brief = config.model_copy(update={"spp": 1, "views": 1, "size": "8x8"})
    with warnings.catch_warnings(), contextlib.suppress(UserError):
        warnings.simplefilter("ignore", Notice)
        volume = Volume(hu, np.diag([2.0, 2.0, 2.0, 1.0]))
        scene = outline(brief, Patient(ct="sample", alias=NOBODY), volume, pose, labels=labels)
        inside = (hu < 0).astype(np.uint8)
        # Where the whole camera is drawn, there are kernels for each kind of it.
        drawn = {view["camera"]["type"]: view for view in (brief.draw_view(NOBODY, n) for n in range(LOOKED_AT))}
        for view in drawn.values():
            ready = Ready(brief, NOBODY, {}, scene, pose[None], inside, [view])
            for negative in render_view(ready.view(0), tuple(names), True, lambda done: None):
                negative.developed()  # loads what that needs, too
