"""What the coat reflects and what it lets pass are all of the light, at every angle."""

import numpy as np
import pytest

from endorender.render import radiance
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.scene import Constant, Directional, Mucosa, Pinhole, Scene, Tissue
from endorender.scene.surface import integrated
from tests.render.scenes import THRESHOLD, affine, from_distance

DEGREES = (0, 45, 60, 75, 80, 85, 88)
ROUGH = (0.02, 0.06, 0.3, 0.6)
# Tissue beyond z = 6 mm, so wide that no light at a slant enters from the side.
PLANE = from_distance(lambda p: p[..., 2] - 6, (25, 25, 13), affine((16.0, 16.0, 1.0)))
EVEN = (Constant(),)


def towards(degrees):
    angle = np.radians(degrees)
    return np.array([np.sin(angle), 0, np.cos(angle)])


def wall(degrees, lights=EVEN, surface="interface", side=1.0, fov=0.02, size=4, mucosa=None, limit=10_000, **tissue):
    """The plane seen at an angle from its normal; side -1: from within the tissue."""
    d = towards(degrees) * (1, 1, side)
    x = np.cross((0, 1, 0), d)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x / np.linalg.norm(x), np.cross(d, x / np.linalg.norm(x)), d], 1)
    pose[:3, 3] = np.array([192, 192, 6]) - 400 * d
    optics = Tissue(**{"sigma_t": (0, 0, 0, 0), "specular": 1.0, **tissue})
    camera = Pinhole(width=size, height=size, fov=fov)
    return Scene(PLANE, camera, pose, lights, optics, THRESHOLD, surface, mucosa, limit)


def albedo(degrees, alpha, ior=1.4):
    """Directional albedo of the coat, by quadrature."""
    numbers = (np.array([x], np.float32) for x in (np.cos(np.radians(degrees)), alpha, ior))
    return float(integrated(*numbers, 48)[0, 0, 0])


def seen(scene, spp=4096, render=None):
    image = render(scene, spp, 1) if render else radiance([scene], spp, 1)[0]
    return float(image.mean[..., 1].mean())


@pytest.mark.parametrize("render", [None, radiance_simple], ids=["volpath", "simple"])
@pytest.mark.parametrize("alpha", ROUGH)
def test_furnace_over_angles_at_a_wall(alpha, render):
    """Even light all round and clear tissue: what is mirrored and what passes is 1 together."""
    found = [seen(wall(degrees, roughness=alpha), render=render) for degrees in DEGREES]
    np.testing.assert_allclose(found, 1, atol=0.01)


@pytest.mark.parametrize("alpha", ROUGH)
def test_furnace_over_angles_in_hybrid(alpha):
    """White tissue whose every collision is with a surface."""
    white = {"sigma_t": (0, 3, 3, 3), "albedo": ((1, 1, 1),) * 4, "surface_weight": 1, "gradient_scale": 1.0}
    found = [seen(wall(degrees, surface="hybrid", roughness=alpha, **white), 1024) for degrees in DEGREES]
    np.testing.assert_allclose(found, 1, atol=0.01)


@pytest.mark.parametrize("render", [None, radiance_simple], ids=["volpath", "simple"])
@pytest.mark.parametrize("alpha", [0.06, 0.3])
def test_light_that_leaves_has_lost_what_the_coat_reflects(alpha, render):
    for degrees in (0, 60, 80, 85):
        found = seen(wall(degrees, side=-1.0, roughness=alpha), 64, render)
        assert found == pytest.approx(1 - albedo(degrees, alpha), abs=0.006)


@pytest.mark.parametrize("render", [None, radiance_simple], ids=["volpath", "simple"])
@pytest.mark.parametrize("degrees", [0, 60, 80, 85])
def test_shadow_rays_lose_what_the_coat_reflects(degrees, render):
    """Single scattering in thin tissue under parallel light, over the same without a coat."""
    alpha, lamp = 0.1, (Directional(direction=tuple(towards(degrees)), irradiance=1000.0, attached="world"),)
    thin = {"sigma_t": (0.01,) * 4, "limit": 1, "roughness": alpha}
    coated, black, bare = (
        seen(wall(20, lamp, albedo=((a, a, a),) * 4, specular=s, **thin), 16384, render)
        for a, s in ((0.5, 1.0), (0.0, 1.0), (0.5, 0.0))
    )
    wanted = (1 - albedo(20, alpha)) * (1 - albedo(degrees, alpha))
    assert (coated - black) / bare == pytest.approx(wanted, abs=0.012)


def test_a_wavy_film_keeps_nearly_all_light():
    """What the film's waves send below the wall is lost: less than 2 % on average at any angle."""
    for degrees in DEGREES:
        scene = wall(degrees, fov=2, size=24, roughness=0.06, mucosa=Mucosa(vessels=0, film=0.4))
        assert 0.98 < seen(scene, 64) < 1.005


def test_a_levelled_film_keeps_nearly_all_light():
    """So does a film that fills bumps: its normal is not that of the wall under it."""
    waves = from_distance(lambda p: p[..., 2] - 6 - 0.2 * np.sin(p[..., 0] * 0.4), (25, 25, 13), affine((16, 16, 1)))
    for degrees in DEGREES:
        scene = wall(degrees, fov=2, size=24, roughness=0.06, mucosa=Mucosa(vessels=0, film=0.1, levelling=3.0))
        assert 0.98 < seen(scene.with_(medium=waves), 64) < 1.005
