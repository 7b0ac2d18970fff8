"""Depth without a network: fitted on what the network was trained on, judged as it is."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from cli._show import scores
from endorender.errors import UserError
from training import baselines
from training import evaluate as evaluation
from training.baselines import LOOKUP, Baseline, Constant, Pixels, fitted, of_run, pixels_of
from training.compare import load_evaluation, sections
from training.data import DepthFrames
from training.evaluate import evaluate
from training.metrics import METRICS, of_image
from training.protocols import protocols
from training.report import report
from training.trainer import train

CONFIG = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 3, "batch": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tubes):
    return train(CONFIG, tmp_path_factory.mktemp("runs") / "run", make_tubes())


@pytest.fixture(scope="module")
def done(tmp_path_factory, run, make_tubes):
    return evaluate(run, make_tubes(), tmp_path_factory.mktemp("evaluations") / "done", ("median", "metric", "simcol"))


def pixels(count=500, seed=0):
    rng = np.random.default_rng(seed)
    return Pixels(rng.uniform(0.02, 1, count), rng.uniform(0, 1, count), rng.uniform(5, 80, count))


@pytest.mark.parametrize(("name", "case"), baselines.baselines.cases())
def test_every_baseline_gives_depth_whatever_the_picture(name, case):
    wild = Pixels(np.array([1 / 255, 0.5, 1.0, 1 / 255]), np.array([0, 0.5, 1.0, 9.0]))
    for one in (baselines.baselines.build({"type": name, **case}), baselines.baselines[name].fit(pixels())):
        depth = one.depth(wild)
        assert depth.shape == (4,)
        assert (np.isfinite(depth) & (depth > 0)).all()
        assert baselines.baselines.build(baselines.baselines.dump(one)) == one


def test_fits_by_hand():
    l, r = np.array([0.25, 0.5, 1.0]), np.array([0.0, 0.5, 1.0])
    assert Constant.fit(Pixels(l, r, np.array([9.0, 2, 4]))).depth_mm == 4
    root, inverse = (baselines.baselines[name] for name in ("inverse-root", "inverse"))
    np.testing.assert_allclose(root.fit(Pixels(l, r, 3 / l**0.5)).depth(Pixels(l, r)), 3 / l**0.5)
    np.testing.assert_allclose(inverse.fit(Pixels(l, r, 7 / l)).depth(Pixels(l, r)), 7 / l)


def test_the_lookup_is_a_cubic_in_log_luminance_and_a_quadratic_in_the_radius():
    seen, c = pixels(), (3.0, -0.6, 0.1, 0.02, -0.3, 0.2)
    l, r = np.log(seen.luminance), seen.radius
    z = np.exp(c[0] + c[1] * l + c[2] * l**2 + c[3] * l**3 + c[4] * r + c[5] * r**2)
    found = baselines.baselines[LOOKUP].fit(seen._replace(z_depth=z))
    assert found.coefficients == pytest.approx(c, abs=1e-6)
    np.testing.assert_allclose(found.depth(seen), z, rtol=1e-6)
    # Darker than anything it was fitted on: as the darkest there was.
    ends = found.depth(Pixels(np.array([1e-6, seen.luminance.min()]), np.array([0.5, 0.5])))
    assert ends[0] == pytest.approx(ends[1])


def test_pixels_are_luminance_and_radius_from_the_principal_point():
    image = torch.zeros(3, 2, 4)
    image[0, 0, 1], image[1, 1, 2], image[2, 1, 3] = 1, 1, 1
    k = torch.tensor([[5.0, 0, 3], [0, 5, 1], [0, 0, 1]])
    seen = pixels_of({"image": image, "K": k})
    assert seen.luminance[[1, 6, 7, 0]] == pytest.approx([0.2126, 0.7152, 0.0722, 1 / 255])
    assert seen.radius[[7, 4, 0]] == pytest.approx([0, 3 / np.sqrt(5), np.sqrt(10) / np.sqrt(5)])
    unknown = pixels_of({"image": image, "K": torch.full((3, 3), torch.nan)})
    assert unknown.radius[0] == pytest.approx(np.hypot(1.5, 0.5) / np.sqrt(5))


def test_a_run_keeps_what_was_fitted_on_its_own_training_frames(tmp_path, run, make_tubes):
    data = make_tubes()
    kept = json.loads((run / "run.json").read_text())["baselines"]
    assert kept == fitted(data.select(split="train"))
    depths = np.concatenate([f.geometry()["z_depth"][f.geometry()["mask"]] for f in data.select(split="train")])
    constant = next(b["depth_mm"] for b in kept if b["type"] == "constant")
    assert constant == pytest.approx(np.median(depths), rel=0.03)  # of some of the pixels
    tuned = train({"steps": 1, "batch": 2, "variations": ["deep_red"]}, tmp_path / "tuned", data, init_from=run)
    other = json.loads((tuned / "run.json").read_text())["baselines"]
    assert other == fitted(data.select(split="train", variations=["deep_red"]))
    assert next(b for b in other if b["type"] == LOOKUP) != next(b for b in kept if b["type"] == LOOKUP)


def test_baselines_are_judged_on_the_same_frames_under_the_same_protocols(done, run, make_tubes):
    tensors = DepthFrames(make_tubes().select(split="test"))
    with open(done / "baselines.csv", newline="") as file:
        rows = {(r["frame"], r["protocol"], r["baseline"]): r for r in csv.DictReader(file)}
    summary = json.loads((done / "summary.json").read_text())["baselines"]
    known, of_training = of_run(json.loads((run / "run.json").read_text()))
    assert of_training
    assert set(known) == set(baselines.baselines)
    assert len(rows) == len(tensors) * 3 * len(known)
    for name in ("median", "metric"):
        errors = []
        for k, frame in enumerate(tensors.frames):
            item = tensors[k]
            depth = known[LOOKUP].depth(pixels_of(item)).reshape(tensors.size)
            image = torch.from_numpy(depth.astype(np.float32))[None]
            result = of_image(image, item["z_depth"], item["mask"], protocols.build(name)).values()
            row = rows[frame.id, name, LOOKUP]
            assert {m: float(row[m]) for m in METRICS} == pytest.approx(result)
            errors.append(result["abs_rel"])
        assert summary["protocols"][name]["mean"][LOOKUP]["abs_rel"][0] == pytest.approx(np.mean(errors))
    # Under `median` a constant is what it is for; in mm it is the training's.
    assert summary["protocols"]["metric"]["mean"]["constant"]["abs_rel"][0] > 0


def test_a_network_of_three_steps_does_not_beat_the_lookup_and_a_good_one_reads_shape(
    done, run, make_tubes, tmp_path, monkeypatch
):
    found = json.loads((done / "summary.json").read_text())["baselines"]["protocols"]["median"]["abs_rel_below_lookup"]
    assert found["verdict"] == "does not beat the lookup"
    assert found["percent"][2] < 25

    def nearly(network, tensors, *args):
        rng = np.random.default_rng(0)
        truths = [tensors[k]["z_depth"] for k in range(len(tensors))]
        return [z.clamp(min=1) * float(rng.uniform(1, 2)) * (1 + 0.01 * torch.rand_like(z)) for z in truths]

    monkeypatch.setattr(evaluation, "predict", nearly)
    good = evaluate(run, make_tubes(), tmp_path / "good", ("median",))
    found = json.loads((good / "summary.json").read_text())["baselines"]["protocols"]["median"]["abs_rel_below_lookup"]
    assert found["verdict"] == "reads shape"
    assert found["percent"][1] > 25
    text = report([good], tmp_path / "report").read_text()
    assert "reads shape</strong>" in text
    assert 'src="data:image/png;base64,' in text
    text = report([done], tmp_path / "report2").read_text()
    assert "does not beat the lookup</strong>" in text
    assert (tmp_path / "report2/figures/1_baselines.png").is_file()
    with open(tmp_path / "report2/tables/1_baselines.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["protocol"], r["metric"]) == ("median", "abs_rel")]
    (section,) = sections([load_evaluation(done)])
    means = section.without_network(section.arms[0], "median", "abs_rel")
    assert {r["baseline"]: float(r["mean"]) for r in rows} == {name: mean.value for name, mean in means.items()}


def test_of_an_older_run_only_what_needs_no_fitting_is_judged_and_it_is_said(done, run, make_tubes, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    info = json.loads((old / "run.json").read_text())
    del info["baselines"]
    (old / "run.json").write_text(json.dumps(info))
    again = evaluate(old, make_tubes(), tmp_path / "again")
    summary = json.loads((again / "summary.json").read_text())["baselines"]
    assert summary["fitted_on_training_frames"] is False
    assert set(summary["protocols"]) == {"median"}  # a depth without a unit is not to be judged in mm
    assert set(summary["protocols"]["median"]["mean"]) == {"constant", "inverse", "inverse-root"}
    known = json.loads((done / "summary.json").read_text())["baselines"]["protocols"]["median"]["mean"]
    for name, values in summary["protocols"]["median"]["mean"].items():
        assert values["abs_rel"] == pytest.approx(known[name]["abs_rel"], rel=1e-4)  # the scale is given away
    text = report([again], tmp_path / "report").read_text()
    assert "keeps no fitted lookup" in text
    assert "Nearest to the truth without a network is inverse" in text
    older = shutil.copytree(again, tmp_path / "older")  # an evaluation of before there were any
    summary = json.loads((older / "summary.json").read_text())
    del summary["baselines"], summary["files"]["baselines.csv"]
    (older / "baselines.csv").unlink()
    (older / "summary.json").write_text(json.dumps(summary))
    assert "judged no baseline" in report([older], tmp_path / "report2").read_text()


@pytest.mark.parametrize(
    "kept", [5, [5], [{"type": 5}], [{"kind": "constant"}], [{"type": "lookup", "coefficients": [1]}]]
)
def test_wounded_baselines_are_refused_in_one_line(kept):
    with pytest.raises(UserError) as refusal:
        of_run({"baselines": kept})
    assert "\n" not in str(refusal.value)


def test_the_command_line_says_it(done):
    text = scores(done)
    assert "median: without a network abs_rel is constant 0." in text
    assert "the network: does not beat the lookup" in text


def test_one_class_adds_a_baseline(run, make_tubes, tmp_path, monkeypatch):
    monkeypatch.setattr(baselines.baselines, "_classes", dict(baselines.baselines._classes))

    @baselines.baselines.register("rim")
    class Rim(Baseline):
        """Near at the rim."""

        far: float = 1.0

        @classmethod
        def fit(cls, seen):
            return cls(far=float(seen.z_depth.max()))

        def depth(self, seen):
            return self.far / (1 + seen.radius)

    again = train(CONFIG, tmp_path / "run", make_tubes())
    done = evaluate(again, make_tubes(), tmp_path / "done")
    assert "rim" in json.loads((done / "summary.json").read_text())["baselines"]["protocols"]["metric"]["mean"]
    old = evaluate(run, make_tubes(), tmp_path / "old")  # was trained before there was a rim
    assert "rim" not in json.loads((old / "summary.json").read_text())["baselines"]["protocols"]["median"]["mean"]


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (26, 40, 0.01, "reads shape"),
        (26, 40, 0.06, "undecided"),
        (20, 40, 0.2, "undecided"),
        (-5, 24, 0.01, "does not beat the lookup"),
        (5, 24, 0.06, "undecided"),
        (float("nan"), float("nan"), 1, "undecided"),
    ],
)
def test_the_word_follows_from_the_interval(low, high, p, word):
    assert baselines.verdict(low, high, p) == word
