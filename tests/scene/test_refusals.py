"""Constructors refuse what files may not hold: numbers that are none, frames that are none."""

import dataclasses

import numpy as np
import pytest

from endorender.ct import Volume
from endorender.errors import UserError
from endorender.scene import Constant, GridMedium, Pinhole, Scene, Tissue
from tests.render.scenes import cube_scene, tube_scene

EYE = np.eye(4)
BAD = (np.nan, np.inf, -np.inf)


def refused(match, call, *args, **kwargs):
    with pytest.raises(UserError, match=match) as said:
        call(*args, **kwargs)
    assert said.value.code == "INVALID_VALUE"
    assert "\n" not in str(said.value)


def with_(array, place, value):
    out = np.array(array, float)
    out[place] = value
    return out


AFFINES = {
    "zeros below": with_(EYE, (3, 3), 0),
    "shifted below": with_(EYE, (3, 0), 1),
    "flat": with_(EYE, (2, 2), 0),
    "NaN": with_(EYE, (0, 3), np.nan),
    "infinite": with_(EYE, (0, 0), np.inf),
    "of 3": np.eye(3),
}
POSES = AFFINES | {
    "mirrored": np.diag([-1.0, 1, 1, 1]),
    "stretched": np.diag([1.01, 1, 1, 1]),
    "turned inside out": np.diag([-1.0, -1, -1, 1]),
    "sheared": with_(EYE, (0, 1), 0.1),
}


@pytest.mark.parametrize("name", AFFINES)
def test_affines(name):
    ones = np.ones((2, 2, 2), np.float32)
    refused("affine", Volume, ones, AFFINES[name])
    refused("affine", GridMedium, ones, np.ones((2, 2, 2, 3), np.float32), AFFINES[name])


@pytest.mark.parametrize("name", POSES)
def test_poses(name):
    refused("world_from_camera", tube_scene().with_, world_from_camera=POSES[name])


def test_a_scan_may_be_mirrored():
    assert Volume(np.zeros((2, 2, 2), np.int16), np.diag([-1.0, 1, 1, 1])).shape == (2, 2, 2)


@pytest.mark.parametrize("value", [*BAD, 40_000.0, -40_000.0])
def test_voxels_of_a_volume(value):
    refused("hu must be finite", Volume, with_(np.zeros((3, 3, 3)), (1, 1, 1), value), EYE)


@pytest.mark.parametrize("kind", [bool, complex, object])
def test_kinds_of_voxels(kind):
    refused("hu must be whole", Volume, np.zeros((3, 3, 3), kind), EYE)


def test_voxels_of_int16_are_not_looked_at(monkeypatch):
    """A scan of 512³ costs nothing to wrap."""

    class Watched(np.ndarray):
        def min(self, *args, **kwargs):
            raise AssertionError("looked at")

    Volume(np.zeros((3, 3, 3), np.int16).view(Watched), EYE)


@pytest.mark.parametrize(
    ("part", "value"), [*((p, v) for p in ("sigma_t", "albedo") for v in (*BAD, -1)), ("albedo", 2)]
)
def test_voxels_of_a_grid(part, value):
    medium = cube_scene(1.0, 0.5, [Constant()]).medium
    place = (1, 1, 1, 0)[: getattr(medium, part).ndim]
    refused(part, dataclasses.replace, medium, **{part: with_(getattr(medium, part), place, value)})


def test_a_grid_holds_what_float32_holds():
    medium = cube_scene(1.0, 0.5, [Constant()]).medium
    refused("sigma_t", dataclasses.replace, medium, sigma_t=with_(medium.sigma_t, (0, 0, 0), 1e39))


@pytest.mark.parametrize(
    ("name", "value"), [*(("threshold", v) for v in BAD), ("max_scatterings", -1), ("max_scatterings", 2.5)]
)
def test_numbers_of_a_scene(name, value):
    refused(name, tube_scene().with_, **{name: value})


def test_a_medium_is_one_of_two():
    refused("medium", Scene, np.zeros((3, 3, 3)), Pinhole(width=2, height=2, fov=60), EYE, (Constant(),))


@pytest.mark.parametrize("value", BAD)
def test_numbers_of_models(value):
    """Tissue, camera and light hold finite numbers alone, also inside lists."""
    for build in (
        lambda: Tissue(roughness=value),
        lambda: Tissue(sigma_t=(0, value, 1, 1)),
        lambda: Tissue(albedo=((value, 1, 1),) * 4),
        lambda: Pinhole(width=2, height=2, fov=value),
        lambda: Constant(radiance=(1, value, 1)),
    ):
        with pytest.raises(ValueError, match=r"finite|less|greater"):
            build()


NO_ARRAYS = {"lists": [[[0.0] * 2] * 2] * 2, "text": "abc", "None": None, "complex": np.zeros((2, 2, 2), complex)}


@pytest.mark.parametrize("name", NO_ARRAYS)
def test_no_arrays(name):
    value = NO_ARRAYS[name]
    colours = value if name != "complex" else np.zeros((2, 2, 2, 3), complex)
    refused("hu must be", Volume, value, EYE)
    refused("sigma_t must be", GridMedium, value, np.ones((2, 2, 2, 3)), EYE)
    refused("albedo must be", GridMedium, np.ones((2, 2, 2)), colours, EYE)


@pytest.mark.parametrize("value", ["abc", None, [[1.0]], [[1], [1, 2]], EYE.astype(complex), EYE.astype(object)])
def test_no_matrices(value):
    refused("affine", Volume, np.zeros((2, 2, 2), np.int16), value)
    refused("affine", GridMedium, np.ones((2, 2, 2)), np.ones((2, 2, 2, 3)), value)
    refused("world_from_camera", tube_scene().with_, world_from_camera=value)


def test_matrices_may_be_lists():
    assert Volume(np.zeros((2, 2, 2), np.int16), EYE.tolist()).to_world(np.ones(3)).tolist() == [1, 1, 1]
    assert isinstance(tube_scene().with_(world_from_camera=EYE.tolist()).world_from_camera, np.ndarray)


@pytest.mark.parametrize("value", [None, "nothing", 3])
def test_parts_of_a_scene(value):
    word = "no {} is called" if isinstance(value, str) else "a {} is a name"
    code = "UNKNOWN_NAME" if isinstance(value, str) else "INVALID_VALUE"
    medium, scene = cube_scene(1.0, 0.5, [Constant()]).medium, tube_scene()
    for kind, call in (
        ("camera", lambda: scene.with_(camera=value)),
        ("tissue", lambda: scene.with_(tissue=value)),
        ("light", lambda: scene.with_(lights=[value])),
        ("phase", lambda: dataclasses.replace(medium, phase=value)),
    ):
        with pytest.raises(UserError, match=word.format(kind)) as said:
            call()
        assert said.value.code == code
    refused("lights is a list", scene.with_, lights=value)
    refused("label_tissues is", scene.with_, label_tissues=value)
    if value != 3:
        refused("threshold", scene.with_, threshold=value)
        refused("max_scatterings", scene.with_, max_scatterings=value)


def test_one_light_is_no_list():
    refused("lights is a list", tube_scene().with_, lights=Constant())


def test_a_grid_no_scan_has():
    """The limits of the readers, which no file passes."""
    voxels = np.zeros((2, 2, 2), np.int16)
    for pitch in (1e6, 20.5, 0.019, 1e-3):
        refused("voxels of", Volume, voxels, np.diag([1, pitch, 1, 1]))
    for axis in (0, 1):
        refused("1.00 degrees from perpendicular", Volume, voxels, with_(EYE, (axis, 2), np.tan(np.radians(1))))
    Volume(voxels, with_(EYE, (0, 2), np.tan(np.radians(0.09))))
    Volume(voxels, np.diag([0.02, 20, 1, 1]))
