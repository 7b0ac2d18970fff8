"""How well each parameter is seen: the Jacobian by blocks of pixels, and the intervals that follow from it.

A block's row of the Jacobian is one gradient of the block's mean: only its own pixels are traced, through a crop of the
camera, so all rows together cost one picture's gradient for each channel. Steps of a fit take their metric from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.inverse.parameters import moved
from endorender.inverse.problem import Problem, State, scene_gradient
from endorender.inverse.unknowns import BALANCE, EXPOSURE, GAMMA
from endorender.render import geometry, synthetic
from endorender.scene.distorted import Scaramuzza

BLOCKS = 6  # across and down a picture
NUDGE = np.array([0.1, 0.1, 0.1, 0.005, 0.005, 0.005])  # mm and radians of the differences of the shaded wall
UNSEEN = 0.5  # share of what was allowed for before the fit that an interval must fall below to count as seen
MARGIN = 2.0
CHANNELS = ((0,), (1,), (2,))


@dataclass(frozen=True)
class Curvature:
    """rows: (2, R, P) derivative of a block's sum of weighted residuals, from two independent halves of the samples.

    counts: (R,) effective pixels in it. sums: (R,) of the residuals themselves.
    """

    rows: np.ndarray
    counts: np.ndarray
    sums: np.ndarray

    def hessian(self, margin: float = 0.0) -> np.ndarray:
        """(P, P) Gauss-Newton matrix. The halves' product does not take the gradients' noise for information.

        margin: standard errors, which that noise leaves in the diagonal, to be added to it: > 0 makes careful steps,
        < 0 careful intervals.
        """
        half = np.einsum("rp,rq,r->pq", self.rows[0], self.rows[1], 1 / self.counts)
        noise = (self.rows[0] - self.rows[1]) ** 2 / 2 / self.counts[:, None]
        half = (half + half.T) / 2 + margin * np.diag(np.sqrt((noise**2).sum(0)))
        values, vectors = np.linalg.eigh(half)
        return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)

    def covariance(self, noise: float, prior: float) -> np.ndarray:
        """(P, P) of the coordinates at an optimum, from the residuals' size and a broad prior.

        noise: mean squared residual. prior: standard deviation that each coordinate was allowed for beforehand. Where
        residuals of a block go together, as errors of the model do, it counts for so many pixels less.
        """
        together = max(1.0, float(np.mean(self.sums**2 / self.counts)) / noise)
        told = self.hessian(-MARGIN) / (noise * together) + np.eye(self.rows.shape[2]) / prior**2
        return np.asarray(np.linalg.inv(told))


def cropped(camera: Any, x: int, y: int, width: int, height: int) -> Any:
    """The same camera, seeing a part of its picture only. What the mask hides is left to the weights."""
    changes: dict[str, Any] = {"width": width, "height": height, "mask": "none"}
    if isinstance(camera, Scaramuzza):
        sx, sy = camera.stretch
        # Keeps the stretch: validation would want whole pixels of the calibrated picture, of which none is used.
        changes |= {"calibrated": (width / sx, height / sy), "cx": camera.cx - x / sx, "cy": camera.cy - y / sy}
    else:
        k = camera.K
        changes |= {"fov": None, "calibrated": None, "fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2] - x, "cy": k[1, 2] - y}
    return camera.model_copy(update=changes)


def curvature(problem: Problem, state: State, spp: int, seed: int) -> Curvature:
    """At a point. spp: samples per pixel and channel, in two halves."""
    names = problem.unknowns.of_scene
    if names == ("camera.pose",):
        return _by_geometry(problem, state)
    # Where things are moves all channels alike: one row serves them.
    geometric = all(n.startswith("camera.") or n in (EXPOSURE, GAMMA) for n in problem.unknowns.names)
    root, residual = np.sqrt(state.weight), state.residuals.mean(0)
    height, width = root.shape[1:3]
    rows: list[list[np.ndarray]] = []
    counts, sums = [], []
    scenes = problem.scenes(state.values)
    tall, wide = -(-height // BLOCKS), -(-width // BLOCKS)
    for view, (scene, plain) in enumerate(zip(scenes, problem.views)):
        for y, x in [(y, x) for y in range(0, height, tall) for x in range(0, width, wide)]:
            part = np.s_[view, y : y + tall, x : x + wide]
            for channels in ((0, 1, 2),) if geometric else CHANNELS:
                mine = np.zeros(root[part].shape)
                mine[..., channels] = root[part][..., channels]
                if (mine > 0).sum() < 4:
                    continue
                counts.append(float(mine.sum() ** 2 / (mine**2).sum()))  # of pixels, were all weights alike
                sums.append(float((mine * residual[part]).sum()))
                pair = []
                for half in (0, 1):
                    found: dict[str, np.ndarray] = {}
                    if names:
                        size = mine.shape
                        found = scene_gradient(
                            scene.with_(camera=cropped(scene.camera, x, y, size[1], size[0])),
                            plain.with_(camera=cropped(plain.camera, x, y, size[1], size[0])),
                            problem.unknowns.of_view(state.values, view), names, mine * state.lever[part],
                            max(spp // 2, 1), seed, 2 * len(counts) + half, problem.smooth,
                            float(state.pictures[:, view].mean()),
                        )  # fmt: skip
                        found = {n: _placed(v, view, problem) if n.startswith("camera.") else v
                                 for n, v in found.items()}  # fmt: skip
                    whole = np.zeros_like(root)
                    whole[part] = mine
                    found |= problem.of_response(state, whole * state.lever * state.pictures.mean(0), whole)
                    pair.append(problem.unknowns.chain(found, state.values))
                rows.append(pair)
    return Curvature(np.array(rows).transpose(1, 0, 2), np.array(counts), np.array(sums))


def _by_geometry(problem: Problem, state: State) -> Curvature:
    """Of poses (and the response): from the exact wall, plainly shaded, which has no noise. A row is a pixel.

    A block's gradient of a pose drowns in noise, and edges that move cancel within it. As a metric the shaded wall is
    near enough; what a fit steps along is the gradient of the traced picture.
    """
    root = np.sqrt(state.weight)
    light = state.pictures.mean(0)
    slopes = np.zeros((*light.shape, 6))
    for view, (scene, plain) in enumerate(zip(problem.scenes(state.values), problem.views)):
        colour = light[view].mean((0, 1)) / max(float(_shaded(scene).mean()), 1e-12)
        xi = state.values["camera.pose"][view]
        for k, step in enumerate(np.diag(NUDGE)):
            up, down = (
                _shaded(plain.with_(world_from_camera=moved(plain.world_from_camera, xi + s))) for s in (step, -step)
            )
            slopes[view, ..., k] = (up - down)[..., None] * colour / (2 * NUDGE[k])
    lever = root * state.lever
    pulls, residual = np.einsum("vyxc,vyxck->vyxk", lever, slopes), root * state.residuals.mean(0)
    values, rows, counts, sums = state.values, [], [], []
    for view, y, x in np.argwhere(root.sum(-1) > 0):
        found: dict[str, np.ndarray] = {"camera.pose": _placed(pulls[view, y, x], view, problem)}
        by_gain = lever[view, y, x] * light[view, y, x]
        if EXPOSURE in values:
            each = by_gain.sum() / values[EXPOSURE]
            found[EXPOSURE] = each * (np.arange(problem.unknowns.views) == view) if each.ndim else each
        if BALANCE in values:
            found[BALANCE] = by_gain / values[BALANCE]
        if GAMMA in values:
            found[GAMMA] = (root * state.target.by_gamma)[view, y, x].sum() / values[GAMMA]
        rows.append(problem.unknowns.chain(found, values))
        counts.append(float(root[view, y, x].sum() ** 2 / (root[view, y, x] ** 2).sum()))
        sums.append(float(residual[view, y, x].sum()))
    return Curvature(np.array([rows, rows]), np.array(counts), np.array(sums))


def _shaded(scene: Any) -> np.ndarray:
    """(H, W) the wall of a scene in plain light."""
    return np.asarray(synthetic(scene, geometry(scene))[..., 0], float)


def _placed(value: np.ndarray, view: int, problem: Problem) -> np.ndarray:
    """A view's own gradient among those of all views."""
    out = np.zeros((problem.unknowns.views, *np.shape(value)))
    out[view] = value
    return out
