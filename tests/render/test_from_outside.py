"""Models that other code registers: found by their names, traced like our own, and no file of ours is touched."""

import dataclasses
import functools

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.render import geometry, radiance
from endorender.render.images.gradient import gradient
from endorender.render.integrators import integrators
from endorender.scene import Constant, Directional, Disk, Isotropic, Point, Scene, cameras, lights, phase_functions
from endorender.scene.halfspace import reflectance
from endorender.scene.light import Shape, shapes
from endorender.scene.surface import coats
from tests.plugin.fibrescope_optics import Beacon, Fog, Linear, Matte, Overhead, Pair
from tests.registering import registered
from tests.render.proofs import oracle
from tests.render.scenes import cube_scene, tube_scene
from tests.render.test_coat import seen, towards, wall


def test_a_phase_function():
    """Light that comes along (0.6, 0, 0.8) and is thrown back along -z, over that of an isotropic medium."""
    with registered(phase_functions, "linear", Linear):
        beam = (Directional(direction=(3.0, 0.0, 4.0), irradiance=10.0, attached="world"),)
        given = {"size": 4, "fov": 0.01, "max_scatterings": 1}
        one, even = (
            radiance([cube_scene(1.0, 0.8, beam, phase=phase, **given)], 16, 1)[0].mean
            for phase in (phase_functions.build({"type": "linear", "b": 0.5}), Isotropic())
        )
        np.testing.assert_allclose(one, even * (1 - 0.5 * 0.8), rtol=2e-4)
        # And it is drawn as it is: an even light all round shows white particles nowhere.
        white = cube_scene(3.0, 1.0, [Constant()], phase=phase_functions.build({"type": "linear", "b": -0.9}))
        assert radiance([white], 256, 1)[0].mean.mean() == pytest.approx(1, abs=5e-3)


def test_a_light():
    with registered(lights, "pair", Pair):
        points = tuple(Point(position=(x, 0, 0), intensity=(50.0,) * 3) for x in (-1.0, 1.0))
        one, two = (radiance([tube_scene(lights=light)], 4, 1)[0] for light in ((Pair(),), points))
        assert one.mean.tobytes() == two.mean.tobytes()


def test_the_fall_off_of_a_light():
    """cos⁴ about its axis: a lamp of a class of its own lights a matte wall by it, beside one that has no profile."""
    with registered(lights, "beacon", Beacon):
        bright = {"sigma_t": (0, 9, 9, 9), "albedo": ((1.0,) * 3,) * 4}
        far = Point(position=(192, 192, -34), intensity=(0.0,) * 3, attached="world")
        for degrees in (0, 30, 60):
            angle = np.radians(degrees)
            lamp = Beacon(position=(192 - 40 * np.tan(angle), 192, -34), power=4.0, attached="world", intensity=9.0)
            found = seen(wall(0, (far, lamp), **bright).with_(coat="lambertian"), 256)
            wanted = 9 * np.cos(angle) ** (4 + 3) / 40**2 * reflectance(1.0) / np.pi
            assert found == pytest.approx(wanted, rel=0.02)
        # A disk of it: by both strategies in the one integrator, by samples alone in the other.
        lamp = Beacon(position=(1.0, 0.0, 2.0), power=4.0, radius=2.0, intensity=200.0)
        found = oracle(tube_scene(size=(6, 4), lights=(lamp,), albedo=[[0.9, 0.6, 0.4]] * 4), 256)
        assert found.rms < 1.25
        assert np.abs(found.mean_z).max() < 3.5


class Half(Shape):
    """The half of a disk where a > 0."""

    @staticmethod
    def area(hole):
        return np.pi / 2

    @staticmethod
    @functools.cache
    def device(draws):
        from endorender.engine import ti

        @ti.func
        def spread(u, v, hole2):
            return ti.sqrt(u) * ti.math.vec2(ti.cos(3.14159265 * (v - 0.5)), ti.sin(3.14159265 * (v - 0.5)))

        @ti.func
        def holds(a, b, hole2):
            return a > 0.0 and a * a + b * b < 1.0

        return spread, holds


class HalfDisk(Disk):
    """A disk of which one half shines, with all of its intensity."""

    def emitters(self, world_from_camera):
        return dataclasses.replace(super().emitters(world_from_camera), shape=Half)


def test_the_shape_of_a_light():
    with registered(shapes, "half", Half), registered(lights, "half_disk", HalfDisk):
        # Looked at through nothing: half of the disk, twice as bright.
        given = {"position": (0.5, 0.5, 0.5), "direction": (0, 0, -1), "radius": 0.4, "attached": "world"}
        whole, half = (
            radiance([cube_scene(0.0, 0.5, [cls(**given)], size=24)], 4, 1)[0].mean[..., 0] for cls in (Disk, HalfDisk)
        )
        assert half.max() == pytest.approx(2 * whole.max(), rel=1e-5)
        assert half.sum() == pytest.approx(whole.sum(), rel=0.02)
        assert (half > 0).sum() == pytest.approx((whole > 0).sum() / 2, rel=0.1)
        # And it shines as it is met: by both strategies in the one, by samples alone in the other.
        light = HalfDisk(position=(1.0, 0.0, 2.0), direction=(0, 0, 1), radius=2.0, intensity=200.0)
        found = oracle(tube_scene(size=(6, 4), lights=(light,), albedo=[[0.9, 0.6, 0.4]] * 4), 256)
        assert found.rms < 1.25
        assert np.abs(found.mean_z).max() < 3.5


def test_a_camera():
    """On its head it sees what a pinhole that is turned sees."""
    with registered(cameras, "overhead", Overhead):
        light = (Point(position=(13, 12, 9), intensity=(100.0,) * 3, attached="world"),)
        scene = tube_scene(lights=light)
        turned = scene.with_(world_from_camera=scene.world_from_camera @ np.diag([-1.0, -1, 1, 1]))
        head = scene.with_(camera={"type": "overhead", "width": 12, "height": 8, "fov": 90})
        assert radiance([head], 4, 1)[0].mean.tobytes() == radiance([turned], 4, 1)[0].mean.tobytes()
        np.testing.assert_array_equal(geometry(head).distance, geometry(turned).distance)
        again = Scene.from_dict(head.medium, head.to_dict())
        assert type(again.camera) is Overhead


@pytest.mark.parametrize("degrees", [0, 60])
def test_a_coat_over_black_tissue_by_lamberts_law(degrees):
    lamp = (Directional(direction=tuple(towards(degrees)), irradiance=2.0, attached="world"),)
    with registered(coats, "matte", Matte):
        black = {"sigma_t": (0, 9, 9, 9), "albedo": ((0, 0, 0),) * 4}
        scene = wall(20, lamp, specular=0.3, **black).with_(coat="matte")
        assert seen(scene, 4) == pytest.approx(0.3 * 2 * np.cos(np.radians(degrees)) / np.pi, rel=1e-4)


def test_a_coat_in_both_integrators():
    with registered(coats, "matte", Matte):
        scene = tube_scene(size=(6, 4), sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4, specular=0.5)
        found = oracle(scene.with_(coat="matte"), 256)
        assert found.rms < 1.25
        assert np.abs(found.mean_z).max() < 3.5


def test_a_coat_belongs_to_the_scene():
    with registered(coats, "matte", Matte):
        plain = tube_scene()
        matte = plain.with_(coat="matte")
        assert "coat" not in plain.to_dict()
        assert matte.to_dict()["coat"] == {"type": "matte"}
        assert type(Scene.from_dict(matte.medium, matte.to_dict()).coat) is Matte
        with pytest.raises(UserError, match="gradients cover the coat wet_ggx, not matte") as error:
            gradient(matte, np.ones((8, 12, 3)), ("albedo",), 1, 1)
        assert error.value.code == "NOT_DIFFERENTIABLE"
        with pytest.raises(UserError) as error:
            radiance([plain, matte], 1, 1)
        assert error.value.code == "NOT_SHAREABLE"
    with pytest.raises(UserError, match="wet_ggx"):
        plain.with_(coat="mat")


def test_an_integrator():
    with registered(integrators, "fog", Fog):
        assert "fog" in list(integrators)
        made = radiance([tube_scene()], 2, 1, integrator={"type": "fog", "light": 0.25})[0]
        assert made.mean.shape == (8, 12, 3)
        assert (made.mean == 0.25).all()
        # What holds for all is asked before.
        with pytest.raises(UserError, match="spp must be at least 1"):
            radiance([tube_scene()], 0, 1, integrator="fog")
