"""What a run must survive: killed at any moment, a full disk, a folder that cannot be written, very many frames."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export
from endorender.dataset.verify import verify
from tests.dataset.made import H, W, contents, make
from tests.dataset.refusals import refusal
from tests.dataset.sphere import make as sphere

NUMBERS = ("INTRINSICS", "DEPTH", "NORMAL", "VALUES")  # the frames of made.py are numbers without a camera
REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def mounted(folder, options):
    """A file system of its own, where the machine lets us have one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting needs privileges that are not here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


needs_mount = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounts a file system, as root on Linux",
)


@needs_mount
def test_a_disk_that_runs_full_loses_no_finished_frame(tmp_path):
    with mounted(tmp_path / "disk", "size=400k") as disk:
        assert "free some and repeat with --resume" in refusal("DISK_FULL", make, disk / "data")
        frames = open_dataset(disk / "data").frames
        assert 5 < len(frames) < 60
        for frame in frames:
            assert frame.image().shape == (H, W, 3)
            assert frame.geometry()["mask"].any()
        # Files of a frame whose row did not fit may be there; half ones and half rows are not.
        assert {f.code for f in verify(disk / "data")} - {*NUMBERS} <= {"MISSING", "FOREIGN"}
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        make(disk / "data", resume=True)
        assert contents(disk / "data") == contents(make(tmp_path / "whole"))


@needs_mount
def test_a_folder_that_is_read_only_is_said_in_one_line(tmp_path):
    with mounted(tmp_path / "disk", "size=4m") as disk:
        root = make(disk / "data")
        (root / "p001/0000/synthetic.png").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "choose another --out" in refusal("NOT_WRITABLE", make, disk / "other")
        assert "choose another --out" in refusal("NOT_WRITABLE", make, root, resume=True)
        refusal("NOT_WRITABLE", export, open_dataset(root).root, "webdataset", disk / "out")
        assert "p001/0000/synthetic.png" in {f.where for f in verify(root)}  # looking needs no writing


@needs_mount
def test_an_export_that_does_not_fit_leaves_nothing(tmp_path):
    data = sphere(tmp_path / "data", size="64x48")
    with mounted(tmp_path / "disk", "size=200k") as disk:
        refusal("DISK_FULL", export, data, "webdataset", disk / "out")
        assert list(disk.iterdir()) == []


@pytest.mark.slow
def test_fifty_random_kills(tmp_path):
    """At any moment, while starting, writing, sorting, drawing pages: what is listed is whole, the end is the same."""
    whole, root = contents(make(tmp_path / "whole")), tmp_path / "data"
    rng, most = random.Random(11), 0
    for n in range(50):
        worker = subprocess.Popen([sys.executable, "-m", "tests.dataset.made", str(root), "0.05"], cwd=REPOSITORY)
        # Some early, some late: starting alone takes about a second.
        time.sleep(rng.uniform(0.2, 2.5))
        worker.kill()
        worker.wait()
        if not (root / "dataset.json").exists():
            continue
        frames = open_dataset(root).frames
        assert len(frames) >= most, n  # what was finished stays finished
        most = len(frames)
        if n % 5 == 0:
            # What was being written is there in part, under a temporary name or without a row; nothing else is wrong.
            torn = not (root / "manifest.jsonl").read_bytes().endswith(b"\n") if frames else False
            allowed = {"MISSING", "TEMPORARY", "FOREIGN", *NUMBERS} | ({"DAMAGED"} if torn else set())
            assert {f.code for f in verify(root)} <= allowed, n
        for frame in frames:
            assert all(frame.path(kind).is_file() for kind in frame.files)
    make(root, resume=True)
    assert contents(root) == whole


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("finished", "workers"),
    [(0, 0), pytest.param(99_000, 0, marks=pytest.mark.slow), pytest.param(0, 2, marks=pytest.mark.slow)],
)
def test_a_hundred_thousand_frames_are_planned_and_continued_in_little_memory(tmp_path, finished, workers):
    if workers:
        pytest.importorskip("ray")
    command = [sys.executable, "-m", "tests.dataset.planning", *map(str, (tmp_path / "data", finished, workers))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 300


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.slow
def test_two_hundred_thousand_rows_are_verified_in_little_memory(tmp_path):
    command = [sys.executable, "-m", "tests.dataset.checking", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, peak = done.stdout.rsplit(maxsplit=1)
    # The second patient's pages are not there, and the others are of one row; of 200,000 rows nothing is said.
    assert json.loads(found) == {"MISSING": 1, "CHANGED": 4}
    assert float(peak) < 300
