"""`--label` chooses the organ in all that fly through a CT: `view`, `fit` and `gallery` as `render` does."""

import json
import sys
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from endorender.ct import open_ct, prepare, read_organ
from endorender.dataset.gallery import aliases, gallery, shots
from endorender.errors import UserError
from endorender.inverse import calibrate
from endorender.viewer.page import _ct
from tests.cli.test_main import mistake, run
from tests.ct.test_cleanse import colon


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two tubes side by side, of 13 and 8 mm radius, and a mask of organs: 20 round the smaller, 6 the other; in one
    folder, under a patient's name."""
    folder = tmp_path_factory.mktemp("MUELLER")
    x, y, z = np.meshgrid(*map(np.arange, (70, 44, 64)), indexing="ij")
    tubes = np.minimum(np.hypot(x - 20, y - 22) - 13, np.hypot(x - 54, y - 22) - 8)
    hu = -1000 + 1040 * np.clip(0.5 + np.maximum(tubes, np.abs(z - 32) - 28), 0, 1)
    nib.save(nib.Nifti1Image(np.rint(hu).astype(np.int16), np.eye(4)), folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(np.where(x > 40, 20, 6).astype(np.uint8), np.eye(4)), folder / "organs.nii.gz")
    return str(folder / "scan.nii.gz"), f"{folder / 'organs.nii.gz'}:20"


def across(poses):
    return np.asarray(poses)[:, 0, 3]


def test_view(two):
    pytest.importorskip("viser", reason="needs the extra: pip install 'endorender[view]'")
    ct, label = two
    quiet = lambda done, total, text: None  # noqa: E731
    assert (across(_ct(ct, "cpu", quiet)._poses) < 37).all()
    assert (across(_ct(ct, "cpu", quiet, label=label)._poses) > 37).all()
    both = across(_ct(ct, "cpu", quiet, region=(1, 2))._poses)
    assert (both < 37).any()
    assert (both > 37).any()


def test_fit(two, monkeypatch, tmp_path):
    """Its plausible views lie in the lumen under the mask."""
    module = calibrate.__globals__
    seen = []

    def scenes(ready, *rest):
        seen.append(ready)
        raise UserError("far enough", "STOPPED")

    monkeypatch.setitem(module, "_scenes", scenes)
    ramp = np.repeat(np.broadcast_to(np.linspace(20, 220, 64).astype(np.uint8), (48, 64))[..., None], 3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "0.png")
    ct, label = two
    with pytest.raises(UserError, match="far enough"):
        calibrate(ct, tmp_path, {"type": "pinhole"}, label=label)
    raw = open_ct(ct)
    assert np.array_equal(seen[0].lumen.mask, prepare(raw, label=read_organ(label, raw)[0]).lumen.mask)
    assert (seen[0].path.points[:, 0] > 37).all()


def test_fit_refuses_poses_in_another_lumen(two, tmp_path):
    """As `render --poses` does, by number; what tagged fluid filled is lumen with --cleanse."""
    ramp = np.repeat(np.broadcast_to(np.linspace(20, 220, 64).astype(np.uint8), (48, 64))[..., None], 3, axis=2)
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, 3] = (54, 22, 20), (20, 22, 20)
    for n in range(2):
        Image.fromarray(ramp).save(tmp_path / f"{n}.png")
    (tmp_path / "poses.json").write_text(json.dumps(poses.tolist()))
    (tmp_path / "camera.json").write_text(json.dumps({"type": "pinhole"}))
    ct, label = two
    arguments = ("fit", "--ct", ct, "--images", tmp_path, "--camera", tmp_path / "camera.json", "--poses",
                 tmp_path / "poses.json", "--out", tmp_path / "out.yaml")  # fmt: skip
    assert "photograph 2 lies" in mistake(*arguments, "--label", label)
    assert "photograph 1 lies" in mistake(*arguments, "--region", 1)
    assert not (tmp_path / "out.yaml").exists()


def test_cleanse_in_all_that_fly(tmp_path, monkeypatch):
    wet = colon(-3.0)
    ct = str(tmp_path / "wet.nii.gz")
    nib.save(nib.Nifti1Image(wet.hu, wet.affine), ct)
    seen = []

    def stop(volume, *_):
        seen.append("cleansed_ml" in volume.meta)
        raise UserError("far enough", "STOPPED")

    monkeypatch.setattr("endorender.ct.prepare", stop)
    (tmp_path / "photographs").mkdir()
    ramp = np.repeat(np.broadcast_to(np.linspace(20, 220, 64).astype(np.uint8), (48, 64))[..., None], 3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "photographs" / "0.png")
    quiet = lambda done, total, text: None  # noqa: E731
    for cleanse in (False, True):
        with pytest.raises(UserError, match="far enough"):
            next(shots((ct,), (), (16, 12), 1, 1, 0, quiet, None, cleanse))
        with pytest.raises(UserError, match="far enough"):
            calibrate(ct, tmp_path / "photographs", {"type": "pinhole"}, cleanse=cleanse)
        assert seen[-2:] == [cleanse] * 2
        if find_spec("viser"):
            with pytest.raises(UserError, match="far enough"):
                _ct(ct, "cpu", quiet, cleanse=cleanse)
            assert seen[-1] is cleanse


def test_gallery_reads_as_render_does(two, tmp_path):
    """Every option of reading; of several CTs the one that is refused is named by alias."""
    ct, _ = two
    gallery_of = ("gallery", "--out", tmp_path / "out", "--ct", ct)
    assert "no region 3" in mistake(*gallery_of, "--region", "1,3")
    assert "p001: no region 3" in mistake(*gallery_of, "--ct", "sample", "--region", 3)
    render, own = (run(name, "--help").output for name in ("render", "gallery"))
    for option in ("--region", "--series", "--phase", "--resample", "--assume-hu", "--cleanse", "--label"):
        assert option in render
        assert option in own
        assert option in run("fit", "--help").output
        assert option in run("view", "--help").output


def test_names_of_organs_are_told_from_files_that_are_not_there(two, tmp_path):
    ct, label = two
    wrong = label.replace(":20", ":colon")
    for command in (["render", "--ct", ct, "--out", tmp_path / "out"], ["inspect", ct], ["view", ct]):
        line = mistake(*command, "--label", wrong)
        assert "labels of a mask are numbers" in line
        assert "MUELLER" not in line


def test_gallery(two, monkeypatch):
    """And it names its pictures by alias."""
    ct, label = two
    shown = []

    def chosen(scene, poses, views):
        shown.append(across(poses))
        raise UserError("far enough", "STOPPED")

    monkeypatch.setattr(sys.modules[shots.__module__], "chosen", chosen)
    for masks in ((), (label,)):
        with pytest.raises(UserError, match="far enough"):
            next(shots((ct,), masks, (16, 12), 1, 1, 0, lambda done, text: None))
    assert (shown[0] < 37).all()
    assert (shown[1] > 37).all()
    assert aliases(["sample", ct, "phantom:4", ct]) == ["sample", "p002", "phantom:4", "p004"]
    with pytest.raises(UserError, match="2 masks for 1 CTs"):
        gallery("nowhere", (ct,), label=(label, label))
