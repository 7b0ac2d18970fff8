"""What a fit minimises: residuals between photographs and pictures, their gradient, and where both are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from endorender.inverse import parameters
from endorender.inverse.target import NEAR, Target, by_rank, gains, of_values, target
from endorender.inverse.unknowns import BALANCE, EXPOSURE, GAMMA, Unknowns, Values
from endorender.render.images.gradient import gradient, picture
from endorender.scene.response import Response
from endorender.scene.scene import Scene

EVEN = 1.0  # px over which residuals are averaged before a gradient is taken of them
ROBUST = 0.06  # level at which a residual begins to count less than by its square (Charbonnier)


@dataclass(frozen=True)
class State:
    """A point and what was seen there.

    pictures: (2, B, H, W, 3) linear radiance, two independent halves of the samples. residuals: of both, in levels of
    the photographs. weight: (B, H, W, 3). loss: mean squared residual without the renderer's noise (the product of
    both halves' residuals, whose noise is independent). error: its standard error. noise: mean square of what the
    renderer leaves in the residuals.
    """

    u: np.ndarray
    values: Values
    pictures: np.ndarray
    residuals: np.ndarray
    gain: np.ndarray
    target: Target
    weight: np.ndarray
    loss: float
    error: float
    noise: float
    spp: int

    @property
    def lever(self) -> np.ndarray:
        """(B, H, W, 3) derivative of the residuals by radiance."""
        return np.asarray(self.target.slope * self.gain)


@dataclass(frozen=True)
class Problem:
    """views: scenes of one size. photographs: (B, H, W, 3) uint8; with `statistics` (N, 3) pixels of any place, which
    are dealt out to the views by rank of luminance. response: with an exposure. smooth: pixels weigh by a B-spline.
    """

    views: tuple[Scene, ...]
    photographs: np.ndarray
    response: Response
    unknowns: Unknowns
    statistics: bool = False

    @property
    def smooth(self) -> bool:
        """Whether pixels weigh light by a B-spline, as gradients of a pose need it."""
        return any(name.startswith("camera.") for name in self.unknowns.names)

    def scenes(self, values: Values) -> list[Scene]:
        """Every view with the values in it."""
        return [parameters.apply(view, self.unknowns.of_view(values, i)) for i, view in enumerate(self.views)]

    def halves(self, values: Values, spp: int, seed: int) -> np.ndarray:
        """(2, B, H, W, 3) linear radiance, from half of the samples each."""
        # The adjoint's walk, not the faster one: its random numbers are keyed by vertex, so that a decision that falls
        # otherwise spoils no others, and differences of pictures are nearly free of noise.
        shot = [
            [
                picture(scene, max(spp // 2, 1), seed, 2 * i + k, self.smooth)
                for i, scene in enumerate(self.scenes(values))
            ]
            for k in (0, 1)
        ]
        return np.array([[p.mean for p in row] for row in shot], float)

    def wanted(self, pictures: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """(B, H, W, 3) uint8: the photographs, or with `statistics` their colours dealt out to each picture."""
        if not self.statistics:
            return self.photographs
        each = [by_rank(self.photographs, p[None], v[None]) for p, v in zip(pictures, visible)]
        return np.concatenate(each)

    def at(self, u: np.ndarray, spp: int, seed: int) -> State:
        """Pictures and residuals at a point, from twice `spp` / 2 samples per pixel."""
        values = self.unknowns.values(u)
        half = max(spp // 2, 1)
        pictures = self.halves(values, spp, seed)
        response = of_values(self.response, values)
        visible = np.stack([view.camera.visible() for view in self.views])
        wanted = self.wanted(pictures.mean(0), visible)
        aim = target(wanted, response, visible, self.smooth)
        gain = gains(response, values, len(self.views))
        residuals = aim.slope * (gain * pictures - aim.levels)
        # Neighbours tell together what counts less: by a pixel's own noise, bright and dark would not count alike.
        near = ndimage.gaussian_filter(residuals.mean(0), (0, NEAR, NEAR, 0), mode="nearest")
        weight = aim.weight / np.sqrt(1 + (near / ROBUST) ** 2)
        products = weight * residuals[0] * residuals[1]
        total = max(float(weight.sum()), 1e-9)
        error = float(products.std() * np.sqrt(products.size)) / total
        noise = float((weight * (residuals[0] - residuals[1]) ** 2).sum()) / 4 / total
        loss = float(products.sum()) / total
        return State(u, values, pictures, residuals, gain, aim, weight, loss, error, noise, 2 * half)

    def slope(self, state: State, spp: int, seed: int) -> np.ndarray:
        """(P,) gradient of half the sum of weighted squared residuals; the scene's part from samples of its own.

        Neighbours' residuals are averaged first: what single pixels have is the renderer's noise, which tells nothing
        and would multiply the adjoint's. At the true values each residual's expectation is 0, averaged or not.
        """
        by_value: dict[str, Any] = {}
        asked = self.unknowns.of_scene
        even = _even(state)
        pull = state.weight * even.mean(0) * state.lever
        if asked:
            found = [
                scene_gradient(scene, view, self.unknowns.of_view(state.values, i), asked, pull[i], spp, seed, i,
                               self.smooth, float(state.pictures[:, i].mean()))
                for i, (scene, view) in enumerate(zip(self.scenes(state.values), self.views))
            ]  # fmt: skip
            for name in asked:
                each = [f[name] for f in found]
                by_value[name] = np.stack(each) if name.startswith("camera.") else np.sum(each, 0)
        # Each half's residual with the other's picture: a half's own noise would multiply itself.
        crossed = state.weight * (even * state.pictures[::-1]).mean(0) * state.lever
        return self.unknowns.chain(
            by_value | self.of_response(state, crossed, state.weight * even.mean(0)), state.values
        )

    def of_response(self, state: State, by_gain: np.ndarray, by_level: np.ndarray) -> Values:
        """Sums by exposure, white balance and gamma, of what stands at each pixel (B, H, W, 3) by the logarithm of its
        gain, and by its level."""
        values, out = state.values, {}
        if EXPOSURE in values:
            each = by_gain.sum((1, 2, 3))
            out[EXPOSURE] = (each if values[EXPOSURE].ndim else each.sum()) / values[EXPOSURE]
        if BALANCE in values:
            out[BALANCE] = by_gain.sum((0, 1, 2)) / values[BALANCE]
        if GAMMA in values:
            out[GAMMA] = np.array((by_level * state.target.by_gamma).sum() / values[GAMMA])
        return out


def _even(state: State) -> np.ndarray:
    """(2, B, H, W, 3) residuals of both halves, averaged over neighbours by their weights."""
    size = (0, EVEN, EVEN, 0)
    weight = ndimage.gaussian_filter(state.weight, size, mode="nearest")
    each = [ndimage.gaussian_filter(state.weight * r, size, mode="nearest") for r in state.residuals]
    return np.asarray(np.stack(each) / np.maximum(weight, 1e-12))


def scene_gradient(
    scene: Scene,
    view: Scene,
    values: Values,
    asked: tuple[str, ...],
    weights: np.ndarray,
    spp: int,
    seed: int,
    frame: int,
    smooth: bool,
    ambient: float,
) -> Values:
    """Gradient of Σ weights · picture by the values. view: the scene without them."""
    wanted = parameters.wanted(scene, asked)
    found = gradient(scene, weights, wanted, spp, seed, 1_000_003 + frame, smooth, max(ambient, 0.0))
    return parameters.chain(view, values, found, asked)
