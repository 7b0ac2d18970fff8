"""Against an independent renderer: Mitsuba 3's converged images, by z-test with stored variance."""

import numpy as np
import pytest

from tests.render.proofs import mitsuba
from tests.render.reference import SCENES


@pytest.mark.parametrize("reference", SCENES, ids=lambda r: r.name)
def test_same_picture_as_mitsuba(reference):
    found, quiet = mitsuba(reference)
    assert quiet < 1e-4  # pixels that see the constant background alone
    assert found.share_within() >= 0.9975
    assert found.rms < 1.15
    assert ((np.abs(found.mean_z) < 3) | (np.abs(found.mean_bias) < 5e-4)).all()
