"""What the denoiser leans on: albedo and normal of the wall as a pixel sees them, not as its centre does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from endorender.render.depth.exact import seen_through
from endorender.render.images.oidn import Guides
from endorender.render.medium.mucosa import GUIDE_MM
from endorender.scene.scene import Scene

PLACES = 4  # a pixel is seen in PLACES × PLACES places: a vessel is a fraction of a pixel wide, and dotted in fewer


def guides(scenes: Sequence[Scene]) -> list[Guides]:
    """The guides of several conditions of one view: they differ in their tissue, labelled tissues and layer only.

    The places in a pixel are fixed, the middles of PLACES × PLACES squares, so guides depend on the scene alone.
    """
    camera = scenes[0].camera
    shape = (camera.height, camera.width, 3)
    albedo, normal = np.zeros((len(scenes), *shape), np.float32), np.zeros(shape, np.float32)
    steps = (np.arange(PLACES) + 0.5) / PLACES - 0.5
    for place, at in enumerate(np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)):
        # One depth at each place, in turn: the pixel has all of them.
        seen = seen_through(scenes, camera.pixels() + at, [GUIDE_MM[place % len(GUIDE_MM)]])
        normal += np.nan_to_num(seen[0].normal)
        for n, one in enumerate(seen):
            albedo[n] += one.albedo
    return [Guides(a / PLACES**2, normal / PLACES**2) for a in albedo]
