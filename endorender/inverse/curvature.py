"""How well each parameter is seen: the Jacobian, what it says of intervals, and the metric in which a fit steps.

It is made of differences of pictures under common random numbers, smoothed over neighbours; of poses, of differences of
the exact wall in plain light. Gradients of single pixels by the adjoint would cost a pass for each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from endorender.inverse.parameters import moved
from endorender.inverse.problem import Problem, State
from endorender.inverse.unknowns import BALANCE, EXPOSURE, GAMMA
from endorender.render import geometry, synthetic

BLOCK = 8  # px across, over which residuals are looked at for what they have in common
UNSEEN = 0.5  # share of what was allowed for before the fit that an interval must fall below to count as seen
MARGIN = 2.0
STEP = 0.15  # of a coordinate: smaller ones drown where paths change with the parameter
SOFT = 0.8  # px over which differences are averaged
ALIKE = 2.0  # by which sums over pixels scatter more for that: sqrt(2 pi) SOFT
NUDGE = np.array([0.1, 0.1, 0.1, 0.005, 0.005, 0.005])  # mm and radians of the differences of the shaded wall


@dataclass(frozen=True)
class Curvature:
    """rows: (2, R, P) derivative of weighted residuals, from two independent halves of the samples.

    together: mean square of a block's sum of residuals over its pixels. spp: samples per pixel behind the rows.
    """

    rows: np.ndarray
    together: float
    spp: int = 1

    def joined(self, before: Curvature) -> Curvature:
        """With one from a place nearby, whose noise is its own: a valley shows once enough of them are averaged."""
        if before.rows.shape != self.rows.shape:  # photographs dealt out by rank burn out elsewhere each time
            return self
        total = self.spp + before.spp
        return Curvature((self.spp * self.rows + before.spp * before.rows) / total, self.together, total)

    def hessian(self, margin: float = 0.0) -> np.ndarray:
        """(P, P) Gauss-Newton matrix. The halves' product does not take their noise for information.

        margin: standard errors, which that noise leaves along each of its axes, to be added there: > 0 makes careful
        steps, < 0 careful intervals. Taken along the axes, a valley keeps what is known of it: what spoils all
        columns alike, as a bright path does, cancels there.
        """
        half = self.rows[0].T @ self.rows[1]
        values, vectors = np.linalg.eigh((half + half.T) / 2)
        along = self.rows @ vectors
        error = ALIKE * np.sqrt(along.shape[1]) * (along[0] * along[1]).std(0)
        return np.asarray((vectors * np.maximum(values + margin * error, 0)) @ vectors.T)

    def covariance(self, noise: float, prior: float) -> np.ndarray:
        """(P, P) of the coordinates at an optimum, from the residuals' size and a broad prior.

        noise: mean squared residual. prior: standard deviation that each coordinate was allowed for beforehand. Where
        residuals of a block go together, as errors of the model do, it counts for so many pixels less.
        """
        told = self.hessian(-MARGIN) / max(noise, self.together) + np.eye(self.rows.shape[2]) / prior**2
        return np.asarray(np.linalg.inv(told))


def curvature(problem: Problem, state: State, spp: int, seed: int) -> Curvature:
    """At a point. spp: samples per pixel of each picture, in two halves."""
    names = problem.unknowns.of_scene
    slopes = _of_poses(problem, state) if names == ("camera.pose",) else _of_pictures(problem, state, spp, seed)
    root = np.sqrt(state.weight)
    columns = []
    for name in problem.unknowns.names:
        free = np.flatnonzero(problem.unknowns.free[name])
        if name in slopes:
            columns.append(slopes[name] * state.lever[..., None])
        elif name == GAMMA:
            columns.append(np.repeat(state.target.by_gamma[None, ..., None], 2, 0))
        else:
            lit = (state.lever * state.pictures)[..., None]
            if name == EXPOSURE and state.values[name].ndim:
                lit = lit * np.eye(problem.unknowns.views)[:, None, None, None, :]
            elif name == BALANCE:
                lit = (lit * np.eye(3))[..., free]
            columns.append(lit)
    rows = np.concatenate(columns, -1) * root[..., None]
    return Curvature(rows.reshape(2, -1, rows.shape[-1])[:, root.ravel() > 0], _together(root, state), spp)


def _together(root: np.ndarray, state: State) -> float:
    """Mean square of a block's sum of weighted residuals over its pixels: of independent ones, their mean square."""
    views, height, width = root.shape[:3]
    tall, wide = height // BLOCK, width // BLOCK
    if not tall * wide:
        return 0.0

    def summed(x: np.ndarray) -> np.ndarray:
        part = x[:, : tall * BLOCK, : wide * BLOCK]
        return np.asarray(part.reshape(views, tall, BLOCK, wide, BLOCK, 3).sum((2, 4)))

    pixels, halves = summed(root**2), [summed(root * r) for r in state.residuals]
    return float((halves[0] * halves[1]).sum() / max(float(pixels.sum()), 1e-9))


def _of_pictures(problem: Problem, state: State, spp: int, seed: int) -> dict[str, np.ndarray]:
    """By name (2, B, H, W, 3, n) derivatives of radiance by the n free coordinates."""
    known = problem.unknowns
    base = problem.halves(state.values, spp, seed)
    out, at = {}, 0
    for name in known.names:
        free = np.argwhere(known.free[name])
        if name in known.of_scene:
            columns = np.zeros((*base.shape, len(free)))
            for group in _groups(name, known.free[name]):
                u = state.u.copy()
                u[at + np.array(group)] += STEP
                change = (problem.halves(known.values(u), spp, seed) - base) / STEP
                change = ndimage.gaussian_filter(change, (0, 0, SOFT, SOFT, 0), mode="nearest")
                for n in group:
                    # In a group each entry has its own channel, or its own view.
                    part: Any = np.s_[:]
                    if _coloured(name, known.free[name]):
                        part = np.s_[..., free[n][-1]]
                    elif name.startswith("camera."):
                        part = np.s_[:, free[n][0]]
                    columns[..., n][part] = change[part]
            out[name] = columns
        at += len(free)
    return out


def _coloured(name: str, free: np.ndarray) -> bool:
    """Whether its last axis are channels, each of which changes its own in the picture alone."""
    return name.split(".")[-1] in ("albedo", "colour", "radiance") and free.ndim > 0 and free.shape[-1] == 3


def _groups(name: str, free: np.ndarray) -> list[list[int]]:
    """Entries, numbered among the free ones, that may be changed in one picture without mixing: channels, views."""
    groups: dict[Any, list[int]] = {}
    for n, index in enumerate(np.argwhere(free)):
        key: Any = tuple(index)
        if _coloured(name, free):
            key = key[:-1]
        elif name.startswith("camera."):
            key = key[1:]
        groups.setdefault(key, []).append(n)
    return list(groups.values())


def _of_poses(problem: Problem, state: State) -> dict[str, np.ndarray]:
    """The same of poses: from the exact wall, plainly shaded, which has no noise.

    As a metric it is near enough; what a fit steps along is the gradient of the traced picture.
    """
    light = state.pictures.mean(0)
    views = len(light)
    slopes = np.zeros((*light.shape, views, 6))
    for view, (scene, plain) in enumerate(zip(problem.scenes(state.values), problem.views)):
        colour = light[view].mean((0, 1)) / max(float(_shaded(scene).mean()), 1e-12)
        xi = state.values["camera.pose"][view]
        scale = problem.unknowns.scales["camera.pose"].unit
        for k, step in enumerate(np.diag(NUDGE)):
            up, down = (
                _shaded(plain.with_(world_from_camera=moved(plain.world_from_camera, xi + s))) for s in (step, -step)
            )
            slopes[view, ..., view, k] = (up - down)[..., None] * colour / (2 * NUDGE[k]) * scale[k]
    return {"camera.pose": np.repeat(slopes.reshape(1, *light.shape, 6 * views), 2, 0)}


def _shaded(scene: Any) -> np.ndarray:
    """(H, W) the wall of a scene in plain light."""
    return np.asarray(synthetic(scene, geometry(scene))[..., 0], float)
