"""Lights on the host: colours, frames, maps read from files, and what is refused."""

import hashlib

import numpy as np
import pytest

from endorender.dataset import exr
from endorender.errors import UserError
from endorender.scene import Disk, EnvironmentMap, Rectangle, lights, maps
from endorender.scene.colour import LUMINANCE, planckian, planckian_xy


@pytest.mark.parametrize(
    # CIE standard illuminant A, and black bodies from CIE tables to three digits.
    ("kelvin", "xy"),
    [(2856, (0.4476, 0.4074)), (4000, (0.380, 0.377)), (6504, (0.3135, 0.3237)), (10000, (0.281, 0.288))],
)
def test_chromaticity_of_black_bodies(kelvin, xy):
    np.testing.assert_allclose(planckian_xy(kelvin), xy, atol=1e-3)


def test_temperature_tints_and_keeps_luminance():
    np.testing.assert_allclose(planckian(6504.0), 1, atol=0.05)
    tints = np.array([planckian(float(k)) for k in (1667, 2000, 3000, 5000, 8000, 25000)])
    np.testing.assert_allclose(tints @ LUMINANCE, 1)
    assert tints.min() >= 0
    assert (np.diff(tints[:, 0]) < 0).all()
    assert (np.diff(tints[:, 2]) > 0).all()
    lit = Disk(temperature=3000, intensity=5.0).emitters(np.eye(4)).intensity[0]
    np.testing.assert_allclose(lit, 5 * planckian(3000))


@pytest.mark.parametrize(("name", "case"), lights.cases())
def test_every_light_takes_a_colour_or_a_temperature(name, case):
    case = {k: v for k, v in case.items() if k not in ("colour", "temperature")}

    def strength(**colour):
        light = lights.build({"type": name, **case, **colour})
        if hasattr(light, "environment"):
            return light.environment().astype(float)
        return light.emitters(np.eye(4)).intensity

    white = strength()
    np.testing.assert_allclose(strength(colour=(0.5, 1, 2)), white * [0.5, 1, 2], rtol=1e-6)
    np.testing.assert_allclose(strength(temperature=4000), white * planckian(4000.0), rtol=1e-6)
    with pytest.raises(UserError, match="not both"):
        strength(temperature=4000, colour=(1, 0, 0))


def test_a_placed_light_moves_with_its_frame():
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    pose[:3, 3] = (10, 20, 30)
    light = Rectangle(position=(1, 2, 3), direction=(0, 0, 2), up=(0, -3, 1), width=4, height=2)
    held = light.emitters(pose)
    np.testing.assert_allclose(held.position, [[13, 21, 32]])
    np.testing.assert_allclose(held.axis, [[1, 0, 0]])
    np.testing.assert_allclose(held.half[0], [[0, -2, 0], [0, 0, -1]], atol=1e-12)  # camera: left, up
    np.testing.assert_allclose(held.area, 8)
    still = light.model_copy(update={"attached": "world"}).emitters(pose)
    np.testing.assert_allclose(still.position, [[1, 2, 3]])
    np.testing.assert_allclose(still.axis, [[0, 0, 1]])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "spot", "inner": 40, "outer": 30}, "inner angle cannot exceed"),
        ({"type": "ring", "inner": 6}, "inner radius must be less"),
        ({"type": "disk", "direction": (0, 0, 0)}, "direction: a direction cannot be 0"),
        ({"type": "disk", "radius": 0}, "radius: .*greater than or equal to 0.001"),
        ({"type": "rectangle", "up": (0, 0, 3)}, "up cannot be along"),
        ({"type": "point", "temperature": 500}, "temperature: .*1667"),
        ({"type": "constant", "radiance": -1}, "radiance: a light cannot be negative"),
        ({"type": "envmap"}, "one of pixels, file and map"),
        ({"type": "envmap", "map": "studio", "pixels": [[[1, 1, 1]]]}, "one of pixels, file and map"),
        ({"type": "envmap", "map": "kitchen"}, "no map is called 'kitchen'; there are: courtyard, interior, studio"),
        ({"type": "envmap", "pixels": [[[1, 1, 1]], []]}, "rows of one length"),
        ({"type": "envmap", "file": "nowhere.exr"}, "file: no such file"),
        ({"type": "envmap", "file": "sha256:00"}, "give the file again"),
    ],
)
def test_mistakes_are_one_line(spec, words):
    with pytest.raises(UserError, match=words) as error:
        lights.build(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", maps.MAPS)
def test_shipped_maps(name):
    m = EnvironmentMap(map=name).environment()
    assert m.shape == (64, 128, 3)
    assert m.min() >= 0
    assert (m[[0, -1]] == m[[0, -1], :1]).all()  # a pole is one direction
    sin = np.sin(np.linspace(0, np.pi, 64))
    assert (m @ LUMINANCE).mean(1) @ sin / sin.sum() == pytest.approx(1, rel=5e-3)
    assert m.max() > 10  # high dynamic range


def grid(path, values, names="RGB", dtype=np.float32):
    exr.write(path, {c: np.asarray(values, dtype)[..., k] for k, c in enumerate(names)}, {})
    return path


def test_a_file_is_kept_by_its_content(tmp_path):
    values = np.random.default_rng(0).random((4, 6, 3)).astype(np.float32)
    path = grid(tmp_path / "ward.exr", values)
    light = lights.build({"type": "envmap", "file": str(path), "scale": 2})
    np.testing.assert_allclose(light.environment(), 2 * values)
    told = lights.dump(light)
    assert told["file"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert "ward" not in str(told)
    path.unlink()
    assert lights.build(told) == light  # still known in this process
    np.testing.assert_allclose(lights.build(told).environment(), 2 * values)


def test_files_that_are_no_radiance(tmp_path):
    one = np.ones((4, 6, 3))
    grey = EnvironmentMap(file=str(grid(tmp_path / "y.exr", 3 * one[..., :1], "Y", np.float16)))
    np.testing.assert_allclose(grey.environment(), 3 * one)
    dim = one.copy()
    dim[0, 0] = -0.003  # as lossy compression leaves it
    np.testing.assert_allclose(
        EnvironmentMap(file=str(grid(tmp_path / "dwa.exr", dim))).environment(), np.maximum(dim, 0)
    )
    dim[0, 0] = np.inf
    (tmp_path / "text.exr").write_text("not at all")
    for path, words in (
        (grid(tmp_path / "inf.exr", dim), "not finite"),
        (grid(tmp_path / "minus.exr", -one), "negative radiance"),
        (grid(tmp_path / "z.exr", one[..., :1], "Z"), "needs channels R, G and B, or Y; it has Z"),
        (tmp_path / "text.exr", "cannot be read as EXR"),
        (tmp_path, "no such file"),
    ):
        with pytest.raises(UserError, match=f"file: .*{words}") as error:
            lights.build({"type": "envmap", "file": str(path)})
        assert "\n" not in str(error.value)
