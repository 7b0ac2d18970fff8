"""Where photographs were taken from: a search on the geometry, then gradients of pictures.

The search shades the exact wall by distance and angle alone (`render.synthetic`), which takes milliseconds, and
compares the logarithm of luminance by normalised correlation, which exposure, gamma and an even tissue do not change.
Gradients of pose need the surface mode `volume`, a pinhole and lights on the camera: `clear` makes such a scene of
another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from endorender.errors import UserError
from endorender.inverse.fit import Fit, Plan, Progress, fit
from endorender.inverse.parameters import moved
from endorender.inverse.target import BURNT, linear
from endorender.render import geometry, synthetic
from endorender.scene.camera import Pinhole
from endorender.scene.response import LUMA, Response
from endorender.scene.scene import Scene
from endorender.scene.tissue import Tissue

COARSE = 24  # pixels of the longer side in the search
DARK = 1e-3  # of the brightest luminance: below, its logarithm says nothing
GAUGE = np.radians([2.9, 2.9, 2.9])  # turn that moves a picture about as far as 1 mm, as in `unknowns.POSE_UNIT`
ROUNDS, ELITE = 7, 8
PLAN = Plan(steps=12, first=32, last=128, renewed=(0, 1, 2, 4, 6, 8), repeats=2, again=4)
WALL = 60.0  # HU about the threshold over which the wall of `clear` becomes dense


def clear(scene: Scene, sigma_t: float = 6.0) -> Scene:
    """The scene with the surface mode `volume`: air that is empty up to the wall, tissue of one colour behind it."""
    if type(scene.camera) is not Pinhole:
        raise UserError("poses are refined by gradients for a pinhole camera only: undistort the photographs", "POSE")
    tissue, at = scene.tissue, scene.threshold
    k = int(np.argmin(np.abs(np.array(tissue.hu) - tissue.wall_hu)))
    fields: dict[str, Any] = {name: getattr(tissue, name) for name in ("phase", "blood_albedo", "vessel_albedo")}
    plain = {"hu": (at - WALL, at + WALL), "sigma_t": (0.0, sigma_t), "albedo": (tissue.albedo[k],) * 2}
    return scene.with_(surface="volume", mucosa=None, tissue=Tissue(**fields, **plain))


def likeness(scene: Scene, wanted: np.ndarray, weight: np.ndarray) -> float:
    """-1..1: weighted correlation of the logarithms of luminance; -1 where no wall is in sight.

    wanted: (H, W) log luminance of the photograph. weight: (H, W).
    """
    try:
        seen = geometry(scene)
    except UserError:
        return -1.0  # in tissue or outside the scan
    if seen.mask.mean() < 0.5:
        return -1.0
    picture = synthetic(scene, seen) @ LUMA
    log = ndimage.gaussian_filter(np.log(picture + DARK * max(float(picture.max()), 1e-12)), 0.7)
    w = weight / max(float(weight.sum()), 1e-9)
    a, b = log - (w * log).sum(), wanted - (w * wanted).sum()
    return float((w * a * b).sum() / np.sqrt(max((w * a * a).sum() * (w * b * b).sum(), 1e-12)))


def search(
    scene: Scene, photograph: np.ndarray, response: Response, reach_mm: float = 6.0, reach_deg: float = 12.0,
    samples: int = 240, seed: int = 0, report: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """(4, 4) the pose near the scene's under which the shaded wall is most like the photograph, and the likeness.

    Sampled evenly within the reach, then around the best ones, each round more narrowly (cross-entropy method).
    """
    height, width = photograph.shape[:2]
    share = min(1.0, COARSE / max(height, width))
    w, h = max(8, round(width * share)), max(8, round(height * share))
    small = scene.with_(camera=scene.camera.resized(w, h))
    luma = linear(photograph / 255, response) @ LUMA
    good = (photograph.max(-1) < BURNT) & scene.camera.visible()
    zoom = (h / height, w / width)
    luma, weight = (ndimage.zoom(ndimage.gaussian_filter(x.astype(float), 0.4 / np.array(zoom)), zoom, order=1,
                                 grid_mode=True, mode="nearest") for x in (luma, good))  # fmt: skip
    wanted = ndimage.gaussian_filter(np.log(luma + DARK * max(float(luma.max()), 1e-12)), 0.7)
    rng = np.random.default_rng([seed, 0x905E])
    unit = np.concatenate([np.ones(3), GAUGE])
    spread = np.concatenate([np.full(3, reach_mm), np.radians(np.full(3, reach_deg))]) / unit
    start = np.asarray(scene.world_from_camera, float)

    def score(xi: np.ndarray) -> float:
        return likeness(small.with_(world_from_camera=moved(start, xi * unit)), wanted, weight)

    # A ball for the shift and one for the turn: no corner lies farther out than was asked for.
    directions = rng.normal(size=(samples, 2, 3))
    directions *= rng.uniform(size=(samples, 2, 1)) ** (1 / 3) / np.linalg.norm(directions, axis=-1, keepdims=True)
    tried = np.vstack([np.zeros(6), directions.reshape(samples, 6) * spread])
    scores = np.array([score(xi) for xi in tried])
    for n in range(ROUNDS):
        if report:
            report((n + 1) / (ROUNDS + 1))
        best = tried[np.argsort(-scores)[:ELITE]]
        width_now = np.maximum(np.sqrt(np.mean((best - best[0]) ** 2, 0)), 0.02) * 0.9
        new = best[rng.integers(0, ELITE // 2, samples // 4)] + rng.normal(size=(samples // 4, 6)) * width_now
        new = np.vstack([best.mean(0), new])
        tried, scores = np.vstack([tried, new]), np.concatenate([scores, [score(xi) for xi in new]])
    found = tried[int(np.argmax(scores))]
    return moved(start, found * unit), float(scores.max())


def refine(
    views: Sequence[Scene], photographs: np.ndarray, response: Response, exposures: Sequence[float] | None,
    plan: Plan = PLAN, seed: int = 0, progress: Progress | None = None, names: Sequence[str] = (),
) -> tuple[list[np.ndarray], Fit]:  # fmt: skip
    """Poses of all views by gradients, from within about 1 mm and 3 degrees; the fit tells how well each is seen.

    exposures: each picture's own to start from; None: the response's, for all. names: to be fitted beside the poses.
    """
    done = fit(views, photographs, response, ["camera.pose", "response.exposure", *names], exposures=exposures,
               plan=plan, seed=seed, progress=progress)  # fmt: skip
    xi = done.values["camera.pose"]
    return [moved(view.world_from_camera, x) for view, x in zip(views, xi)], done


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Distance in mm and angle in degrees between two poses."""
    turn = a[:3, :3].T @ b[:3, :3]
    angle = np.degrees(np.arctan2(np.linalg.norm(turn - turn.T) / np.sqrt(8), (np.trace(turn) - 1) / 2))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), float(angle)
