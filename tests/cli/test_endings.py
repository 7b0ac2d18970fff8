"""What ends a command: Ctrl-C in whatever dress, and refusals that can be printed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Annotated

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, PlainSerializer
from pydantic_core import PydanticSerializationError

from cli.main import main
from endorender.dataset import configure, generate, work
from endorender.dataset.frame import read_manifest
from endorender.errors import UserError
from tests.cli.test_main import REPOSITORY, run
from tests.dataset.made import contents
from tests.dataset.tubes import tube


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C, even where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def converted():
    """Ctrl-C while pydantic calls Python: it comes out as an error of pydantic's."""

    class Row(BaseModel):
        at: Annotated[int, PlainSerializer(lambda value: signal.raise_signal(signal.SIGINT))]

    Row(at=1).model_dump_json()


def test_ctrl_c_that_a_library_turned_into_an_error_of_its_own_is_ctrl_c(tmp_path, monkeypatch):
    with pytest.raises(PydanticSerializationError):
        converted()
    monkeypatch.setattr("endorender.dataset.generate", lambda *args, **options: converted())
    assert (
        CliRunner().invoke(main, ["render", "--ct", "sample", "--out", str(tmp_path / "data")]).exit_code
        == 128 + signal.SIGINT
    )
    # Nor does a view count as failed by it.
    monkeypatch.setattr(work, "render_view", lambda *args: converted())
    renderer = work.Renderer(configure(ct="sample", views=1, preset="paper4"), {})
    renderer._ready = SimpleNamespace(alias="p001", view=lambda n: None)
    with pytest.raises(KeyboardInterrupt):
        list(renderer.render(work.Unit("p001", 0, ("p001/0000/synthetic",), True), lambda done, text: None))


def test_a_refusal_is_one_line_that_can_be_printed_whatever_stands_in_it():
    assert str(UserError("no camera is called 'a\n  b\x1b[31m\ud800'")) == r"no camera is called 'a b\x1b[31m\ud800'"


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("endorender.dataset.generate", interrupted)
    result = run("render", "--ct", "sample", "--out", tmp_path / "data")
    assert result.exit_code == 130
    assert "--resume continues" in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_is_not_lost_where_a_library_swallows_it(tmp_path, monkeypatch):
    def swallowing(config, out, resume, only, progress, retry_failed, workers, cluster):
        progress(0, 2, "")
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        progress(1, 2, "")
        pytest.fail("went on")

    monkeypatch.setattr("endorender.dataset.generate", swallowing)
    assert run("render", "--ct", "sample", "--out", tmp_path / "data").exit_code == 128 + signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


STUCK = """
import sys, time
import endorender.dataset
from cli.main import main

def stuck(config, out, resume, only, progress, retry_failed, workers, cluster):
    while True:
        try:
            print("begun", flush=True)
            time.sleep(0.1)
        except KeyboardInterrupt:
            pass

endorender.dataset.generate = stuck
main(["render", "--ct", "sample", "--out", sys.argv[1]])
"""


def interrupted(process):
    """Press Ctrl-C and wait for the end; asserts how it ends."""
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    # Python itself ends by the signal if that struck inside an exec() of some library; to a shell both are 130.
    assert process.returncode in (130, -signal.SIGINT), told
    assert told.startswith("error: interrupted; ")
    assert "--resume continues" in told
    assert told.count("\n") == 1


def begin(*command):
    return subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_ends_a_render_that_cannot_be_stopped(tmp_path):
    process = begin("-c", STUCK, tmp_path / "data")
    assert process.stdout.readline() == "begun\n"
    interrupted(process)  # it never ends by itself


def test_ctrl_c_ends_a_render_and_loses_no_frame(tmp_path):
    """Twice while frames are being made, then to the end: the bytes of a run that was not interrupted."""
    ct = tube(tmp_path / "ct.nii.gz")
    options = ["-m", "endorender", "render", "--ct", ct, "--views", 2, "--size", "24x18", "--spp", 64]
    options += ["--preset", "paper4", "--out"]
    root, grown = tmp_path / "data", 0
    for _ in range(2):
        process = begin(*options, root, *(["--resume"] if root.exists() else []))
        while not (root / "manifest.jsonl").exists() or (root / "manifest.jsonl").read_text().count("\n") <= grown:
            assert process.poll() is None
            time.sleep(0.02)
        interrupted(process)
        assert len(read_manifest(root)) > grown  # no row is lost, and each names files that are whole
        grown = len(read_manifest(root))
    assert grown < 10
    config = configure(ct=str(ct), views=2, size="24x18", spp=64, preset="paper4")
    generate(config, root, resume=True)
    assert contents(root) == contents(generate(config, tmp_path / "whole"))
