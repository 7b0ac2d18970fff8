"""What check-geometry counts, convicts and acquits: moved poses are found whether or not views still overlap."""

import json
import shutil

import numpy as np
import pytest

from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.against_ct import against
from endorender.dataset.consistency import check_geometry
from endorender.dataset.writer import row
from tests.cli.test_main import mistake, run
from tests.dataset.refusals import refusal
from tests.dataset.sphere import make
from tests.dataset.tubes import tube

SECRET = "MUELLER_HANS"
VALUES = {"size": "24x18", "spp": 1, "variations": [{"name": "plain"}, {"name": "second"}]}


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp(SECRET) / "ct.nii.gz")


@pytest.fixture(scope="module")
def rendered(ct, tmp_path_factory):
    config = configure(ct=str(ct), views=6, trajectory={"roll": 2}, **VALUES)
    return generate(config, tmp_path_factory.mktemp("rendered") / "data")


def moved(root, out, by, which=lambda frame: True):
    """A copy of a dataset with positions of chosen rows moved by (3,) mm, or by(frame)."""
    shutil.copytree(root, out)
    frames = open_dataset(root).frames
    for n, frame in enumerate(frames):
        if which(frame):
            pose = np.array(frame.world_from_camera)
            pose[:3, 3] += by(frame) if callable(by) else by
            frames[n] = frame.model_copy(update={"world_from_camera": tuple(map(tuple, pose.tolist()))})
    (out / "manifest.jsonl").write_text("".join(map(row, frames)))
    return open_dataset(out)


def scattered(frame):
    """40 mm in a direction of each view's own: no view sees its neighbour any more."""
    direction = np.random.default_rng(frame.view).normal(size=3)
    return 40 * direction / np.linalg.norm(direction)


def test_poses_that_were_moved_by_40_mm_are_found(rendered, tmp_path):
    found = check_geometry(moved(rendered, tmp_path / "data", scattered))
    assert found["verdict"] == "does not fit"
    assert len(found["patients"]["p001"]["faults"]["pose"]) == 6
    assert len(found["patients"]["p001"]["faults"]["flow"]) == 5
    assert found["unchecked"] >= 4  # what was skipped before, and so passed
    result = run("check-geometry", tmp_path / "data")
    assert result.exit_code == 1
    assert "DO NOT FIT" in result.output
    assert "of 5 pairs of views were checked" in result.output


@pytest.mark.parametrize(
    ("by", "which"),
    [
        ((40.0, 0, 0), lambda f: True),  # all alike: flow does not change
        ((0.0, 0, 40), lambda f: f.view == 3),  # one of many: no median over all pairs tells
        ((0.3, 0, 0), lambda f: f.view == 5 and f.variation == "second"),  # a row whose view is looked at by another
    ],
)
def test_a_pose_is_the_one_of_its_geometry(rendered, tmp_path, by, which):
    found = check_geometry(moved(rendered, tmp_path / "data", np.array(by), which))
    assert found["verdict"] == "does not fit"
    assert found["patients"]["p001"]["faults"]["pose"]


def test_the_ct_convicts_without_any_neighbour(rendered, ct, tmp_path):
    """Also where pose and header agree: here the files are a sound dataset's of another flight."""
    data = open_dataset(rendered)
    found = check_geometry(data, against=against(data, [str(ct)]))
    assert found["verdict"] == "fits"
    assert found["checked_against_ct"] == found["views"] == 6
    assert found["patients"]["p001"]["ct"] == {"checked": 6, "off": 0, "worst": 0, "depth_mm": 0, "views": []}
    for by in (40.0, 12.0, 0.6):  # out of the scan, into tissue, within the lumen
        bad = moved(rendered, tmp_path / f"{by}", np.array([by, 0, 0]), lambda f: f.view == 2)
        told = check_geometry(bad, against=against(bad, [str(ct)]))["patients"]["p001"]["ct"]
        assert told["views"] == ["view 2"]
        assert told["off"] == 1
    some = check_geometry(data, against=against(data, [str(ct)], most=2))
    assert some["checked_against_ct"] == 2
    other = tube(tmp_path / "other.nii.gz", radius=8.0)
    refusal("CT_CHANGED", check_geometry, data, against=against(data, [str(other)]))


def test_the_ct_from_the_command_line(rendered, ct, tmp_path):
    result = run("check-geometry", rendered, "--ct", ct, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["checked_against_ct"] == 6
    assert SECRET not in result.output
    assert "6 of 6 views were compared with the CT" in run("check-geometry", rendered, "--ct", ct).output
    line = mistake("check-geometry", rendered, "--ct", tmp_path / SECRET)
    assert SECRET not in line
    assert "1 CTs, and 2 are given" in mistake("check-geometry", rendered, "--ct", ct, "--ct", ct)


def test_a_verdict_needs_its_share(rendered):
    """A dataset is sound by as many pairs as could be checked, and by no more."""
    data = open_dataset(rendered)
    found = check_geometry(data)
    assert found["pairs"] == 5
    assert found["checked"] + found["unchecked"] == 5
    assert found["verdict"] == "fits"
    share = found["checked"] / 5
    assert share >= 0.5
    assert check_geometry(data, share=share)["ok"]
    assert check_geometry(data, share=share + 0.01)["verdict"] == "undecided"


def test_a_dataset_that_is_mostly_unchecked_is_undecided(tmp_path):
    """Three views see one wall, the others look apart: before, the two pairs of the former acquitted them all."""
    root = make(tmp_path / "data", patients=1, views=6, names=("plain",))
    frames = open_dataset(root).frames
    for n, frame in enumerate(frames[2:], 2):
        # Turned in turns to either side, poses and pixels alike: sound, but nothing is seen twice.
        pose = np.array(frame.world_from_camera)
        if n % 2:
            pose[:3, :3] = pose[:3, :3] @ np.diag([-1.0, 1, -1])
        frames[n] = frame.model_copy(update={"world_from_camera": tuple(map(tuple, pose.tolist()))})
    (root / "manifest.jsonl").write_text("".join(map(row, frames)))
    found = check_geometry(open_dataset(root))
    assert (found["pairs"], found["checked"], found["unchecked"]) == (5, 2, 3)
    assert found["verdict"] == "undecided"
    assert not found["ok"]
    result = run("check-geometry", root)
    assert result.exit_code == 1
    assert "TOO LITTLE COULD BE CHECKED" in result.output
    assert run("check-geometry", root, "--share", 0.4).exit_code == 0
