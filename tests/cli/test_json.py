"""What commands print for programs; some are asked beside their own tests."""

import importlib
import json

import click

from cli.main import COMMANDS, main
from tests.cli.test_main import run
from tests.dataset.made import make

# What prints where things are, or nothing but what it is for.
WITHOUT = {"demo", "view", "export", "train", "average", "report", "export-model", "schema", "cite"}


def test_every_command_that_prints_a_table_prints_json():
    able = {
        name
        for name in COMMANDS
        if any(p.opts == ["--json"] for p in main.get_command(click.Context(main), name).params)
    }
    assert able == set(COMMANDS) - WITHOUT


def told(*words):
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_render_tells_where_things_are(tmp_path, monkeypatch):
    root = make(tmp_path / "frames") or tmp_path / "frames"
    monkeypatch.setattr("endorender.dataset.generate", lambda *_, **__: root)
    found = told("render", "--ct", "sample", "--out", tmp_path / "new")
    assert found["dataset"] == str(root)
    assert found["pictures"] == [str(root / "contact_sheet.png"), str(root / "index.html")]
    assert "device" in found


def test_render_tells_what_it_would_cost(tmp_path, monkeypatch):
    monkeypatch.setattr("endorender.dataset.plan.measure", lambda config, progress: (3.6, 36.0, 1e6))
    found = told(
        "render", "--ct", "sample", "--views", 100, "--preset", "synthetic", "--out", tmp_path / "f", "--dry-run"
    )
    assert found["estimate"] == {"hours": 0.11, "gigabytes": 0.1}
    assert found["frames"] == 100


def test_experiment_tells_hours(tmp_path, monkeypatch):
    experiments, costs = (importlib.import_module(f"training.{name}") for name in ("experiments", "study_cost"))
    rows = [{"stage": "train", "what": "paper, 2 runs", "count": 400, "hours": 0.5}]
    monkeypatch.setattr(experiments, "prepared", lambda *_, **__: ("study", "info", "plan"))
    monkeypatch.setattr(costs, "cost", lambda study, plan, settings, seeds: rows)
    assert told("experiment", "adapt", "--out", tmp_path / "e", "--dry-run") == {"hours": 0.5, "left": rows}
    monkeypatch.setattr(experiments, "experiment", lambda *_, **__: tmp_path / "e/answer.html")
    assert told("experiment", "adapt", "--out", tmp_path / "e")["tables"] == str(tmp_path / "e/tables")
    monkeypatch.setattr(experiments, "experiment", lambda *_, **__: None)
    assert told("experiment", "adapt", "--out", tmp_path / "e")["page"] is None


def test_gallery_tells_its_comparison(tmp_path, monkeypatch):
    def made(out, *_, **__):
        (tmp_path / "comparison.json").write_text('{"deep_red": {"measured": 1}}')
        return "a table"

    monkeypatch.setattr("endorender.dataset.gallery.gallery", made)
    assert told("gallery", "--out", tmp_path) == {"deep_red": {"measured": 1}}
