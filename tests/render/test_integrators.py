"""Integrators are found by their names, and whatever their ways they see the same light."""

import pytest

from endorender.errors import UserError
from endorender.render import radiance
from endorender.render.images.devices import z_scores
from endorender.render.integrators import integrators
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


def test_refuses_what_is_none():
    with pytest.raises(UserError, match="did you mean 'volpath'"):
        radiance([scene()], 1, 1, integrator="volpth")
    with pytest.raises(UserError, match="takes one condition") as error:
        radiance([scene(), scene()], 1, 1, integrator="volpath_simple")
    assert error.value.code == "NOT_SHAREABLE"
