"""Integrators are found by their names, and whatever their ways they see the same light."""

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.render import Radiance, radiance
from endorender.render.images.devices import z_scores
from endorender.render.integrators import Integrator, integrators
from tests.render.scenes import tube_scene


def scene():
    return tube_scene("volume", size=(6, 4), sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4).with_(
        max_scatterings=32
    )


def test_there_are_three():
    assert list(integrators) == ["adjoint", "volpath", "volpath_simple"]


@pytest.mark.parametrize(("name", "case"), integrators.cases())
def test_every_one_sees_the_same_and_keeps_its_bytes(name, case):
    if case.get("smooth_pixels"):
        pytest.skip("another filter: another picture")
    reference = radiance([scene()], 256, 1)[0]
    spec = {"type": name, **case}
    one, again = (radiance([scene()], 128, 2, 5, integrator=spec)[0] for _ in range(2))
    other = radiance([scene()], 128, 2, 6, integrator=spec)[0]
    assert one.mean.tobytes() == again.mean.tobytes() != other.mean.tobytes()
    mean_z, rms_z = z_scores(one, reference)
    assert mean_z < 4
    assert rms_z < 1.3  # of 24 pixels


@pytest.fixture
def from_outside():
    """What is registered within is forgotten."""
    before = dict(integrators._classes), dict(integrators._cases)
    yield integrators
    integrators._classes, integrators._cases = before


def test_one_from_outside_is_found_by_its_name(from_outside):
    @from_outside.register("fog")
    class Fog(Integrator):
        """The same light everywhere."""

        light: float = 0.5

        def trace(self, scenes, spp, seed, frame=0, progress=None):
            shape = (scenes[0].camera.height, scenes[0].camera.width, 3)
            return [Radiance(np.full(shape, self.light, np.float32), np.zeros(shape, np.float32), spp)]

    assert "fog" in list(integrators)
    made = radiance([scene()], 2, 1, integrator={"type": "fog", "light": 0.25})[0]
    assert made.mean.shape == (4, 6, 3)
    assert (made.mean == 0.25).all()
    # What holds for all is asked before.
    with pytest.raises(UserError, match="spp must be at least 1"):
        radiance([scene()], 0, 1, integrator="fog")


def test_refuses_what_is_none():
    with pytest.raises(UserError, match="did you mean 'volpath'"):
        radiance([scene()], 1, 1, integrator="volpth")
    with pytest.raises(UserError, match="takes one condition") as error:
        radiance([scene(), scene()], 1, 1, integrator="volpath_simple")
    assert error.value.code == "NOT_SHAREABLE"
