"""The page: honest figures, nothing from the network, nothing that a label could smuggle in."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from endorender.errors import UserError
from tests.pages import faults
from training import curves, figures
from training.compare import load_evaluation, sections
from training.evaluate import evaluate
from training.report import report
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "steps": 12, "validate_every": 6}
EVIL = '<script>alert("x")</script> & co'


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory, make_tubes):
    """Baseline, and fine-tuned with two seeds; on a test patient, and on other data."""
    root, data, other = tmp_path_factory.mktemp("work"), make_tubes(), make_tubes(patients=3, views=2, size=(20, 40))
    base = train(SMALL | {"variations": ["synthetic"]}, root / "base", data)
    tuned = [
        train(SMALL | {"seed": seed, "variations": ["pale_pink", "deep_red"]}, root / f"t{seed}", data, base)
        for seed in (0, 1)
    ]
    looks = ["pale_pink", "deep_red"]
    found = []
    for where, (kind, title) in {"own": (data, "test patient"), "other": (other, "airway " + EVIL)}.items():
        for run, label in [(base, "plain " + EVIL), *((t, "tuned") for t in tuned)]:
            who = {"variations": looks} if where == "own" else {"patients": ["p3"], "variations": looks}
            found.append(evaluate(run, kind, root / where / run.name, label=label, title=title, **who))
    return found


@pytest.fixture(scope="module")
def page(evaluations, tmp_path_factory):
    return report(evaluations, tmp_path_factory.mktemp("out") / "report")


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]
        if tag not in ("meta", "img", "br"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_sections_arms_and_seeds_follow_the_order_given(evaluations):
    own, other = sections([load_evaluation(path) for path in evaluations])
    assert own.title == "test patient"
    assert [arm.label for arm in own.arms] == ["plain " + EVIL, "tuned"]
    assert [len(arm.evaluations) for arm in own.arms] == [1, 2]
    assert len(own.ids()) == 8
    assert len(other.ids()) == 4
    assert [e.summary["network"]["seed"] for e in own.arms[1].evaluations] == [0, 1]


def test_the_difference_is_the_one_that_can_be_worked_from_the_tables(evaluations):
    own = sections([load_evaluation(path) for path in evaluations])[0]
    base, *seeds = ([float(r["abs_rel"]) for r in e.frames if r["protocol"] == "median"] for e in own_evaluations(own))
    after = np.mean(seeds, axis=0)
    difference = own.difference(own.arms[1], "median", "abs_rel")
    expected = 100 * (np.mean(base) - after.mean()) / np.mean(base)
    assert difference.by_frame.value == pytest.approx(expected)
    assert difference.by_view.value == pytest.approx(expected)
    assert difference.by_frame.low <= expected <= difference.by_frame.high
    delta = own.difference(own.arms[1], "metric", "delta1")
    points = 100 * (own.arms[1].values("metric", "delta1") - own.arms[0].values("metric", "delta1")).mean()
    assert delta.by_frame.value == pytest.approx(points)


def own_evaluations(section):
    return [e for arm in section.arms for e in arm.evaluations]


def test_the_page_is_self_contained_and_well_formed(page):
    text = page.read_text()
    parsed = Tags(text)
    assert parsed.stack == []
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "srcset"):
            assert value.startswith("data:image/png;base64,"), (tag, name, value[:60])
    assert not re.search(r"https?://|url\(|@import", text)
    assert "&lt;script&gt;alert(" in text
    assert text.count('<section class="section">') == 3  # the two sets of frames, and where they come from


def test_the_page_is_fit_for_phone_and_desktop_keyboard_and_screen_reader(page):
    assert faults(page) == []


def test_the_page_says_the_figures_of_the_tables(page, evaluations):
    text = page.read_text()
    own = sections([load_evaluation(path) for path in evaluations])[0]
    value = own.difference(own.arms[1], "median", "abs_rel").by_frame.value
    assert f"{abs(value):.1f} % {'less' if value >= 0 else 'more'} error" in text
    assert f"{own.mean(own.arms[0], 'median', 'abs_rel').value:#.3g}" in text
    assert "One patient" in text
    assert "torch" in text
    assert "learning_rate" in text


def test_figures_are_pictures_that_show_something(page):
    files = sorted((page.parent / "figures").glob("*.png"))
    for path in files:
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
    names = {path.stem for path in files}
    for number in (1, 2):
        for protocol in ("metric", "median"):
            assert {f"{number}_pictures_{protocol}", f"{number}_error_against_depth_{protocol}"} <= names
            assert {f"{number}_error_against_radius", f"{number}_error_against_incidence"} <= names
        assert {f"{number}_by_condition", f"{number}_worst", f"{number}_frame_by_frame"} <= names
    assert "1_convergence" in names
    for path in files:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"), int)
        assert min(pixels.shape[:2]) > 150, path.name
        assert len(np.unique(pixels @ [1, 256, 65536])) > 50, path.name
        assert (pixels[[0, -1]] == 255).all(), path.name  # nothing runs over the edge
        assert (pixels[:, [0, -1]] == 255).all(), path.name


def test_the_table_holds_what_the_page_shows(page, evaluations):
    import csv

    own = sections([load_evaluation(path) for path in evaluations])[0]
    with open(page.parent / "tables/1_metrics.csv", newline="") as file:
        rows = {(r["protocol"], r["metric"], r["arm"]): r for r in csv.DictReader(file)}
    for arm in own.arms:
        row = rows["median", "abs_rel", arm.label]
        assert float(row["mean"]) == own.mean(arm, "median", "abs_rel").value
        assert (row["p"] == "") == (arm is own.arms[0])
    difference = own.difference(own.arms[1], "median", "abs_rel")
    row = rows["median", "abs_rel", own.arms[1].label]
    assert float(row["difference"]) == difference.by_frame.value
    assert (float(row["low_over_views"]), float(row["p"])) == (difference.by_view.low, difference.p)
    assert row["low_over_patients"] == ""  # one patient


def test_one_evaluation_alone_replaces_an_old_report_and_compares_nothing(evaluations, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/report.html").write_text("an old one")
    text = report(evaluations[3:4], tmp_path / "one").read_text()
    assert "abs_rel" in text
    assert "less error" not in text
    assert "Differences" not in text
    assert not (tmp_path / "one/figures/1_frame_by_frame.png").exists()


def test_the_same_evaluations_make_the_same_picture(page, evaluations):
    own = sections([load_evaluation(path) for path in evaluations])[0]
    made = {
        "convergence": figures.convergence(own),
        "baselines": figures.without_network(own, "median"),
        "by_condition": figures.by_condition(own, "median"),
        "frame_by_frame": figures.paired(own, "median"),
        "error_against_depth_metric": figures.against(own, "metric"),
    }
    for name, figure in made.items():
        assert figures.png(figure) == (page.parent / f"figures/1_{name}.png").read_bytes(), name
    for arm in own.arms:
        said = curves.words([curves.of_log(e.log) for e in arm.evaluations])
        assert f"</strong>: {said}." in page.read_text()


def test_an_interrupted_report_is_taken_up_again(evaluations, tmp_path, monkeypatch):
    out = tmp_path / "report"
    monkeypatch.setattr(figures, "against", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(evaluations, out)
    assert not (out / "report.html").exists()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [out / f".report.html.{dead.pid}.part", out / f"figures/.a.png.{dead.pid}.part"]
    alive = out / f"figures/.b.png.{os.getppid()}.part"
    for path in (*left, alive):
        path.write_text("half")
    monkeypatch.undo()
    (out / "photo.jpg").write_text("holiday")
    with pytest.raises(UserError, match="something other"):
        report(evaluations, out)
    (out / "photo.jpg").unlink()
    assert report(evaluations, out).is_file()
    assert not any(path.exists() for path in left)
    assert alive.exists()  # somebody is still writing it


def test_a_dollar_in_a_label_begins_no_formula(evaluations, tmp_path):
    copies = []
    for n, folder in enumerate(evaluations[:2]):
        copies.append(shutil.copytree(folder, tmp_path / str(n)))
        summary = json.loads((copies[n] / "summary.json").read_text())
        (copies[n] / "summary.json").write_text(json.dumps(summary | {"label": f"5 $ and \\frac{{{n} $"}))
    assert report(copies, tmp_path / "report").is_file()


def test_what_cannot_be_reported_is_refused(evaluations, tmp_path):
    with pytest.raises(UserError, match="no evaluation"):
        report([], tmp_path / "a")
    with pytest.raises(UserError, match="not an evaluation"):
        report([tmp_path], tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years")
    with pytest.raises(UserError, match="something other than a report"):
        report(evaluations, tmp_path / "mine")
    broken = shutil.copytree(evaluations[0], tmp_path / "broken")
    (broken / "predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="evaluate again"):
        report([broken], tmp_path / "b")
    other = shutil.copytree(evaluations[0], tmp_path / "other")
    summary = json.loads((other / "summary.json").read_text())
    summary["protocols"] = {"metric": summary["protocols"]["metric"]}
    (other / "summary.json").write_text(json.dumps(summary))
    summary["protocols"] = {"metric": summary["protocols"]["metric"] | {"parameters": {"type": "metric", "x": 1}}}
    summary["label"] = "another"
    third = shutil.copytree(other, tmp_path / "third")
    (third / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="no protocol in common"):
        report([other, third], tmp_path / "c")


def test_a_pickle_among_the_arrays_is_not_opened(evaluations, tmp_path):
    bad = shutil.copytree(evaluations[0], tmp_path / "bad")
    np.savez(bad / "predictions.npz", **{"p4/0000/pale_pink": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(UserError, match="evaluate again"):
        report([bad], tmp_path / "out")
