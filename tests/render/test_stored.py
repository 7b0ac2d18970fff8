"""Where compiled kernels are kept: apart from other processes', whatever a home, a kill or a disk did to them."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from endorender import engine
from endorender.render.device import offline_cache
from tests.processes import started

REPOSITORY = Path(__file__).parents[2]
RENDERS = "from endorender.render.images import devices\nprint(devices.random_bits('cpu')[7, 0])"
ENTRIES = {"a.tic": b"kernel", "b/c.tic": b"another", "ticache.tcb": b"which there are"}


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.delenv("TI_OFFLINE_CACHE_FILE_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "endorender" / "kernels" / f"{engine.NAME}-{engine.VERSION}"


def run(code, **variables):
    """A process that ended well and complained of nothing; None takes a variable away. Its output."""
    env = {k: v for k, v in {**os.environ, **variables}.items() if v is not None}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def fill(folder):
    """As a process that ended well leaves it."""
    for name, data in ENTRIES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    offline_cache.seal(folder)


def held(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {".lock", offline_cache.LIST}


def test_processes_keep_their_kernels_apart_and_find_them_again(base, monkeypatch):
    fill(base / "0")
    code = "from endorender.render.device import offline_cache\nprint(offline_cache.folder(), flush=True)\ninput()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started([sys.executable, "-c", code], cwd=REPOSITORY, **pipes) as other:
        assert other.stdout.readline().strip() == str(base / "0")
        assert offline_cache.folder() == base / "1"
        assert held(base / "1") == set(ENTRIES)  # it begins with what is known already
        other.communicate("\n")
    assert offline_cache.folder() == base / "0"
    assert held(base / "0") == set(ENTRIES)
    monkeypatch.setenv("TI_OFFLINE_CACHE_FILE_PATH", str(base / "own"))
    assert offline_cache.folder() == base / "own" / base.name / "0"


def test_where_nothing_can_be_written_a_private_folder_or_none_is_taken(base, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert offline_cache.folder().parent == Path(tempfile.gettempdir())

    def full(**options):
        raise OSError(28, "full")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert offline_cache.folder() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "ticache.lock").touch(),  # of a process that was killed
        lambda folder: os.truncate(folder / "a.tic", 3),
        lambda folder: (folder / "b" / "c.tic").unlink(),
        lambda folder: (folder / "ticache.tcb").write_bytes(b"which there arg"),
        lambda folder: (folder / "d.tic").write_bytes(b"written, and not listed"),
        lambda folder: (folder / offline_cache.LIST).write_text('{"a.tic": '),
        lambda folder: (folder / offline_cache.LIST).unlink(),
    ],
)
def test_what_was_damaged_is_begun_anew(base, damage):
    fill(base / "0")
    damage(base / "0")
    assert offline_cache.folder() == base / "0"
    assert held(base / "0") == set()


def test_a_lock_left_behind_keeps_no_kernel_from_being_stored(base):
    """To Taichi alone it is a lock for good: nothing is stored any more."""
    for kind in ("ticache.lock", "metadata.lock", "qdcache.lock"):
        (base / "0").mkdir(parents=True, exist_ok=True)
        (base / "0" / kind).touch()
    first = run(RENDERS)
    listed = json.loads((base / "0" / offline_cache.LIST).read_text())
    assert len(listed) >= 2
    assert run(RENDERS) == first
    assert json.loads((base / "0" / offline_cache.LIST).read_text()).keys() == listed.keys()


@pytest.mark.parametrize("home", [None, "/proc"])
def test_no_home_is_needed(home):
    """Taichi aborts without one, and one that cannot be written ends in a segmentation fault after all work."""
    private = {"TI_OFFLINE_CACHE_FILE_PATH": None, "XDG_CACHE_HOME": None}
    if home is None:
        private["TI_OFFLINE_CACHE_FILE_PATH"] = "/proc/none"  # not the home that the system knows of
    before = set(Path(tempfile.gettempdir()).glob("endorender-*"))
    assert run(RENDERS, HOME=home, **private)
    assert set(Path(tempfile.gettempdir()).glob("endorender-*")) <= before
