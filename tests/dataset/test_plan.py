"""Before a long run: counts, ranges, estimates, a preview. During it: frames that fail."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import main
from endorender.dataset import configure, generate, open_dataset, work
from endorender.dataset.patients import by_rule
from endorender.dataset.plan import measure, plan, preview, ranges
from endorender.dataset.writer import read_failed
from endorender.errors import Notice, UserError
from tests.dataset.made import contents
from tests.dataset.tubes import tube


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp("MUELLER_HANS") / "ct.nii.gz")


def configuration(ct, **changes):
    return configure(**{"ct": str(ct), "views": 4, "size": "16x12", "spp": 1, "preset": "synthetic", **changes})


def test_ranges_name_what_differs_and_nothing_else():
    config = configure(ct=["phantom:1", "phantom:2"], preset="randomized", views=40)
    found = ranges(config)
    assert set(found) == {"views", "randomized"}
    low, high = found["views"]["camera.fov"]
    assert 70 <= low < 76
    assert 134 < high <= 140
    drawn = found["randomized"]
    assert drawn["look"] == ["dark_red", "deep_red", "pale_pink", "yellow_tan"]
    assert 0.02 <= drawn["tissue.roughness"][0] < drawn["tissue.roughness"][1] <= 0.6
    assert "mucosa.seed" not in drawn
    assert "response.white_balance[1]" not in drawn
    assert ranges(configure(ct="sample")) == {}


def test_a_plan_counts_measures_and_leaves_nothing(ct, tmp_path):
    variations = [{"name": "a"}, {"name": "b", "response": {"contrast": {"grid": [1.1, 1.5]}}}]
    config = configuration(ct, variations=variations, views=40)
    found = plan(config)
    assert (found["patients"], found["views"], found["frames"]) == (1, 40, 80)
    assert found["drawn"] == {"b": {"response.contrast": [1.1, 1.5]}}
    measured, estimate = found["measured"], found["estimate"]
    assert measured["views"] == 3
    assert 0 < measured["seconds_a_view"] < 20
    whole = (measured["seconds_a_view"] * 40 + measured["setup_seconds"]) / 3600
    assert estimate["hours"] == pytest.approx(whole, abs=1e-3)
    # What it foretells of the disk is what comes.
    root = generate(configuration(ct, variations=variations, views=3), tmp_path / "data")
    size = sum(len(raw) for name, raw in contents(root).items() if name.startswith(("p001", "manifest")))
    assert measured["megabytes_a_view"] == pytest.approx(size / 3e6, rel=0.2)  # other views, other flow


def test_the_cost_of_many_samples_is_told_from_few(ct, monkeypatch):
    asked = []

    def measured(config, progress):
        asked.append(config.spp)
        return 1 + 0.1 * config.spp, 5.0, 1e6

    monkeypatch.setattr("endorender.dataset.plan._measured", measured)
    assert measure(configuration(ct, spp=640)) == pytest.approx((65, 5, 1e6))
    assert max(asked) <= 16


def test_the_cost_of_a_large_picture_is_told_from_a_small_one(ct, monkeypatch):
    def measured(config, progress):
        assert config.width * config.height <= 10_100
        assert config.width / config.height == pytest.approx(4 / 3, rel=0.02)
        return 1e-6 * config.width * config.height * config.spp, 5.0, 3.0 * config.width * config.height

    monkeypatch.setattr("endorender.dataset.plan._measured", measured)
    for spp in (4, 64):
        seconds, setup, size = measure(configuration(ct, size="640x480", spp=spp))
        assert (seconds, setup, size) == pytest.approx((1e-6 * 640 * 480 * spp, 5, 3.0 * 640 * 480))


def test_dry_run_and_preview_from_the_command_line(ct, tmp_path):
    out = tmp_path / "data"
    flags = ["render", "--ct", str(ct), "--views", "3", "--size", "16x12", "--spp", "1", "--preset", "synthetic"]
    done = CliRunner().invoke(main, [*flags, "--out", str(out), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "frames      3" in done.stdout
    assert re.search(r"estimate +time \d+ (s|min|h), disk [\d.]+ (MB|GB)", done.stdout), done.stdout
    assert not out.exists()
    done = CliRunner().invoke(main, [*flags, "--out", str(out), "--preview"])
    assert done.exit_code == 0, done.output
    assert [p.name for p in tmp_path.iterdir()] == ["data.preview.png"]
    with Image.open(tmp_path / "data.preview.png") as sheet:
        assert sheet.size[1] > 3 * 12


def test_some_of_many_patients_are_measured_and_shown(ct, tmp_path):
    """What is rendered for it is a dataset of those alone, whose splits name nobody else."""
    config = configuration(ct).model_copy(update={"views": 1})
    ids = [f"p{n:03}" for n in range(1, 8)]
    patients = tuple(config.ct[0].model_copy(update={"alias": alias}) for alias in ids)
    config = config.model_copy(update={"ct": patients, "splits": by_rule(ids)})
    assert min(measure(config)) > 0
    assert preview(config, tmp_path / "p.png").stat().st_size


def test_a_preview_shows_the_views_of_the_dataset(ct, tmp_path):
    config = configuration(ct, views=3)
    early, late = preview(config, tmp_path / "p.png"), generate(config, tmp_path / "data") / "contact_sheet.png"
    with Image.open(early) as one, Image.open(late) as two:
        assert np.array_equal(np.asarray(one.convert("RGB")), np.asarray(two.convert("RGB")))


def breaking(monkeypatch, views, error):
    """Let these views fail."""
    real = work.render_view

    def render(view, names, fresh, report):
        if view.number in views:
            raise error
        yield from real(view, names, fresh, report)

    monkeypatch.setattr(work, "render_view", render)


@pytest.mark.filterwarnings("ignore::endorender.errors.Notice")
def test_a_failed_frame_is_recorded_the_run_goes_on_and_it_can_be_tried_again(ct, tmp_path, monkeypatch):
    root, config = tmp_path / "data", configuration(ct)
    with monkeypatch.context() as patch:
        breaking(patch, {0, 2}, UserError("no wall in sight", "NO_WALL"))
        with pytest.warns(Notice, match="2 frames failed, p001/0000/synthetic first .no wall in sight"):
            generate(config, root)
    assert [f.view for f in open_dataset(root).frames] == [1, 3]
    rows = read_failed(root)
    assert [(r["id"], r["code"], r["error"], r["status"]) for r in rows] == [
        (f"p001/000{n}/synthetic", "NO_WALL", "no wall in sight", "failed") for n in (0, 2)
    ]
    assert all(isinstance(r["seed"], int) for r in rows)
    assert not (root / "index.html").exists()
    # Resuming leaves them alone; the command says so and ends with 2.
    with monkeypatch.context() as patch:
        breaking(patch, {0, 2}, AssertionError("tried again"))
        with pytest.warns(Notice, match="2 frames failed"):
            generate(config, root, resume=True)
    done = CliRunner().invoke(main, ["render", "--out", str(root), "--resume", "--ct", str(ct)])
    assert done.exit_code == 2
    assert "--retry-failed" in done.stderr
    done = CliRunner().invoke(main, ["render", "--out", str(root), "--retry-failed", "--ct", str(ct)])
    assert done.exit_code == 0, done.stderr
    assert contents(root) == contents(generate(config, tmp_path / "whole"))


def test_a_bug_is_recorded_by_its_kind_alone(ct, tmp_path, monkeypatch):
    breaking(monkeypatch, {1}, RuntimeError("cannot open MUELLER_HANS"))
    with pytest.warns(Notice, match="1 frames failed"):
        generate(configuration(ct), tmp_path / "data")
    (row,) = read_failed(tmp_path / "data")
    assert (row["code"], row["error"]) == ("BUG", "RuntimeError")
    assert not [n for n, raw in contents(tmp_path / "data").items() if b"MUELLER" in raw]


@pytest.mark.parametrize("error", [UserError("no wall in sight", "NO_WALL"), RuntimeError("bug")])
def test_where_nothing_succeeds_the_error_is_told_and_nothing_is_left(ct, tmp_path, monkeypatch, error):
    breaking(monkeypatch, set(range(4)), error)
    with pytest.raises(type(error), match=str(error)):
        generate(configuration(ct), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_full_disk_is_no_matter_of_one_frame(ct, tmp_path, monkeypatch):
    breaking(monkeypatch, {1}, OSError(28, "No space left on device"))
    with pytest.raises(UserError) as error:
        generate(configuration(ct), tmp_path / "data")
    assert error.value.code == "DISK_FULL"
    assert len(open_dataset(tmp_path / "data").frames) == 1


def test_a_damaged_list_of_failures_is_said(ct, tmp_path):
    root = generate(configuration(ct, views=1), tmp_path / "data")
    (root / "failed.jsonl").write_text(json.dumps([1]) + "\n")
    with pytest.raises(UserError, match=r"failed\.jsonl cannot be read"):
        generate(configuration(ct, views=1), root, resume=True)
