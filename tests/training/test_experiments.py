"""The experiments from frames to page, on tunnels instead of renders; and the protocol that was written down."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from endorender.dataset import configure
from endorender.errors import UserError
from tests.training.conftest import TubeFrame
from training.compare import load_evaluation
from training.data import FrameSet
from training.experiments import EXPERIMENTS, experiment
from training.study import LOOKS, PRESETS, Study, protocol_fingerprint
from training.variety import appearances, places

ROOT = Path(__file__).parents[2]


def render(self, name, patients, views, **values):
    """Tunnels of the patients' numbers, in the variations that were asked for."""
    looks = [v["name"] for v in values["variations"]] if "variations" in values else list(LOOKS)
    looks = ["synthetic"] if values.get("preset") == "synthetic" else looks
    aliases = [p["alias"] if p["alias"] != "airway" else "p99" for p in patients]
    return [
        TubeFrame(a, v, look, volume={"ct_sha256": f"ct of {a}"})
        for a in aliases
        for v in range(views)
        for look in looks
    ]


def table(folder, name):
    with open(folder / f"tables/{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture
def done(root, request, monkeypatch):
    """The folder below which the experiments that a test is about have been done, once."""
    monkeypatch.setattr(Study, "render", render)
    for name in request.node.get_closest_marker("parametrize").args[1]:
        name = getattr(name, "values", (name,))[0]
        if name in request.node.name and not (root / name / "index.html").exists():
            experiment(name, root / name, "tiny")
    return root


# The answer to one claim takes as long as the default suite allows.
SLOW = [pytest.param(name, marks=() if name == "variety" else pytest.mark.slow) for name in EXPERIMENTS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt"])
def test_the_gain_is_what_the_evaluations_say_with_equal_steps_for_every_arm(done, name):
    rows = table(done / "adapt", "adapt")
    assert [(r["test"], r["arm"]) for r in rows] == [
        (test, arm)
        for test in ("views of unseen patients", "shipped airway")
        for arm in ("last layer fine-tuned", "all layers fine-tuned")
    ]
    folders = done / "adapt/evaluations/views-of-unseen-patients"

    def errors(arm):
        found = [load_evaluation(folders / f"adapt-{arm}-seed{s}").values("median", "abs_rel") for s in range(2)]
        return np.mean(found, axis=0)

    before, after = errors("baseline"), errors("full")
    row = rows[1]
    assert float(row["e_no"]) == pytest.approx(before.mean())
    assert float(row["e_ft"]) == pytest.approx(after.mean())
    assert float(row["reduction_percent"]) == pytest.approx(100 * (1 - after.mean() / before.mean()))
    assert (row["paper_percent"], rows[2]["paper_percent"]) == ("56.87", "27.49")
    assert {r["protocol"] for r in rows} == {protocol_fingerprint("adapt", "tiny")}
    runs = {p.name: json.loads((p / "run.json").read_text()) for p in (done / "adapt/runs").iterdir()}
    tuned = [r for name, r in runs.items() if "base-seed" not in name]
    assert {r["config"]["steps"] for r in tuned} == {PRESETS["tiny"].further_steps}
    assert len({json.dumps(r["config"]["augment"]) for r in runs.values()}) == 1
    assert len({r["data"]["val"]["sha256"] for r in runs.values()}) == 1  # all are validated on the same frames
    tested = {"p004", "p005", "p99"}
    assert not tested & {p for r in runs.values() for split in r["data"].values() for p in split["patients"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt"])
def test_datasets_to_judge_on_are_added_to_a_finished_experiment(done, name, tmp_path, monkeypatch):
    given = {"first": [TubeFrame("p071", v, "deep_red") for v in range(3)]}
    given["second"] = [TubeFrame("p072", v, "pale_pink") for v in range(3)]
    monkeypatch.setattr("training.study.open_data", lambda path: FrameSet(test=given[path]))
    out = tmp_path / "adapt"
    shutil.copytree(done / "adapt", out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.suffix in (".safetensors", ".json")}
    del before[out / "experiment.json"]
    experiment("adapt", out, "tiny", foreign=["first"])
    first = table(out, "adapt")
    assert len(first) == 6
    assert first[:4] == table(done / "adapt", "adapt")
    assert {p: p.stat().st_mtime_ns for p in before} == before  # nothing is trained or evaluated again
    experiment("adapt", out, "tiny", foreign=["second", "first"])
    assert {r["test"]: r["e_no"] for r in table(out, "adapt")}[first[4]["test"]] == first[4]["e_no"]
    assert len(table(out, "adapt")) == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data"])
def test_half_the_images_are_compared_with_all_of_them(done, name):
    rows = table(done / "data", "data")
    assert [(r["images"], r["arm"]) for r in rows] == [
        (n, arm) for n in ("4", "8") for arm in ("plain images only", "all layers fine-tuned")
    ]
    baseline = [r for r in rows if r["arm"] == "plain images only"]
    assert all(int(r["seeds_that_reach_it"]) >= 1 for r in baseline)  # the baseline reaches its own best
    text = (done / "data/index.html").read_text()
    assert "4 images with cinematic fine-tuning against 8 without" in text


@pytest.mark.parametrize("name", ["variety"])
def test_the_gap_is_between_seen_and_unseen_patients_at_an_equal_budget(done, name):
    rows = table(done / "variety", "variety")
    assert [r["conditions"] for r in rows] == ["1", "2", "4"]
    for r in rows:
        assert float(r["gap"]) == pytest.approx(float(r["unseen"]) - float(r["seen"]))
        assert float(r["gap_low"]) <= float(r["gap"]) <= float(r["gap_high"])
    runs = {p.name: json.loads((p / "run.json").read_text()) for p in (done / "variety/runs").iterdir()}
    assert {r["data"]["train"]["frames"] for r in runs.values()} == {8}  # two patients, four images each, for every K
    assert runs["variety-k4-seed0"]["data"]["train"]["variations"] == ["c1", "c2", "c3", "c4"]
    seen = json.loads(
        (done / "variety/evaluations/seen-patients--other-views/variety-k4-seed1/summary.json").read_text()
    )
    assert seen["data"]["seen_in_training"] == seen["data"]["patients"] == ["p001", "p002"]
    assert seen["data"]["variations"] == ["c1"]


@pytest.mark.parametrize("name", SLOW)
def test_the_page_stands_alone_and_names_its_protocol(done, name):
    text = (done / name / "index.html").read_text()
    assert protocol_fingerprint(name, "tiny") in text
    assert "only shows that everything runs" in text
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r"https?://|url\(|@import", text)  # nothing is loaded
    assert {p.suffix for p in (done / name / "figures").iterdir()} == {".png", ".pdf"}


@pytest.mark.parametrize("name", ["variety"])
def test_a_repeated_call_trains_nothing_and_another_preset_or_folder_is_refused(done, name, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in (done / "variety/runs").rglob("model.safetensors")}
    page = (done / "variety/index.html").read_bytes()
    experiment("variety", done / "variety", "tiny")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert (done / "variety/index.html").read_bytes() == page
    for name, preset in (("data", "tiny"), ("variety", "small")):
        with pytest.raises(UserError, match="another experiment") as refusal:
            experiment(name, done / "variety", preset)
        assert refusal.value.code == "CONFIGURATION_CHANGED"
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        experiment("variety", tmp_path, "tiny")
    for arguments in (("adopt", tmp_path / "a", "tiny"), ("variety", tmp_path / "a", "tinny")):
        with pytest.raises(UserError, match="there are"):
            experiment(*arguments)
    with pytest.raises(UserError, match="three patients"):
        experiment("variety", tmp_path / "a", "tiny", cts=["phantom:1", "phantom:2"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.tex"]


def test_views_of_variety_lie_all_along_the_way():
    for preset in PRESETS.values():
        learnt, left_out = places(preset.variety_views, preset.unseen_views)
        assert (len(learnt), len(left_out)) == (preset.variety_views, preset.unseen_views)
        assert not left_out & set(learnt)
        total = preset.variety_views + preset.unseen_views
        assert np.mean(list(left_out)) == pytest.approx((total - 1) / 2, abs=0.5)
        for k in preset.conditions:
            assert len(learnt[::k]) == preset.variety_views // k
            assert abs(np.mean(learnt[::k]) - (total - 1) / 2) <= k


def test_every_patient_looks_different_and_every_condition_can_be_rendered():
    found = [c for n in range(1, 30) for c in appearances(f"p{n:03d}", 4)]
    assert len({json.dumps(c["response"]) for c in found}) == len(found)
    for n in range(1, 30):
        assert {c["look"] for c in appearances(f"p{n:03d}", 4)} == set(LOOKS)
    config = configure(ct=["phantom:1"], variations=appearances("p001", 4), size="48x32")
    assert [v.name for v in config.columns] == ["c1", "c2", "c3", "c4"]


def test_the_written_protocol_is_the_one_that_runs():
    text = (ROOT / "docs/protocol.md").read_text()
    for name, preset in PRESETS.items():
        each = " | ".join(f"`{protocol_fingerprint(experiment, name)}`" for experiment in EXPERIMENTS)
        assert f"`{name}` | {each} |" in text, name
        if name != "tiny":
            assert all(whole == 2 * half for half, whole in zip(preset.counts, preset.counts[1:]))
            assert all(preset.variety_views % k == 0 for k in preset.conditions)
            assert preset.seeds >= 3
