"""Views from given poses: read back from every layout that holds them, refused by number where they cannot be."""

import json
import pickle
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.layouts import export
from endorender.dataset.plan import ranges
from endorender.dataset.verify import verify
from endorender.errors import UserError
from tests.cli.test_main import mistake, run
from tests.dataset.refusals import refusal
from tests.dataset.tubes import tube

SECRET = "MUELLER_HANS"
VALUES = {"size": "24x18", "spp": 1, "seed": 3, "camera": "pinhole:fov=95", "variations": [{"name": "plain"}]}


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp(SECRET) / "ct.nii.gz")


@pytest.fixture(scope="module")
def flown(ct, tmp_path_factory):
    """A dataset whose poses were planned."""
    return open_dataset(generate(configure(ct=str(ct), views=3, **VALUES), tmp_path_factory.mktemp("data") / "flown"))


def poses_of(data):
    return np.array([f.world_from_camera for f in data.frames])


def written(data, form, folder):
    """A file of the dataset's poses in this format."""
    poses = poses_of(data)
    folder.mkdir()
    file = folder / f"{SECRET}.txt"
    there = np.linalg.inv(poses)
    if form == "manifest":
        return data.root / "manifest.jsonl"
    if form == "nerfstudio":
        return export(data, "nerfstudio", folder / "out") / "p001" / "plain" / "transforms.json"
    if form in ("c3vd", "c3vdv2"):
        return export(data, form, folder / "out") / "p001.plain" / "pose.txt"
    if form == "json":
        file.write_text(json.dumps({"world_from_camera": poses.round(9).tolist()}))  # as a fit writes
    if form == "tum":
        turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
        np.savetxt(file, np.hstack([np.arange(len(poses))[:, None], poses[:, :3, 3] / 1000, turns]), fmt="%.12f")
    if form == "colmap":
        lines = []
        for n, (x, y, z, w) in enumerate(Rotation.from_matrix(there[:, :3, :3]).as_quat()):
            t = " ".join(f"{v:.12f}" for v in (w, x, y, z, *there[n, :3, 3]))
            lines.append(f"{n + 1} {t} 1 {n}.png\n\n")
        file.write_text("".join(lines))
    return file


@pytest.mark.parametrize("form", ["json", "manifest", "tum", "colmap", "nerfstudio", "c3vd", "c3vdv2"])
def test_poses_of_a_dataset_come_back_through_every_format(ct, flown, tmp_path, form):
    file = written(flown, form, tmp_path / "poses")
    config = configure(ct=str(ct), poses=(str(file),), **VALUES)
    again = open_dataset(generate(config, tmp_path / "again"))
    assert len(again.frames) == 3
    for one, two in zip(flown.frames, again.frames, strict=True):
        np.testing.assert_allclose(two.world_from_camera, one.world_from_camera, atol=1e-7)
        here, there = one.geometry(), two.geometry()
        assert np.array_equal(here["mask"], there["mask"])
        for name in ("z_depth", "distance", "normal"):
            np.testing.assert_allclose(there[name], here[name], atol=2e-3)
        if form == "manifest":
            assert two.path("geometry").read_bytes() == one.path("geometry").read_bytes()
        np.testing.assert_allclose(two.flow()["flow"], one.flow()["flow"], atol=2e-3)
    assert verify(again.root) == []
    assert not [p for p in again.root.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


def in_json(poses, path):
    path.write_text(json.dumps(np.asarray(poses).tolist()))
    return path


def test_poses_where_no_scope_can_be_are_refused_by_number(ct, flown, tmp_path):
    poses = poses_of(flown)
    for n, at, words in (
        (1, poses[1, :3, 3] + (11, 0, 0), "pose 2 lies inside tissue"),
        (2, (500.0, 0, 0), "pose 3 lies outside the scan"),
    ):
        bad = poses.copy()
        bad[n, :3, 3] = at
        config = configure(ct=str(ct), poses=(str(in_json(bad, tmp_path / "bad.json")),), **VALUES)
        assert words in refusal("POSES", generate, config, tmp_path / "out")
    bad = poses.copy()
    bad[1, :, 0] *= -1
    file = in_json(bad, tmp_path / f"{SECRET}.json")
    said = refusal("POSES", configure, ct=str(ct), poses=(str(file),), **VALUES)
    assert said.startswith("pose 2 is no world_from_camera, but mirrored")
    line = mistake("render", "--ct", ct, "--poses", tmp_path / SECRET, "--out", tmp_path / "out")
    assert "cannot be read" in line
    assert SECRET not in line


def test_poses_in_another_lumen_say_which_to_choose(tmp_path):
    """Two tubes side by side: a pose in the smaller one."""
    import nibabel

    x, y, _ = np.meshgrid(np.arange(80.0), np.arange(40.0), np.arange(60.0), indexing="ij")
    distance = np.minimum(np.hypot(x - 20, y - 20) - 9, np.hypot(x - 60, y - 20) - 7)
    hu = np.clip(distance * 700 - 470, -1000, 45).astype(np.int16)
    hu[..., [0, 1, -2, -1]] = 40
    nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), tmp_path / "ct.nii.gz")
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, 3] = [[20, 20, 20], [60, 20, 20]]
    values = {"ct": str(tmp_path / "ct.nii.gz"), "poses": (str(in_json(poses, tmp_path / "p.json")),), **VALUES}
    said = refusal("POSES", generate, configure(**values), tmp_path / "out")
    assert said.startswith("pose 2 lies in air, but not in the lumen that was chosen")
    in_json(poses[1:], tmp_path / "p.json")
    made = open_dataset(generate(configure(region=2, **values), tmp_path / "out2"))
    assert made.frames[0].world_from_camera[0][3] == 60


def test_several_patients_have_as_many_views_as_poses(flown, ct, tmp_path):
    """Counts, pages, plans and verification follow each patient's own number."""
    poses = poses_of(flown)
    files = [str(in_json(poses[:n], tmp_path / f"{n}.json")) for n in (1, 3)]
    config = configure(ct=[str(ct)] * 2, poses=files, **VALUES)
    assert (config.views, config.views_of("p001"), config.views_of("p002")) == (3, 1, 3)
    data = open_dataset(generate(config, tmp_path / "out"))
    assert [f.id for f in data.frames] == ["p001/0000/plain", *(f"p002/000{n}/plain" for n in range(3))]
    assert data.complete
    assert verify(data.root) == []
    assert "4 views" in (data.root / "README.md").read_text()
    (data.root / "manifest.jsonl").write_text("")
    assert {f.where for f in verify(data.root) if f.code == "MISSING"} == {f.id for f in data.frames}
    assert ranges(config) == {}
    held = configure(ct=[{"ct": str(ct), "alias": "a", "poses": files[1]}, "phantom:1"], views=2, **VALUES)
    assert [held.views_of(p.alias) for p in held.ct] == [3, 2]


def test_resuming_needs_the_same_poses_and_keeps_no_path(flown, ct, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    in_json(poses_of(flown), tmp_path / f"{SECRET}.json")
    file = f"json:unit=mm@{SECRET}.json"
    out = tmp_path / "out"
    args = ("render", "--ct", ct, "--out", out)
    words = ("--size", "24x18", "--spp", 1, "--preset", "synthetic")
    done = run(*args, *words, "--poses", file)
    assert done.exit_code == 0, done.output
    told = json.loads((out / "dataset.json").read_text())["configuration"]["ct"][0]["poses"]
    assert told["views"] == 3
    assert len(told["sha256"]) == 64
    assert not [p for p in out.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / "p001" / "0001" / "geometry.exr").unlink()
    monkeypatch.chdir(out)
    assert run(*args, "--resume").exit_code == 0  # its owner's machine knows where the files lie
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (out / "p001" / "0001" / "geometry.exr").unlink()
    shutil.rmtree(tmp_path / "state")
    assert "poses again with --poses" in mistake(*args, "--resume")
    other = poses_of(flown)
    other[0, :3, 3] += 0.5
    assert "poses.sha256" in mistake(*args, "--resume", "--poses", in_json(other, tmp_path / "other.json"))
    # The poses count, not how or where they are written.
    moved = tmp_path / "elsewhere.txt"
    moved.write_text("\n".join(",".join(map(repr, row)) for row in poses_of(flown).reshape(-1, 16).tolist()))
    assert run(*args, "--resume", "--poses", moved).exit_code == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_a_configuration_with_poses_travels_to_other_processes(flown, tmp_path):
    config = configure(ct=["phantom:1", "phantom:2"], poses=[str(in_json(poses_of(flown), tmp_path / "p.json"))] * 2)
    np.testing.assert_array_equal(config.ct[1].poses.array, poses_of(flown))
    assert pickle.loads(pickle.dumps(config)) == config
    assert [config.ct.index(p) for p in config.ct] == [0, 1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"views": 7}, "there are 3 poses, and views is 7"),
        ({"trajectory": {"jitter": 0.2}}, "nothing is flown"),
        ({"ct": ["phantom:1", "phantom:2"]}, "1 files for 2 CTs"),
    ],
)
def test_what_poses_exclude(flown, tmp_path, values, words):
    file = in_json(poses_of(flown), tmp_path / "poses.json")
    assert words in refusal("POSES", configure, **{"ct": "phantom:1", "poses": str(file), **VALUES, **values})


def test_a_preset_that_varies_its_flight_takes_poses_too(flown, tmp_path):
    file = in_json(poses_of(flown), tmp_path / "poses.json")
    config = configure(ct="phantom:1", poses=str(file), preset="randomized")
    assert config.trajectory == {}
    assert config.flies_freely  # the camera is still drawn for every view
    with pytest.raises(UserError, match="sphinx"):
        configure(ct="phantom:1", poses=f"tum:sphinx=1@{file}")
    assert len(configure(ct="phantom:1", poses=f"json:unit=mm@{file}").ct[0].poses) == 3
