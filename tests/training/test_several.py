"""Several datasets at once: each has a first patient, and nobody may be taken for another because of that."""

import csv
import json

import numpy as np
import pytest

from endorender.ct import Volume
from endorender.dataset import open_dataset
from endorender.dataset.layouts import export, open_layout
from endorender.dataset.patient import volume_hash, voxels_hash
from endorender.viewer.colours import Predictions
from tests.cli.test_main import mistake, run
from tests.dataset.refusals import refusal
from tests.dataset.sphere import make
from training.data import DepthFrames, FrameSet, joined, opened, people, refuse_shared_patients
from training.evaluate import evaluate
from training.trainer import train

SECRET = "MUELLER_HANS"
SMALL = {"steps": 2, "batch": 2}


def people_of(name, **same):
    """What a manifest says of the CTs of dataset `name`. same: alias -> hashes that are another one's."""
    return lambda alias: (
        {"ct_sha256": f"{name}-{alias}", "voxels_sha256": f"voxels {name}-{alias}"} | same.get(alias, {})
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp(SECRET)
    return {
        "a": make(root / "a", volume=people_of("a"), names=("plain",)),
        "b": make(root / "b", volume=people_of("b"), names=("plain",), camera="pinhole:fov=60"),
        # Its test patient is whom the first trains on, copied to another format: other bytes, the same voxels.
        "leak": make(root / "leak", volume=people_of("c", p003={"voxels_sha256": "voxels a-p001"}), names=("plain",),
                     camera="pinhole:fov=70"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def data(folders):
    return {name: open_dataset(folder) for name, folder in folders.items()}


def depths_are_their_own(frames):
    for frame, item in zip(frames, DepthFrames(frames), strict=True):
        z = frame.geometry()["z_depth"]
        assert np.array_equal(item["z_depth"][0].numpy(), np.nan_to_num(z)), frame.id


def test_a_picture_has_its_own_depth_whoever_else_is_called_p001(data):
    """Both first patients have three views; before, pictures of the second got the depth of the first."""
    first, second = (data[name].select(patients=["p001"]) for name in "ab")
    assert [f.id for f in first] == [f.id for f in second]
    depths_are_their_own([*first, *second])
    depths_are_their_own(FrameSet(train=first, val=second).frames)
    assert len(people([*first, *second])) == 4  # two marks each


def test_one_ct_under_two_configurations_or_two_aliases_has_several_views(tmp_path):
    alone = {"volume": people_of("a"), "names": ("plain",), "patients": 1}
    one, other = (open_dataset(make(tmp_path / f"{n}", camera=f"pinhole:fov={n}", **alone)) for n in (100, 50))
    twice = {"p001": {"ct_sha256": "a"}, "p002": {"ct_sha256": "a"}}
    two = open_dataset(make(tmp_path / "two", volume=twice.__getitem__, names=("plain",), patients=2))
    depths_are_their_own([*one.frames, *other.frames, *two.frames])


def test_joined_datasets_have_names_that_are_nobody_elses(data):
    both = joined([data["a"], data["b"]])
    assert len({f.id for f in both.frames}) == 18
    assert {f.patient for f in both.train} == {"1:p001", "2:p001"}
    assert both.test[-1].id == "2:p003/0002/plain"
    assert {f.id for f in both.select(patients=["2:p001"])} == {f"2:p001/000{n}/plain" for n in range(3)}
    depths_are_their_own(both.frames)
    assert people(both.frames).keys() == people(data["a"].frames).keys() | people(data["b"].frames).keys()
    assert opened(data["a"], "test") is data["a"]  # one keeps its names
    assert "datasets 1 and 3 are one" in refusal("SAME_DATASET", joined, [data["a"], data["b"], data["a"]])


def test_who_is_in_two_datasets_has_one_name(data):
    both = joined([data["a"], data["leak"]])
    copies = both.select(patients=["2:p003"])
    assert {f.patient for f in copies} == {"1:p001"}
    assert [f.id for f in copies] == [f"2:p003/000{n}/plain" for n in range(3)]
    assert len(both.select(patients=["1:p001"])) == 6


def test_a_leak_between_datasets_is_refused(data, tmp_path):
    said = refusal("PATIENT_IN_TWO_SPLITS", train, SMALL, tmp_path / "run", [data["a"], data["leak"]])
    assert "1:p001" in said
    assert "2:p003 (the same CT)" in said
    assert not (tmp_path / "run").exists()
    # A dataset from before voxels were hashed is known by the CT's hash alone.
    old, new = {"ct_sha256": "x"}, {"ct_sha256": "x", "voxels_sha256": "y"}
    splits = {
        name: people([f.model_copy(update={"volume": volume, "patient": name})])
        for (name, volume), f in zip((("train", old), ("test", new)), data["a"].frames)
    }
    refusal("PATIENT_IN_TWO_SPLITS", refuse_shared_patients, splits)


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "both"
    result = run("train", folders["a"], "--data", folders["b"], "--out", out, "--steps", 2, "--batch", 2)
    assert result.exit_code == 0, result.output
    assert SECRET not in (out / "run.json").read_text()
    return out


def test_train_and_evaluate_take_several_from_the_command_line(folders, data, trained, tmp_path):
    told = json.loads((trained / "run.json").read_text())
    assert told["data"]["train"]["patients"] == ["1:p001", "2:p001"]
    assert told["data"]["train"]["frames"] == 6
    assert set(told["seen"]) == {mark for name in "ab" for mark in people(data[name].select(split="train"))}
    out = tmp_path / "judged"
    result = run("evaluate", trained, "--data", folders["a"], "--data", folders["b"], "--out", out)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"]["patients"] == ["1:p003", "2:p003"]
    assert set(summary["protocols"]["metric"]["by_patient"]) == {"1:p003", "2:p003"}
    assert SECRET not in (out / "summary.json").read_text()
    with open(out / "frames.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "metric"]
    assert [row["frame"] for row in rows] == [f"{n}:p003/000{v}/plain" for n in (1, 2) for v in range(3)]
    # Each frame is judged against its own depth: as in an evaluation of its dataset alone.
    for number, name in ((1, "a"), (2, "b")):
        alone = evaluate(trained, data[name], tmp_path / name)
        with open(alone / "frames.csv", newline="") as file:
            own = [row for row in csv.DictReader(file) if row["protocol"] == "metric"]
        joint = [row for row in rows if row["frame"].startswith(f"{number}:")]
        assert [float(r["abs_rel"]) for r in own] == pytest.approx([float(r["abs_rel"]) for r in joint], rel=1e-5)
    some = run("evaluate", trained, "--data", folders["a"], "--data", folders["b"], "--patients", "2:p002",
               "--out", tmp_path / "some", "--json")  # fmt: skip
    assert some.exit_code == 0, some.output
    assert json.loads(some.stdout) == json.loads((tmp_path / "some" / "summary.json").read_text())
    assert json.loads((tmp_path / "some" / "summary.json").read_text())["data"]["patients"] == ["2:p002"]
    assert "give each once" in mistake("train", folders["a"], folders["a"], "--out", tmp_path / "twice")
    assert "give a dataset" in mistake("train", "--out", tmp_path / "none")


def test_a_name_that_no_patient_has_is_refused_beside_one_that_has(folders, trained, tmp_path):
    """Else a judgement of two patients would be one of the first, without a word."""
    both = ["evaluate", trained, "--data", folders["a"], "--data", folders["b"], "--out", tmp_path / "out"]
    assert "called 'p002'" in mistake(*both, "--patients", "2:p001,p002")
    assert "called 'plum'" in mistake(*both, "--variations", "plain,plum")
    assert not (tmp_path / "out").exists()


def test_who_was_trained_on_is_known_in_another_dataset_and_in_an_export(data, trained, tmp_path):
    assert "p003" in refusal("PATIENT_SEEN", evaluate, trained, data["leak"], tmp_path / "out")
    seen = dict.fromkeys(people(data["a"].select(split="train")), "x")
    for layout in ("simcol3d", "c3vd"):
        out = export(data["leak"], layout, tmp_path / layout)
        foreign = open_layout(out, layout)
        assert people(foreign.frames) == people(data["leak"].frames)
        assert set(seen) & set(people(foreign.select(patients=["p003"])))
        assert "p003" in refusal("PATIENT_SEEN", evaluate, trained, foreign, tmp_path / "out")
        depths_are_their_own(FrameSet(test=[*foreign.frames, *data["a"].frames]).frames)


def test_frames_that_cannot_be_told_apart_by_name_are_not_judged_together(data, trained, tmp_path):
    both = FrameSet(test=[f for name in "ab" for f in data[name].select(split="test")])
    assert "as a list" in refusal("AMBIGUOUS", evaluate, trained, both, tmp_path / "out")


def test_a_prediction_is_shown_beside_its_own_frame(data, trained, tmp_path):
    """Dataset, number and alias of a frame are others' too; before, any dataset of these aliases was coloured."""
    out = evaluate(trained, [data["a"], data["b"]], tmp_path / "both")
    kept, alone = Predictions(out), Predictions(evaluate(trained, data["b"], tmp_path / "alone"))
    with np.load(out / "predictions.npz") as arrays:
        for frame in data["b"].select(split="test"):
            assert np.array_equal(kept.depth(frame), arrays[f"2:{frame.id}"])
            np.testing.assert_allclose(kept.depth(frame), alone.depth(frame), rtol=1e-5)
    refusal("NO_PREDICTIONS", alone.refuse_strange, data["a"].frames)
    assert alone.depth(data["a"].select(split="test")[0]) is None


def test_a_copy_in_another_format_is_the_same_person():
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    affine = np.array([[0.7, 0, 0, 1], [0, 0.7, 0, 2], [0, 0, 1.25, 3], [0, 0, 0, 1.0]])
    scan = Volume(hu, affine)
    # Stored from left to right and from front to back, in single precision, with its affine rounded.
    turned = affine @ np.array([[-1.0, 0, 0, 5], [0, -1, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]])
    copy = Volume(hu[::-1, ::-1].astype(np.float32), turned.astype(np.float32).astype(float))
    assert volume_hash(scan) != volume_hash(copy)
    assert voxels_hash(scan) == voxels_hash(copy)
    axes = Volume(np.ascontiguousarray(hu.transpose(2, 0, 1)), affine[:, [2, 0, 1, 3]])
    assert voxels_hash(scan) == voxels_hash(axes)
    other = hu.copy()
    other[0, 0, 0] += 1
    assert voxels_hash(Volume(other, affine)) != voxels_hash(scan)
