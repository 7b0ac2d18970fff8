"""The experiments from frames to page, on tunnels instead of renders; and the protocol that was written down."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from endorender.errors import UserError
from tests.pages import faults
from tests.training.conftest import TubeFrame
from tests.training.tunnels import LOOKS, shortened, table, tubes
from training.data import FrameSet
from training.experiments import EXPERIMENTS, experiment, prepared
from training.presets import (
    ARMS,
    COMPARISONS,
    GREY_TO_RED,
    MIX,
    MIX_ARMS,
    MIX_COMPARISONS,
    NEW_LOOK,
    PRESETS,
    protocol_fingerprint,
)
from training.variety import PARTNER, appearances, places

__all__ = ["tubes"]  # a fixture
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture
def done(root, request, tubes, monkeypatch):
    """The folder in which the experiment that a test is about has been done, once; of `data` a part."""
    name = request.node.callspec.params["name"]
    if name == "data":
        shortened(monkeypatch, seeds=1, counts=(4, 8))
    if not (root / name / "index.html").exists():
        assert experiment(name, root / name, "tiny") == root / name / "index.html"
    return root / name


def runs_of(folder):
    """run.json by setting/run, without the learning rate that was tried."""
    return {
        re.sub("-rate-[0-9.]+", "", f"{p.parent.parent.name}/{p.parent.name}"): json.loads(p.read_text())
        for p in folder.glob("runs/*/*/run.json")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt"])
def test_every_arm_has_as_many_steps_at_the_same_viewpoints(done, name):
    runs = runs_of(done)
    for setting, spec in PRESETS["tiny"].settings.items():
        mine = {n: r for n, r in runs.items() if n.startswith(setting)}
        assert len(mine) == (1 + len(ARMS)) * 2
        assert len([info for info in mine.values() if len(info.get("average_of", ())) == 2]) == 2
        for run, info in mine.items():
            if "average_of" in info:
                continue
            steps = spec.further_steps
            steps = spec.steps if "base" in run else spec.steps + steps if "scratch" in run else steps
            assert info["config"]["steps"] == steps
            train = info["data"]["train"]
            first = "base" in run  # which learns from plain pictures of others
            assert train["patients"] == (["q001", "q002", "q003"] if first else ["p001", "p002"])
            assert train["frames"] == (12 if first else 8 if train["variations"] == ["synthetic"] else 24)
            assert train["variations"] == ["synthetic"] or not first
            assert NEW_LOOK not in info["data"]["train"]["variations"] + info["data"]["val"]["variations"]
        assert len({r["data"]["val"]["sha256"] for r in mine.values()}) == 1  # all are validated on the same frames
        assert all(r["config"]["augment"]["colour"] == 0 for n, r in mine.items() if setting == "paper" and "all" in n)
    assert runs["paper/last-seed0"]["config"]["fine_tune"] == "head"
    assert len(list(done.glob("runs/today/*-rate-*-seed0"))) == 2 * 6
    assert all(name.startswith("encoder.") for name in runs["paper/last-seed0"]["frozen"])
    tested = {"p004", "p005", "p99"}
    assert not tested & {p for r in runs.values() for split in r["data"].values() for p in split["patients"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt"])
def test_the_gain_is_what_the_kept_errors_say(done, name):
    rows = table(done, "claims")
    tests = ("unseen patients", "unseen patients in an unseen look", "shipped airway")
    assert [(r["setting"], r["test"], r["claim"]) for r in rows] == [
        (setting, test, c.title) for setting in ("paper", "today") for test in tests for c in COMPARISONS
    ]

    def mean(arm):
        paths = [done / f"errors/unseen-patients/today-{arm}-seed{s}.json" for s in range(2)]
        return np.mean([json.loads(p.read_text())["abs_rel"] for p in paths])

    row = next(r for r in rows if (r["setting"], r["claim"]) == ("today", "path tracing"))
    assert float(row["abs_rel"]) == pytest.approx(mean("drawn"))
    assert float(row["percent_less"]) == pytest.approx(100 * (1 - mean("drawn") / mean("toned")))
    assert {r["protocol"] for r in rows} == {protocol_fingerprint("adapt", "tiny")}
    assert {r["paper_percent"] for r in rows if r["claim"] == "fine-tuning, all layers"} == {"56.87"}
    assert {r["arm"] for r in table(done, "arms")} >= {spec.title for spec in ARMS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt"])
def test_datasets_to_judge_on_are_added_to_a_finished_experiment(done, name, tmp_path, monkeypatch):
    given = {"first": [TubeFrame("p071", v, "deep_red") for v in range(3)]}
    given["second"] = [TubeFrame("p072", v, "pale_pink") for v in range(3)]
    monkeypatch.setattr("training.study.open_data", lambda path: FrameSet(test=given[path]))
    out = tmp_path / "adapt"
    shutil.copytree(done, out)
    before = {p: p.stat().st_mtime_ns for folder in ("runs", "errors") for p in (out / folder).rglob("*.*")}
    experiment("adapt", out, "tiny", foreign={"mitsuba": "first"})
    rows = table(out, "claims")
    assert [r for r in rows if not r["test"].startswith("foreign")] == table(done, "claims")
    assert {r["test"] for r in rows} >= {"foreign mitsuba"}
    assert {p: p.stat().st_mtime_ns for p in before} == before  # nothing is trained or evaluated again
    shutil.copytree(out, tmp_path / "other")
    told = json.loads((out / "experiment.json").read_text()) | {"foreign": ["cycles", "mitsuba"]}
    (tmp_path / "other/experiment.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"--foreign cycles=DIR"):
        experiment("adapt", tmp_path / "other", "tiny")
    experiment("adapt", out, "tiny", foreign={"cycles": "second"})  # the first is judged already
    assert {r["test"] for r in table(out, "claims")} >= {"foreign mitsuba", "foreign cycles"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data"])
def test_arms_of_data_have_equal_numbers_of_images_at_the_same_viewpoints(done, name):
    for run, info in runs_of(done).items():
        count = int(re.search(r"-(\d+)-seed", run).group(1))
        assert info["config"]["images"] == info["data"]["train"]["frames"] == count
    rows = table(done, "label-efficiency")
    assert {r["arm"] for r in rows} == {ARMS[arm].title for arm in ("plain", "toned", "all", "drawn")}
    assert all(
        r["images"] in ("4.0", "8.0") and r["share_of_plain"] == "1.0" for r in rows if r["arm"] == "plain further"
    )
    assert "That half suffice: " in (done / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["variety"])
def test_folds_are_swapped_at_an_equal_budget(done, name):
    runs = runs_of(done)
    assert {r["data"]["train"]["frames"] for r in runs.values()} == {8}  # two patients, four images each, for every K
    assert {run.split("/")[0] for run in runs} == {"paper", "today", "uncoloured"}
    for setting in ("paper", "today", "uncoloured"):
        patients = [runs[f"{setting}/k4-fold{fold}-seed0"]["data"]["train"]["patients"] for fold in (0, 1)]
        assert patients == [["p001", "p002"], ["p003", "p004"]]
        assert runs[f"{setting}/k4-fold0-seed0"]["data"]["train"]["variations"] == ["c1", "c2", "c3", "c4"]
        assert (runs[f"{setting}/k1-fold0-seed0"]["config"]["augment"]["colour"] > 0) == (setting == "today")
    for test in ("own-appearance", "the-partner-s-appearance"):
        frames = json.loads((done / f"errors/{test}/today-k1-fold0-seed0.json").read_text())["frames"]
        assert [f.split("/")[0] for f in frames] == ["p001", "p002", "p003", "p004"]
    assert [r["conditions"] for r in table(done, "variety")] == ["1", "2", "4"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mix"])
def test_arms_of_mix_differ_in_the_path_traced_pictures_alone(done, name):
    runs = runs_of(done)
    assert set(runs) == {f"today/{arm}-seed{seed}" for arm in MIX_ARMS for seed in range(2)}
    for seed in range(2):
        plain, both = (runs[f"today/{arm}-seed{seed}"] for arm in ("plain", "both"))
        assert plain["config"] == both["config"]
        assert both["config"]["augment"]["response"]["white_balance"] == GREY_TO_RED
        assert both["config"]["steps"] == MIX["tiny"].steps
        assert plain["data"]["train"]["patients"] == both["data"]["train"]["patients"]
        assert plain["data"]["val"] == both["data"]["val"]
        assert plain["data"]["train"]["variations"] == ["synthetic"]
        assert both["data"]["train"]["variations"] == ["randomized", "synthetic"]
        views = 12 + 8  # of phantoms seen plain alone, of those in own tissues
        assert (plain["data"]["train"]["frames"], both["data"]["train"]["frames"]) == (views, views + 2 * 8)
    rows = table(done, "claims")
    assert [(r["claim"], r["arm"], r["against"]) for r in rows] == [
        ("path tracing beside", MIX_ARMS["both"].title, MIX_ARMS["plain"].title)
    ] * 4
    assert {r["paper_percent"] for r in rows} == {""}  # the paper did nothing of the kind


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_the_page_stands_alone_and_names_its_protocol(done, name):
    text = (done / "index.html").read_text()
    assert protocol_fingerprint(name, "tiny") in text
    assert "only shows that everything runs" in text
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r"https?://|url\(|@import", text)  # nothing is loaded
    assert {p.suffix for p in (done / "figures").iterdir()} == {".png", ".pdf"}
    assert faults(done / "index.html") == []


def test_another_experiment_folder_or_name_is_refused(tmp_path):
    prepared("variety", tmp_path / "a", "tiny")
    for name, preset in (("data", "tiny"), ("variety", "small")):
        with pytest.raises(UserError, match="another experiment") as refusal:
            prepared(name, tmp_path / "a", preset)
        assert refusal.value.code == "CONFIGURATION_CHANGED"
    (tmp_path / "b").mkdir()
    (tmp_path / "b/thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        experiment("variety", tmp_path / "b", "tiny")
    for arguments in (("adopt", tmp_path / "c", "tiny"), ("variety", tmp_path / "c", "tinny")):
        with pytest.raises(UserError, match="there are"):
            experiment(*arguments)
    with pytest.raises(UserError, match="there are: paper, today"):
        experiment("adapt", tmp_path / "c", "tiny", settings=["yesterday"])
    with pytest.raises(UserError, match="there are: render, train"):
        experiment("adapt", tmp_path / "c", "tiny", until="trained")
    with pytest.raises(UserError, match="are 0 to 1"):
        experiment("adapt", tmp_path / "c", "tiny", seeds=[2])
    with pytest.raises(UserError, match="three patients"):
        experiment("adapt", tmp_path / "c", "tiny", cts=["phantom:1", "phantom:2"])
    with pytest.raises(UserError, match="three patients"):
        experiment("mix", tmp_path / "c", "tiny", cts=["phantom:1", "phantom:2"])
    with pytest.raises(UserError, match="an even number"):
        experiment("variety", tmp_path / "c", "tiny", cts=["phantom:1", "phantom:2", "phantom:3"])
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["thesis.tex"]
    assert not (tmp_path / "c").exists()


def test_patients_of_no_split_meet_and_given_cts_are_shared_out(tmp_path):
    for name in EXPERIMENTS:
        study, *_ = prepared(name, tmp_path / name, "small")
        people = [p for group in study.patients().values() for p in group]
        assert len({p["ct"] for p in people}) == len({p["alias"] for p in people}) == len(people)
    study, *_ = prepared("adapt", tmp_path / "given", "small", cts=[f"phantom:{n}" for n in range(1, 12)])
    assert [len(group) for group in study.patients().values()] == [8, 1, 2]


def test_networks_of_adapt_learn_first_from_plain_pictures_of_other_phantoms(tmp_path):
    study, _, plan = prepared("adapt", tmp_path, "small")
    plain, learn, test, _ = plan.datasets
    assert {network.start.images for key, network in plan.networks.items() if network.start} == {"much plain"}
    assert [v.name for v in study.configuration(plain).columns] == ["synthetic"]
    assert len(plain.patients) * plain.views > 3 * len(learn.patients) * learn.views
    who = [p[key] for dataset in (plain, learn, test) for p in dataset.patients for key in ("ct", "alias")]
    assert len(set(who)) == len(who)
    _, _, other = prepared("data", tmp_path / "data", "small")  # which counts every picture
    assert {network.start.images for network in other.networks.values()} == {"plain"}


def test_mix_shares_frames_with_adapt_and_neither_is_judged_on_whom_the_other_learns_from(tmp_path):
    study, _, plan = prepared("mix", tmp_path / "mix", "small")
    other = {dataset.name: dataset for dataset in prepared("adapt", tmp_path / "adapt", "small")[2].datasets}
    mine = {dataset.name: dataset for dataset in plan.datasets}
    assert all(mine[name] == other[name] for name in ("plain", "airway"))
    trained = {p["ct"] for dataset in (mine["plain"], mine["tissues"], other["learn"]) for p in dataset.patients}
    assert not trained & {p["ct"] for d in (mine["mix-test"], other["test"]) for p in d.patients}
    assert not {p["ct"] for p in mine["mix-test"].patients} & {p["ct"] for d in other.values() for p in d.patients}
    assert [v.name for v in study.configuration(mine["tissues"]).columns] == ["synthetic", "randomized"]
    assert [v.name for v in study.configuration(mine["mix-test"]).columns] == ["synthetic", "randomized", NEW_LOOK]
    assert study.configuration(mine["mix-test"]).camera == study.configuration(mine["tissues"]).camera


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


def test_every_patient_looks_different_and_every_condition_can_be_rendered(tmp_path):
    found = [c for n in range(1, 30) for c in appearances(f"p{n:03d}", 4)]
    assert len({json.dumps({k: v for k, v in c.items() if k != "name"}) for c in found}) == len(found)
    for n in range(1, 30):
        assert {c["look"] for c in appearances(f"p{n:03d}", 4)} == set(LOOKS[1:])
    study, _, plan = prepared("variety", tmp_path, "tiny")
    first = study.configuration(plan.datasets[0])
    assert [v.name for v in first.columns] == ["c1", "c2", "c3", "c4", PARTNER]
    other = study.configuration(
        plan.datasets[study.preset.fold]
    )  # who wears the first one's appearance, and lends its own
    assert first.columns[4].model_copy(update={"name": "c1"}) == other.columns[0]
    assert other.columns[4].model_copy(update={"name": "c1"}) == first.columns[0]


def test_the_written_protocol_is_the_one_that_runs(tmp_path):
    text = (ROOT / "docs/protocol.md").read_text()
    for name, preset in PRESETS.items():
        each = " | ".join(f"`{protocol_fingerprint(experiment, name)}`" for experiment in EXPERIMENTS)
        assert f"`{name}` | {each} |" in text, name
        assert preset.counts[-1] == preset.people[0] * preset.views  # the largest number is all there is
        assert all(whole == 2 * half for half, whole in zip(preset.counts, preset.counts[1:]))
        assert all(preset.variety_views % k == 0 for k in preset.conditions)
        if name != "tiny":
            assert preset.seeds >= 5
            assert preset.people[2] >= 12
            assert 2 * preset.fold >= 12
    for arm in (*ARMS.values(), *MIX_ARMS.values()):
        assert f"**{arm.title}**" in text
    for comparison in (*COMPARISONS, *MIX_COMPARISONS):
        assert comparison.title in text
