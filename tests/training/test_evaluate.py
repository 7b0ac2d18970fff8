"""Evaluations: the right frames, the right numbers, and no patient that was trained on by accident."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.stats import t

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export
from endorender.errors import UserError
from tests.dataset import sphere
from tests.dataset.made import make
from training import evaluate as judging
from training.checkpoint import load_run
from training.compare import load_evaluation, sections
from training.data import DepthFrames
from training.evaluate import evaluate, label_of, places, predict
from training.metrics import METRICS, of_image
from training.protocols import protocols
from training.trainer import train

CONFIG = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 5, "batch": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tubes):
    return train(CONFIG, tmp_path_factory.mktemp("runs") / "run", make_tubes())


@pytest.fixture(scope="module")
def done(tmp_path_factory, run, make_tubes):
    return evaluate(run, make_tubes(), tmp_path_factory.mktemp("evaluations") / "done", title="tubes")


def test_every_number_can_be_had_again_from_the_predictions_and_the_truth(run, done, make_tubes):
    frames = make_tubes().select(split="test")
    with np.load(done / "predictions.npz") as file:
        predictions = dict(file)
    assert list(predictions) == [f.id for f in frames]
    with open(done / "frames.csv", newline="") as file:
        rows = {(row["frame"], row["protocol"]): row for row in csv.DictReader(file)}
    assert len(rows) == 2 * len(frames)
    tensors = DepthFrames(frames)
    means = {p: [] for p in ("metric", "median")}
    for k, frame in enumerate(frames):
        item = tensors[k]
        for name, values in means.items():
            p = torch.from_numpy(predictions[frame.id])[None]
            result = of_image(p, item["z_depth"], item["mask"], protocols.build(name))
            row = rows[frame.id, name]
            assert {m: float(row[m]) for m in METRICS} == result.values()
            assert (int(row["pixels"]), float(row["scale"])) == (result.pixels, result.scale)
            assert row["variation"] == frame.variation
            values.append(result.values()["abs_rel"])
    summary = json.loads((done / "summary.json").read_text())
    for name, values in means.items():
        value, low, high = summary["protocols"][name]["mean"]["abs_rel"]
        assert value == pytest.approx(np.mean(values), rel=1e-12)
        assert low < value < high
    assert summary["data"] | {"sha256": ""} == {
        "title": "tubes",
        "split": "test",
        "patients": ["p4"],
        "seen_in_training": [],
        "variations": ["deep_red", "pale_pink", "synthetic"],
        "frames": 12,
        "size": "32x24",
        "input_sizes": ["32x24"],
        "training_scale_known": True,
        "sha256": "",
    }
    network = load_run(run).network
    again = predict(network, tensors, batch=5)
    np.testing.assert_allclose(np.stack([p[0] for p in again]), np.stack(list(predictions.values())), rtol=1e-4)


def test_error_against_depth_adds_up_to_the_pooled_error(done):
    evaluation = load_evaluation(done)
    for protocol in ("metric", "median"):
        rows = [row for row in evaluation.by_depth if row["protocol"] == protocol]
        pixels = np.array([int(row["pixels"]) for row in rows])
        of_bins = np.array([float(row["abs_rel"]) for row in rows])
        pooled = evaluation.summary["protocols"][protocol]["pooled"]["abs_rel"]
        assert (pixels * of_bins).sum() / pixels.sum() == pytest.approx(pooled)
        assert all(abs(float(row["bias_mm"])) <= float(row["error_mm"]) + 1e-12 for row in rows)


def test_error_against_place_and_angle_has_every_pixel_in_its_bin(done, make_tubes):
    evaluation, frames = load_evaluation(done), make_tubes().select(split="test")
    pixels = sum(int(f.geometry()["mask"].sum()) for f in frames)
    radius = [row for row in evaluation.by_radius if row["protocol"] == "metric"]
    assert sum(int(row["pixels"]) for row in radius) == pixels
    # By hand: pixels less than a tenth of half the diagonal (2 of 20 pixels) from the centre of 32 x 24.
    y, x = np.mgrid[:24, :32]
    inner = (np.hypot(x - 15.5, y - 11.5) < 2)[None] & np.array([f.geometry()["mask"] for f in frames])
    assert int(radius[0]["pixels"]) == inner.sum()
    (facing,) = [row for row in evaluation.by_incidence if row["protocol"] == "metric"]
    assert (facing["low"], int(facing["pixels"])) == ("0.0", pixels)  # the tests' walls always face the camera


def test_the_angle_of_incidence_is_that_of_ray_and_normal(make_tubes):
    frame = make_tubes().frames[0]
    geometry = frame.geometry()
    geometry["normal"] = np.broadcast_to([0.0, 0.0, -1.0], (*geometry["mask"].shape, 3))  # a wall across the axis
    frame.geometry = lambda: geometry
    found = places(frame)["incidence"].numpy()[geometry["mask"]]
    expected = np.degrees(np.arccos(geometry["z_depth"] / geometry["distance"]))[geometry["mask"]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_frames_without_normals_are_judged_all_the_same(tmp_path, run, make_tubes):
    data = make_tubes()
    for frame in data.frames:
        geometry = {key: value for key, value in frame.geometry().items() if key != "normal"}
        frame.geometry = lambda geometry=geometry: geometry
    evaluation = load_evaluation(evaluate(run, data, tmp_path / "done"))
    assert evaluation.by_incidence == []
    assert evaluation.by_radius
    (section,) = sections([evaluation])
    assert section.knows("radius")
    assert not section.knows("incidence")


def test_two_evaluations_into_one_folder(tmp_path, run, make_tubes, monkeypatch):
    def meanwhile(*args):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/summary.json").write_text("another's")
        return original(*args)

    original = judging._aggregate
    monkeypatch.setattr(judging, "_aggregate", meanwhile)
    with pytest.raises(UserError, match="meanwhile"):
        evaluate(run, make_tubes(), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/summary.json").read_text() == "another's"


def test_one_frame_alone_has_no_interval(tmp_path, run, make_tubes):
    data = make_tubes()
    data.frames = [f for f in data.frames if f.patient != "p4" or (f.view, f.variation) == (0, "deep_red")]
    summary = json.loads((evaluate(run, data, tmp_path / "out") / "summary.json").read_text())
    value, low, high = summary["protocols"]["median"]["mean"]["abs_rel"]
    assert value > 0
    assert low is high is None


def test_all_protocols_at_once_and_intervals_over_patients(tmp_path, run, make_tubes):
    data = make_tubes(patients=6)
    data.splits["test"] = ["p4", "p5", "p6"]
    every = ("metric", "median", "lsq", "affine", "simcol", "ppsnet")
    done = evaluate(run, data, tmp_path / "done", every, patients=["p4", "p5", "p6"])
    found = json.loads((done / "summary.json").read_text())["protocols"]
    assert set(found) == set(every)
    for name in every:
        value, low, high = found[name]["mean_over_patients"]["abs_rel"]
        means = [v[0] for v in (found[name]["by_patient"][p]["abs_rel"] for p in ("p4", "p5", "p6"))]
        assert value == pytest.approx(np.mean(means))
        # Three patients: Student's t, with two degrees of freedom.
        reach = t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
        assert (low, high) == pytest.approx((value - reach, value + reach))
    scales = {r["frame"]: float(r["scale"]) for r in load_evaluation(done).frames if r["protocol"] == "simcol"}
    assert len(set(scales.values())) == 9  # three patients under three conditions
    # Aligned by least squares, no other scale has a smaller error.
    assert found["lsq"]["mean"]["rmse"][0] <= found["median"]["mean"]["rmse"][0]


def test_the_pictures_kept_are_the_frames_themselves_and_show_every_condition(done, make_tubes):
    frames = {f.id: f for f in make_tubes().frames}
    kept = load_evaluation(done).arrays("shown.npz")
    names = {key.rsplit("/", 1)[0] for key in kept}
    assert {frames[name].variation for name in names} == {"synthetic", "pale_pink", "deep_red"}
    for name in names:
        np.testing.assert_array_equal(kept[f"{name}/image"], frames[name].image())
        np.testing.assert_array_equal(kept[f"{name}/z_depth"], frames[name].geometry()["z_depth"])


def test_equal_evaluations_are_equal_bytes_and_nothing_half_done_is_left(tmp_path, run, done, make_tubes):
    again = evaluate(run, make_tubes(), tmp_path / "again", title="tubes")
    for path in done.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    with pytest.raises(UserError, match="not an empty folder"):
        evaluate(run, make_tubes(), again)

    def crash(count, total, text):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        evaluate(run, make_tubes(), tmp_path / "cut", progress=crash)
    assert [p.name for p in tmp_path.iterdir()] == ["again"]


def test_a_patient_that_was_trained_on_is_refused_unless_asked_for(tmp_path, run, make_tubes):
    data = make_tubes()
    data.splits = {"test": ["p1"], "train": ["p4"]}
    with pytest.raises(UserError, match=r"trained on patient p1 of the split test") as refusal:
        evaluate(run, data, tmp_path / "a")
    assert refusal.value.code == "PATIENT_SEEN"
    asked = evaluate(run, data, tmp_path / "b", patients=["p1", "p4"])
    assert json.loads((asked / "summary.json").read_text())["data"]["seen_in_training"] == ["p1"]
    strangers = make_tubes()
    for frame in strangers.frames:  # another hospital's p1
        frame.volume["ct_sha256"] += "'"
    tuned = train({"steps": 1, "batch": 2}, tmp_path / "tuned", strangers, init_from=run)
    strangers.splits = {"test": ["p1"]}
    assert evaluate(run, strangers, tmp_path / "c").is_dir()
    with pytest.raises(UserError, match="trained on patient p1"):  # two trainings ago
        evaluate(tuned, data, tmp_path / "d")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"protocols": ["afine"]}, "there are: affine, lsq, median, metric, ppsnet, simcol"),
        ({"protocols": []}, "name each protocol once"),
        ({"protocols": ["median", {"type": "median", "max_mm": 50}]}, "name each protocol once"),
        ({"protocols": [{"type": "median", "max": 50}]}, "max: unknown key"),
        ({"patients": ["p9"]}, "there are: p1, p2, p3, p4"),
        ({"variations": ["deep_rod"]}, "did you mean 'deep_red'?"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(tmp_path, run, make_tubes, arguments, text):
    with pytest.raises(UserError) as refusal:
        evaluate(run, make_tubes(), tmp_path / "out", **arguments)
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_labels_tell_the_history_of_a_run():
    def info(looks, mode="full", start=None):
        config = {"model": {"type": "unet"}, "fine_tune": mode}
        return {"config": config, "data": {"train": {"variations": looks}}, "init_from": start}

    base = info(["synthetic"])
    assert label_of(base) == "unet on synthetic"
    assert label_of(info(["synthetic"], start=base)) == "unet on synthetic, trained further"
    assert label_of(info(["a", "b"], "last-layer", base)) == "unet on synthetic, fine-tuned (last-layer) on a, b"


def test_datasets_on_disk_are_trained_on_and_judged_by_path(tmp_path):
    make(tmp_path / "data")
    run = train(CONFIG, tmp_path / "run", tmp_path / "data")
    done = evaluate(run, str(tmp_path / "data"), tmp_path / "evaluation")
    summary = json.loads((done / "summary.json").read_text())
    assert summary["data"]["patients"] == open_dataset(tmp_path / "data").split("test")
    everything = "".join(p.read_text() for p in done.iterdir() if p.suffix in (".json", ".csv"))
    assert str(tmp_path) not in everything + (run / "run.json").read_text()


def test_other_peoples_layouts_are_trained_on_and_judged_by_path(tmp_path):
    data = sphere.make(tmp_path / "data", camera="pinhole:fov=80", patients=2)
    spec = f"simcol3d@{export(data, 'simcol3d', tmp_path / 'colons', variations=['red'])}"
    run = train(CONFIG, tmp_path / "run", spec)
    with pytest.raises(UserError, match="was trained on patient"):
        evaluate(run, spec, tmp_path / "evaluation")
    done = evaluate(run, spec, tmp_path / "evaluation", split=None)
    summary = json.loads((done / "summary.json").read_text())
    assert summary["data"]["patients"] == open_dataset(data).info["patients"]
    with pytest.raises(UserError, match="no frame of c3vd"):
        evaluate(run, f"c3vd@{tmp_path / 'colons'}", tmp_path / "other")
