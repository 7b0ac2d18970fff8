"""Against an independent renderer: Mitsuba 3's converged images, by z-test with stored variance."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from endorender.render import radiance
from tests.render.reference import SCENES, build

REFS = Path(__file__).parents[1] / "refs"
SPP = {"a": 256, "b": 128, "c": 64}


@pytest.mark.parametrize("reference", SCENES, ids=lambda r: r.name)
def test_same_picture_as_mitsuba(reference):
    stored = np.load(REFS / f"{reference.name}.npz")
    ours = radiance([build(reference)], SPP[reference.name[0]], 1)[0]
    variance = ours.variance.astype(float) + stored["variance"]
    difference = ours.mean.astype(float) - stored["mean"]
    noisy = variance > 0
    assert np.abs(difference[~noisy]).max(initial=0) < 1e-4  # pixels that see the constant background alone
    z = difference[noisy] / np.sqrt(variance[noisy])
    limit = norm.isf(0.5 * (1 - 0.99 ** (1 / z.size)))
    assert (np.abs(z) <= limit).mean() >= 0.9975
    assert np.sqrt((z**2).mean()) < 1.15
    pixels = difference[..., 0].size
    error = np.sqrt(variance.sum((0, 1))) / pixels
    allowed = np.maximum(3 * error, 5e-4 * stored["mean"].mean((0, 1)))
    assert (np.abs(difference.mean((0, 1))) < allowed).all()
