"""What the tests of gradients share: differences beside the adjoint, with common random numbers and fixed bounds."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from endorender.engine import ti
from endorender.render.device import backend, cache
from endorender.render.device.rng import mix
from endorender.render.gradients import tape
from endorender.render.images import gradient
from endorender.render.integrators import adjoint as integrator
from endorender.render.medium.majorants import bounds
from endorender.render.medium.prepared import prepare
from endorender.render.transport import world
from tests.render.reference import SCENES, Reference

STORED = Path(__file__).parents[1] / "refs" / "gradients.json"


def weights(size, width=None):
    """(size, width, 3) weights of the pixels, no two alike, of mean 1 / pixels: the gradient of a weighted mean."""
    width = width or size
    y, x, c = np.meshgrid(np.arange(size), np.arange(width), np.arange(3), indexing="ij")
    ramp = 1 + 0.5 * (2 * x / (width - 1) - 1) - 0.3 * (2 * y / (size - 1) - 1) + 0.2 * (c - 1)
    return (ramp / ramp.size).astype(np.float32)


def reference(name) -> Reference:
    """A reference scene in 16×16 pixels."""
    return next(dataclasses.replace(ref, size=16) for ref in SCENES if ref.name == name)


def dense(sigma_t):
    """(I, J, K) bool: voxels so dense, and their neighbours too, that every renderer collides there."""
    return sigma_t > 0.7 * sigma_t.max()


@dataclass(frozen=True)
class Estimate:
    """A number or an array of them, and its standard error."""

    value: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, rounds):
        """From independent rounds."""
        rounds = np.asarray(rounds, float)
        return cls(rounds.mean(0), rounds.std(0, ddof=1) / np.sqrt(len(rounds)))

    def z(self, other):
        """Standard errors between the two."""
        return (self.value - other.value) / np.hypot(self.error, other.error)


@contextlib.contextmanager
def same_bounds(scenes):
    """Within, all scenes are tracked under bounds that hold for each: tentative collisions are the same."""
    each = [bounds(prepare(s.medium), s.tissue, s.surface, s.threshold) for s in scenes]
    most = np.max([np.abs(b[..., 0]) for b in each], 0)
    care = np.any([np.signbit(b[..., 0]) for b in each], 0)
    # Of a cell that is empty in one of them nothing is certain.
    least = np.min([np.where(b[..., 0] == 0, 0, b[..., 1]) for b in each], 0)
    held = np.stack([np.where(care, -most, most), least], -1).astype(np.float32)
    with mock.patch.object(world, "cells", return_value=backend.resident(held)):
        yield


def differences(make, step, weighted, spp, rounds, smooth_pixels=False, one_sided=False):
    """d/dh Σ weights × picture of make(h) at h = 0, by additive steps with common random numbers.

    one_sided: from 0, h, 2h, of second order: where h < 0 does not exist.
    """
    at = {0.0: -1.5, step: 2.0, 2 * step: -0.5} if one_sided else {-step: -0.5, step: 0.5}
    scenes = [make(h) for h in at]
    found = []
    with same_bounds(scenes):
        for seed in range(rounds):
            pictures = [gradient.picture(s, spp, 1000 + seed, 0, smooth_pixels).mean.astype(float) for s in scenes]
            found.append(sum(c * (weighted * p).sum() for c, p in zip(at.values(), pictures)) / step)
    return Estimate.of(found)


def adjoint(scene, weighted, wanted, spp, rounds, take, smooth_pixels=False):
    """`take` of the gradient, over rounds of other seeds. take: Gradient -> numbers."""
    return Estimate.of(
        [take(gradient.gradient(scene, weighted, wanted, spp, 1 + n, 1, smooth_pixels)) for n in range(rounds)]
    )


@ti.func
def settle_magnitudes(noted: ti.template(), total, sums: ti.template(), side):
    """`tape.settle` of absolute values."""
    dust = mix(side)
    for i in range(ti.min(noted.end[1], tape.TAPE)):
        code = noted.slots[noted.end[0], i, 0]
        value = noted.weights[noted.end[0], i, 0]
        if code & 7 != tape.OWN:
            value *= total[code & 7] - noted.weights[noted.end[0], i, 1]
        tape.add_at(sums, ti.math.ivec2(code >> 3, noted.slots[noted.end[0], i, 1]), ti.abs(value), dust)
    noted.end[1] = 0


@contextlib.contextmanager
def magnitudes():
    """Within, gradients are sums of absolute terms. What the further vertex adds counts as it is."""
    with mock.patch.object(integrator, "settle", settle_magnitudes):
        cache.forget()
        try:
            yield
        finally:
            cache.forget()
