"""Whole files, and outputs that tell no patient's secrets."""

import os
import subprocess
import sys

import pytest

from endorender.errors import UserError
from training.files import (
    command,
    derive,
    fingerprint,
    read_csv,
    read_json,
    versions,
    write_atomic,
    write_csv,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", "old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_json_is_read_back_and_what_is_not_json_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"n": [1, 0.1, None], "s": "é"})
    assert read_json(tmp_path / "a.json", "a thing") == {"n": [1, 0.1, None], "s": "é"}
    (tmp_path / "a.json").write_text('{"n": [1')
    with pytest.raises(UserError, match="cut short"):
        read_json(tmp_path / "a.json", "a thing")
    with pytest.raises(UserError, match="not a thing"):
        read_json(tmp_path / "b.json", "a thing")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "c.json", float("nan"))


def test_no_name_is_run_by_a_spreadsheet_and_every_row_reads_back(tmp_path):
    names = ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\tx", "plain", "-", ""]
    write_csv(tmp_path / "a.csv", ["name", "=value"], [[name, -1.5] for name in names])
    lines = (tmp_path / "a.csv").read_text().split("\n")
    assert lines[:4] == ["name,'=value", "'=HYPERLINK(1),-1.5", "'+1,-1.5", "'-1+2,-1.5"]
    assert [row["name"] for row in read_csv(tmp_path / "a.csv")] == names
    assert {float(row["=value"]) for row in read_csv(tmp_path / "a.csv")} == {-1.5}


def test_the_command_is_kept_without_paths(tmp_path, monkeypatch):
    (tmp_path / "scan").mkdir()
    argv = ["/usr/bin/endorender", "train", "/data/Miller^Anna", "--out=../runs/x", "--steps", "400", "--seed=1", "~/c"]
    assert command(argv) == "endorender train PATH --out=PATH --steps 400 --seed=1 PATH"
    monkeypatch.chdir(tmp_path)
    assert command(["/x/cli/__main__.py", "evaluate", "scan", "--label", "last layer"]) == (
        "endorender evaluate PATH --label last layer"
    )
    assert command(["/home/anna/script.py"]) == "python"
    # Names of folders that are not there yet, and LAYOUT@FOLDER, are paths too.
    assert command(["endorender", "train", "simcol3d@DOE_JOHN", "--out", "DOE_RUN", "--resume", "DOE"]) == (
        "endorender train PATH --out PATH --resume PATH"
    )
    assert command(["endorender", "experiment", "adapt", "--foreign=c3vd@DOE", "--preset", "small", "--ct", "DOE"]) == (
        "endorender experiment adapt --foreign=PATH --preset small --ct PATH"
    )
    assert "DOE" not in command(["/home/anna/script.py", "DOE"])


def test_seeds_and_fingerprints_depend_on_every_part():
    assert derive(0, "order", 1) == derive(0, "order", 1)
    assert len({derive(*parts) for parts in [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2)]}) == 4
    assert 0 <= derive("x") < 2**63
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_versions_name_what_matters():
    assert {"python", "machine", "endorender", "torch", "numpy"} <= set(versions())


def test_without_the_extra_the_way_out_is_named_and_reports_still_work():
    code = """
import sys
for name in ("lightning", "torchmetrics", "safetensors"):
    sys.modules[name] = None
from endorender.errors import UserError
import training.config, training.report
for module in ("trainer", "evaluate", "metrics", "checkpoint"):
    try:
        __import__(f"training.{module}")
    except UserError as error:
        assert error.code == "MISSING_EXTRA", error.code
        assert "pip install 'endorender[train]'" in str(error), error
    else:
        raise AssertionError(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
