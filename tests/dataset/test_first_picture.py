"""What a newcomer sees first: the preset where none is named."""

import sys

import numpy as np
import pytest

from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.fingerprint import fingerprint
from endorender.errors import UserError
from tests.dataset.tubes import tube

SMALL = {"views": 1, "size": "48x36", "spp": 4}


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp("ct") / "ct.nii.gz")


def test_the_first_picture_is_a_denoised_one_by_a_scopes_camera(ct, tmp_path):
    (frame,) = open_dataset(generate(configure(ct=str(ct), **SMALL), tmp_path / "data")).frames
    image, seen = frame.image(), np.isfinite(frame.geometry()["z_depth"])
    assert frame.variation == "typical"
    assert frame.denoised
    assert frame.camera["type"] == "fisheye"
    assert frame.camera["fov"] == 140
    assert not image[[0, 0, -1, -1], [0, -1, 0, -1]].any()  # the mask cuts the corners
    assert seen[18, 24]
    lit = image[image.any(-1)].astype(float)
    assert 110 < np.percentile(lit.mean(-1), 75) < 190  # neither dark nor burnt out
    red, green, blue = np.median(lit, axis=0)
    assert red > 1.3 * green
    assert green > 0.8 * blue


def test_a_preset_or_variations_of_ones_own_are_what_they_were():
    assert configure(ct="sample").preset == "typical"
    four = configure(ct="sample", preset="paper4")
    assert not four.denoise
    assert four.camera["type"] == "pinhole"
    # As stored before there was `typical`: such datasets go on.
    own = configure(ct="sample", variations=[{"name": "plain"}])
    assert own.public()["preset"] == "paper4"
    assert fingerprint(own.public()) == fingerprint({**four.public(), "variations": own.public()["variations"]})
    # What is said counts, whatever the preset says.
    said = configure(ct="sample", camera="pinhole:fov=90", denoise=False)
    assert (said.camera["type"], said.denoise, said.preset) == ("pinhole", False, "typical")


def test_a_denoiser_that_is_missing_is_told_of_before_anything_is_traced(ct, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    with pytest.raises(UserError, match=r"endorender\[denoise\].*--no-denoise") as refused:
        generate(configure(ct=str(ct), **SMALL), tmp_path / "data")
    assert refused.value.code == "MISSING_EXTRA"
    assert not (tmp_path / "data").exists()
    generate(configure(ct=str(ct), preset="synthetic", denoise=True, **SMALL), tmp_path / "plain")  # nothing to denoise
