"""An experiment in parts: interrupted, side by side, by seed and setting; what is left of it."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from endorender.errors import UserError
from endorender.outputs import held
from tests.training.tunnels import shortened, table, tubes
from training import study as studies
from training import study_parts
from training.experiments import experiment, prepared
from training.presets import ARMS
from training.study import Study
from training.study_parts import chosen

__all__ = ["tubes"]  # a fixture


def test_a_part_goes_from_frames_to_tables_and_the_rest_elsewhere(tubes, tmp_path, monkeypatch):
    shortened(monkeypatch, seeds=2, conditions=(1,), fold=1)
    out, elsewhere = tmp_path / "a", tmp_path / "b"
    assert experiment("variety", out, "tiny", seeds=[1]) is None  # seed 0 is still to come
    assert not (out / "index.html").exists()
    assert not list(out.glob("runs/*/*/checkpoint.safetensors"))  # what lasts is small
    shutil.copytree(out, elsewhere)
    shutil.rmtree(elsewhere / "runs")  # what is judged needs no weights
    assert experiment("variety", elsewhere, "tiny", seeds=[0]) == elsewhere / "index.html"
    assert experiment("variety", out, "tiny") == out / "index.html"
    assert table(elsewhere, "variety") == table(out, "variety")
    shutil.rmtree(out / "runs")
    page = (out / "index.html").read_bytes()

    def gone(self, dataset):
        raise AssertionError("nothing is rendered for an answer")

    monkeypatch.setattr(Study, "frames", gone)
    assert experiment("variety", out, "tiny").read_bytes() == page  # of the tables alone


def test_what_is_interrupted_goes_on_and_ends_as_it_would_have(tubes, tmp_path, monkeypatch):
    shortened(monkeypatch, seeds=1, conditions=(1,), fold=1)
    experiment("variety", tmp_path / "whole", "tiny")
    real, asked = studies.judge, []

    def stopped(*arguments):
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(studies, "judge", stopped)
    with pytest.raises(KeyboardInterrupt):
        experiment("variety", tmp_path / "broken", "tiny")
    assert len(list(tmp_path.glob("broken/errors/*/*.json"))) == 1
    experiment("variety", tmp_path / "broken", "tiny")
    assert len(asked) == 5  # 2 networks x 2 tests, and the one that was stopped
    assert table(tmp_path / "broken", "variety") == table(tmp_path / "whole", "variety")


def test_processes_side_by_side_leave_to_each_other_what_they_are_at(tubes, tmp_path, monkeypatch):
    shortened(monkeypatch, seeds=1, conditions=(1,), fold=1)
    experiment("variety", tmp_path / "alone", "tiny")
    order, real = [], studies.judge
    monkeypatch.setattr(studies, "judge", lambda run, *rest: (order.append(run.name), real(run, *rest)))
    study, _, plan = prepared("variety", tmp_path / "shared", "tiny")
    first, second = chosen(study, plan)
    with ExitStack() as another:  # process, which trains the first network and dies of it
        path = study.out / "runs" / first.folder()
        path.parent.mkdir(parents=True)
        another.enter_context(held(path.with_name(f".{path.name}.lock")))
        monkeypatch.setattr(study_parts.time, "sleep", lambda seconds: another.close())
        experiment("variety", tmp_path / "shared", "tiny")
    assert list(dict.fromkeys(order)) == [Path(n.folder()).name for n in (second, first)]
    assert table(tmp_path / "shared", "variety") == table(tmp_path / "alone", "variety")
    assert not list(tmp_path.glob("shared/**/*.lock"))


def test_processes_may_begin_an_experiment_at_the_same_moment(tmp_path):
    out = tmp_path / "shared"
    out.mkdir()
    (out / ".experiment.json.4711.part").write_text("{")  # which another one is about to give its name
    prepared("variety", out, "tiny")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / ".thesis.tex.4711.part").write_text("")
    with pytest.raises(UserError) as said:
        prepared("variety", tmp_path / "foreign", "tiny")
    assert said.value.code == "EXISTS"


def test_the_rate_is_the_one_that_validates_best_with_the_first_seed(tmp_path, monkeypatch):
    study, _, plan = prepared("adapt", tmp_path, "tiny")
    network, trained = plan.networks["today", "all"].of_seed(1), []

    def train(self, network, rate, plan):
        trained.append((network.seed, network.start.seed, rate))
        folder = tmp_path / studies.RUNS / network.folder(rate)
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text(f"step,val_abs_rel_median\n0,0.5\n6,{0.3 if rate == 1e-3 else 0.2}\n")
        (folder / "run.json").write_text('{"finished": true}')
        return folder

    monkeypatch.setattr(Study, "_trained", train)
    assert study.run(network, plan).name == "all-rate-0.002-seed1"
    assert trained == [(0, 0, 1e-3), (0, 0, 2e-3), (1, 1, 2e-3)]
    study.run(plan.networks["today", "all"].of_seed(2), plan)
    assert trained[3:] == [(2, 2, 2e-3)]  # the trials of the first seed are not repeated
    assert study.table(network, "a test").name == "today-all-seed1.json"


def test_the_cost_is_of_what_is_left(tubes, tmp_path, monkeypatch):
    from training import study_cost

    monkeypatch.setattr(study_cost, "measure", lambda config: (3.6, 36.0, 1e6))
    monkeypatch.setattr(study_cost, "step_seconds", lambda study, setting, mode: 3.6)
    monkeypatch.setattr(study_cost, "judging_seconds", lambda study, setting: 3.6)
    study, _, plan = prepared("adapt", tmp_path / "a", "tiny", write=False)
    assert not (tmp_path / "a").exists()
    render, paper, today, judged, _ = study_cost.cost(study, plan)
    assert render["count"] == 12 + 16  # views seen in plain pictures alone, and the others
    on_card, *_ = study_cost.cost(replace(study, device="cuda"), plan)  # where no cores are counted
    assert on_card["hours"] == pytest.approx((28 * 3.6 + (3 + 6) * 36) / 3600)
    # Base, five arms of further steps and one from scratch, for each seed; today's arms at a second rate.
    assert (paper["count"], paper["hours"]) == (2 * (12 + 5 * 6 + 18), pytest.approx(0.12))
    assert today["count"] == 2 * (12 + 5 * 6 + 18) + 5 * 6 + 18
    assert judged["count"] == 2 * 7 * (6 + 2 + 6)
    part = study_cost.cost(study, plan, ["paper"], [1])
    assert [(r["stage"], r["count"]) for r in part[1:]] == [("train", 60), ("evaluate", 98)]
    shortened(monkeypatch, seeds=1, conditions=(1,), fold=1)
    experiment("variety", tmp_path / "b", "tiny")
    study, _, plan = prepared("variety", tmp_path / "b", "tiny")
    assert study_cost.cost(study, plan) == []
    next((tmp_path / "b").glob("errors/*/*fold1*.json")).unlink()
    rows = study_cost.cost(study, plan)
    assert [(r["stage"], r["count"]) for r in rows[1:]] == [("evaluate", 2)]  # the network is there


def test_the_part_of_a_seed_and_a_setting_is_chosen(tmp_path):
    study, _, plan = prepared("adapt", tmp_path, "tiny")
    part = chosen(study, plan, ["paper"], [1])
    assert {(n.setting, n.seed) for n in part} == {("paper", 1)}
    assert {n.start.seed for n in part if n.start} == {1}
    assert len(part) == len(ARMS)
    assert len(chosen(study, plan)) == 2 * 2 * len(ARMS)
