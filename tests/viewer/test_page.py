"""`endorender view`: what it refuses in one line, how it ends, and what it does not tell."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.viewer.page import opened
from tests.dataset import sphere

pytest.importorskip("viser", reason="needs the extra: pip install 'endorender[view]'")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return sphere.make(tmp_path_factory.mktemp("page") / "data", patients=2)


def mistake(*args):
    """Run; assert exit code 2 and one line on stderr; return the line."""
    result = CliRunner().invoke(main, ["view", *map(str, args)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_cannot_be_shown_is_said_in_one_line(dataset, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "neither a dataset (there is no dataset.json) nor a CT" in mistake(tmp_path / "empty")
    assert "cannot be opened" in mistake(tmp_path / "nowhere")
    assert "--region is for a CT" in mistake(dataset, "--region", 2)
    assert "give the dataset's folder" in mistake("sample", "--evaluation", tmp_path)
    assert "holds no predictions.npz" in mistake(dataset, "--evaluation", tmp_path)
    np.savez(tmp_path / "predictions.npz", other=np.zeros((2, 2)))
    assert "is of other data" in mistake(dataset, "--evaluation", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use: choose another with --port" in mistake(dataset, "--port", port)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'endorender[view]'" in mistake(dataset)


def test_ctrl_c_is_how_one_leaves(dataset):
    # Python sets its own handler even where a shell's background ignores the signal.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cli.main import main; main(sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "view", dataset, "--port", "0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        line = process.stdout.readline()
        assert line.startswith("view: http://127.0.0.1:"), process.stderr.read()
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=20)
    assert (process.returncode, said, complained) == (0, "", "")


def test_the_page_knows_a_patient_by_alias_only(dataset, tmp_path):
    assert opened(str(dataset), 0).title == "endorender · dataset"
