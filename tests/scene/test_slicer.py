"""Presets of 3D Slicer: what they say arrives, and no path does."""

import json

import numpy as np
import pytest

from endorender.dataset import configure, draw
from endorender.errors import UserError
from endorender.scene import tissues
from endorender.scene.physical import reflectance

HEAD = "1\n1\n0.9\n0.1\n0.2\n10\n"
OPACITY = "8 -3024 0 -400 0 100 0.5 1200 1\n"
COLOUR = "12 -3024 0 0 0 0 1 0.5 0.5 1200 1 1 1\n"


@pytest.fixture
def preset(tmp_path):
    def write(text=HEAD + OPACITY + "4 0 1 255 1\n" + COLOUR):
        path = tmp_path / "MUELLER_skin.vp"
        path.write_text(text)
        return {"type": "slicer", "file": str(path), "density": 4.0}

    return write


def test_opacity_becomes_extinction_and_colour_what_a_thick_layer_reflects(preset):
    tissue = tissues.build(preset())
    table = tissue.table(np.array([-400.0, -150.0, 100.0, 650.0, 1200.0, 3000.0]))
    np.testing.assert_allclose(table[:, 0], [0, 1, 2, 3, 4, 4], rtol=1e-6)
    at_zero = tissue.table(np.array([0.0]))[0, -3:]
    dark = ((0.5 + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(reflectance(at_zero), 0.95 * np.array([1, dark, dark]), atol=2e-3)


def test_the_preset_is_kept_and_its_path_is_not(preset):
    spec = preset()
    config = configure(ct="sample", variations=[{"name": "a", "look": "deep_red", "tissue": spec}])
    drawn = draw(config.variations[0], config.light, np.random.default_rng(0))["tissue"]
    assert "MUELLER" not in json.dumps([config.public(), drawn])
    assert drawn["type"] == "slicer"
    assert tissues.build(drawn) == tissues.build(spec)


def test_gradient_opacity_arrives_in_hu_per_mm(preset):
    """A preset's gradients are HU per mean voxel pitch, which only who gives the preset can know."""
    spec = preset(HEAD + OPACITY + "8 0 0.25 40 0.25 120 1 255 1\n" + COLOUR)
    tissue = tissues.build(spec)
    assert tissue.gradient == (0, 40, 120, 255)
    np.testing.assert_allclose(tissue.opacities(np.array([0, 40, 80, 120, 999])), [0.25, 0.25, 0.625, 1, 1])
    fine = tissues.build({**spec, "pitch": 0.5})
    np.testing.assert_allclose(fine.opacities(np.array([80, 160, 240])), [0.25, 0.625, 1])
    assert tissues.build(tissues.dump(fine)) == fine
    assert tissues.build(preset()).gradient is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\n2\n", "not a preset of 3D Slicer"),
        (HEAD + "7 -3024 0 -400 0 100 0.5 1200 1\n4 0 1 255 1\n" + COLOUR, "line 7: must be a count"),
        (HEAD + "4 100 0 -400 0\n4 0 1 255 1\n" + COLOUR, "line 7: HU must rise"),
        (HEAD + OPACITY + "4 0 one 255 1\n" + COLOUR, "line 8: must be numbers"),
    ],
)
def test_broken_presets_are_one_line(preset, text, words):
    with pytest.raises(UserError, match=words) as error:
        tissues.build(preset(text))
    assert "\n" not in str(error.value)
