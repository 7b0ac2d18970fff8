"""What a path draws first: uniform by itself, even over the samples of a pixel, and worth it."""

import numpy as np
from scipy.stats import chisquare, qmc

from endorender.engine import ti
from endorender.render import radiance
from endorender.render.device import backend, rng
from endorender.scene import Constant
from tests.render.scenes import cube_scene

PIXELS, SAMPLES = 2048, 64


def points():
    """(pixels, samples, 5) of a frame."""
    backend.ensure()
    out = np.empty((PIXELS, SAMPLES, 5), np.float32)

    @ti.kernel
    def run(key: ti.u64, out: ti.types.ndarray()):
        for i, s in ti.ndrange(PIXELS, SAMPLES):
            u = rng.lattice(key, i, s)
            for d in ti.static(range(5)):
                out[i, s, d] = u[d]

    run(rng.key(3, 0), out)
    return out


def test_each_point_is_uniform_and_the_points_of_a_pixel_are_even():
    found = points()
    assert found.min() >= 0
    assert found.max() < 1
    for sample in (0, 1, 63):
        # Over pixels, every sample by itself: one number at a time, and every two of them.
        u = found[:, sample]
        for d in range(5):
            assert chisquare(np.histogram(u[:, d], 16, (0, 1))[0]).pvalue > 1e-4
            for e in range(d):
                pairs = np.histogram2d(u[:, d], u[:, e], 8, [[0, 1]] * 2)[0]
                assert chisquare(pairs.ravel()).pvalue > 1e-4
    ours = np.mean([qmc.discrepancy(p.astype(float)) for p in found[:64]])
    random = np.mean([qmc.discrepancy(p) for p in np.random.default_rng(0).random((64, SAMPLES, 5))])
    assert ours < 0.5 * random


def test_pictures_differ_less_than_independent_samples_would():
    scene = cube_scene(8.0, 0.9, [Constant(radiance=(1, 1, 1))], size=12)
    rounds = [radiance([scene], 64, seed)[0] for seed in range(24)]
    between = np.var([r.mean for r in rounds], 0, ddof=1).mean()
    assert between < 0.75 * np.mean([r.variance for r in rounds])
