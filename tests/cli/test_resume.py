"""A dataset that was begun goes on without its options, and without a path in it."""

import json
import stat
from pathlib import Path

import platformdirs
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.dataset import remembered
from tests.dataset.made import contents

SAMPLE = next((Path(__file__).parents[2] / "endorender/ct/samples").glob("*.nii.gz"))
SMALL = ("--views", "1", "--size", "16x12", "--spp", "1", "--preset", "synthetic")


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "MUELLER_HANS.nii.gz"
    path.write_bytes(SAMPLE.read_bytes())
    return path


def test_resume_asks_for_nothing_and_the_dataset_holds_no_path(tmp_path, scan, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "data"
    assert run("render", "--ct", scan.name, *SMALL, "--out", out).exit_code == 0
    whole = contents(out)
    (out / "p001/0000/synthetic.png").unlink()
    monkeypatch.chdir("/")
    result = run("render", "--resume", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert contents(out) == whole
    assert not [name for name, raw in whole.items() if b"MUELLER" in raw]
    (kept,) = (tmp_path / "state/endorender/scans").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "MUELLER" not in kept.name
    assert json.loads(kept.read_text())["ct"] == [str(scan)]


@pytest.mark.parametrize("broken", ["nothing", "folder that cannot be", "no JSON"])
def test_where_nothing_is_remembered_the_paths_are_asked_for(tmp_path, scan, monkeypatch, broken):
    state, out = tmp_path / "state", tmp_path / "data"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    if broken == "folder that cannot be":
        state.write_text("a file")
    assert run("render", "--ct", scan, *SMALL, "--out", out).exit_code == 0
    if broken == "nothing":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    elif broken == "no JSON":
        for file in (state / "endorender/scans").iterdir():
            file.write_text('{"ct": [')
    result = run("render", "--resume", "--out", out)
    assert result.exit_code == 2
    assert "give the CTs again with --ct" in result.stderr
    assert run("render", "--resume", "--ct", scan, "--out", out).exit_code == 0


def test_what_is_given_goes_over_what_was_kept(tmp_path):
    assert remembered.recall(tmp_path / "never", {"ct": None, "views": 2}) == {"ct": None, "views": 2}
    assert Path(platformdirs.user_state_path("endorender")).parent.name.startswith("state")  # the tests' own
