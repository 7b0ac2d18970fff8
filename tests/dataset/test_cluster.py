"""Several workers make the dataset that one makes, whoever dies meanwhile."""

import logging
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender import __version__
from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.cluster import shares
from endorender.dataset.frame import frame_id, read_manifest
from endorender.dataset.generate import describe
from endorender.dataset.work import MOST_DEATHS, Failed, Unit, Work
from endorender.dataset.worker import Worker, WorkerBug, packed
from endorender.dataset.writer import Made, Writer
from endorender.errors import Notice, UserError
from endorender.generator import generator
from tests.dataset.made import contents
from tests.dataset.refusals import refusal
from tests.dataset.tubes import tube
from tests.processes import below, started

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")

REPOSITORY = Path(__file__).parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two patients, a file each."""
    home = tmp_path_factory.mktemp("MUELLER_HANS")
    tube(home / "a.nii.gz")
    tube(home / "b.nii.gz", radius=8)
    return home


def configuration(folder, **changes):
    values = {"ct": str(folder), "views": 4, "size": "24x18", "spp": 2, "seed": 3, "preset": "paper4"}
    return configure(**{**values, **changes})


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return contents(generate(configuration(folder), tmp_path_factory.mktemp("whole") / "data"))


@pytest.fixture(scope="module")
def session():
    """A Ray of this machine with two cores, and where it keeps its logs."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield Path(ray._private.worker._global_node.get_session_dir_path())
    ray.shutdown()


@linux
def test_two_workers_of_which_one_is_killed_make_the_same_dataset(session, folder, whole, tmp_path):
    killed, seen = [], []

    def progress(done, total, text):
        seen.append(done)
        assert total == 40
        if done >= 3 and not killed and (workers := below("ray::Worker.render")):
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with pytest.warns(Notice, match="a worker ended before its time"):
        root = generate(configuration(folder), tmp_path / "data", progress=progress, workers=2)
    assert killed
    assert contents(root) == whole
    assert seen == sorted(seen)
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert not [path for path in logs if b"MUELLER" in path.read_bytes()]
    for _ in range(50):
        if not (left := below("ray::Worker")):
            break
        time.sleep(0.1)
    assert not left


def test_what_a_worker_has_to_say_is_heard_here(session, folder, tmp_path):
    import nibabel

    scan = nibabel.load(folder / "a.nii.gz")
    air = (scan.get_fdata() < -500).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(air, scan.affine), tmp_path / "mask.nii.gz")
    labels = {"labels": str(tmp_path / "mask.nii.gz"), "label_tissue": {1: "deep_red", 7: "deep_red"}}
    config = configuration(folder / "a.nii.gz", views=2, preset="synthetic", **labels)
    with pytest.warns(Notice, match="no voxel of the mask carries label 7"):
        root = generate(config, tmp_path / "data", workers=2)
    assert len(open_dataset(root).frames) == 2


def test_a_ct_that_cannot_be_read_ends_the_run_with_the_reader_s_words(session, folder, tmp_path):
    (tmp_path / "SCHMIDT.nii.gz").write_bytes(b"no scan")
    config = configuration(tmp_path / "SCHMIDT.nii.gz")
    alone = refusal("TRUNCATED", generate, config, tmp_path / "data")
    assert refusal("TRUNCATED", generate, config, tmp_path / "data", workers=2) == alone
    assert "SCHMIDT" not in alone
    assert not (tmp_path / "data").exists()


@linux
def test_ctrl_c_ends_all_processes_and_loses_no_frame(folder, whole, tmp_path):
    """Interrupted with two workers of its own Ray, finished by this process."""
    home = tempfile.mkdtemp(dir="/tmp")  # Ray's sockets lie there, and their paths must be short
    for attempt in range(5):
        root = tmp_path / f"data{attempt}"
        process, told = _interrupted(folder, root, home)
        if process.returncode != 0:
            break  # else all was made before the signal came: on a busy machine this process may have slept
    assert process.returncode in (130, -signal.SIGINT), told
    assert told.startswith("error: interrupted; ")
    assert told.count("\n") == 1
    assert 3 <= len(read_manifest(root)) < 40
    for _ in range(1500):
        if not (left := _mentioning(home)):
            break
        time.sleep(0.2)
    assert not left
    assert not [path for path in Path(home).rglob("*") if path.is_file() and b"MUELLER" in path.read_bytes()]
    shutil.rmtree(home)
    generate(configuration(folder), root, resume=True)
    assert contents(root) == whole


def _interrupted(folder, root, home):
    """(process, its stderr) of a run that heard Ctrl-C after its first frames."""
    options = [
        "--ct",
        folder,
        "--views",
        4,
        "--size",
        "24x18",
        "--spp",
        2,
        "--seed",
        3,
        "--preset",
        "paper4",
        "--out",
        root,
        "--workers",
        2,
    ]
    command = [sys.executable, "-m", "endorender", "render", *map(str, options)]
    how = {"cwd": REPOSITORY, "env": {**os.environ, "RAY_TMPDIR": home}, "stderr": subprocess.PIPE, "text": True}
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with started(command, **how, start_new_session=True, preexec_fn=heard) as process:
        while len(read_manifest(root)) < 3:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: Ray's processes hear it too
        _, told = process.communicate(timeout=300)
    return process, told


def _mentioning(text):
    """Command lines of all processes that hold this text."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


@linux
@pytest.mark.slow
def test_a_cluster_of_three_nodes_of_which_one_is_killed(folder, whole, tmp_path):
    from ray.cluster_utils import Cluster

    ray.shutdown()
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 500}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    killed, joined = [], Counter()

    def progress(done, total, text):
        joined.update(job["Entrypoint"] for job in ray._private.state.state.job_table())
        if done >= 6 and not killed:
            killed.append(nodes.pop())
            cluster.remove_node(killed[0], allow_graceful=False)

    try:
        with pytest.warns(Notice, match="a worker ended before its time"):
            root = generate(configuration(folder), tmp_path / "data", progress=progress, cluster=cluster.address)
        assert contents(root) == whole
        assert killed
        assert set(joined) == {"endorender"}  # no command line
        assert not ray.is_initialized()
        told = refusal("WORKERS", generate, configuration(folder), tmp_path / "n", workers=9, cluster=cluster.address)
        assert "at most 2" in told
    finally:
        cluster.shutdown()


def refused(*args):
    done = CliRunner().invoke(
        main, ["render", "--ct", "phantom:1", "--views", "1", "--size", "8x8", "--spp", "1", *map(str, args)]
    )
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_what_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    out = tmp_path / "data"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"answers at {address} (Connection refused)" in refused("--out", out, "--cluster", address)
    assert "HOST:PORT" in refused("--out", out, "--cluster", "ray://host:10001")
    assert "HOST:PORT" in refused("--out", out, "--cluster", "somewhere")
    assert "--workers is at least 1" in refused("--out", out, "--workers", 0)
    assert "--workers is at least 1" in refused("--out", out, "--workers", 10_000)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'endorender[cluster]'" in refused("--out", out, "--workers", 2)
    assert not out.exists()


def test_a_ray_that_does_not_start_is_said_in_one_line(folder, tmp_path, monkeypatch):
    def late(**how):
        raise Exception("The current node timed out during startup.\nThis could happen because of the raylet.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    told = refusal("NO_CLUSTER", generate, configuration(folder), tmp_path / "data", workers=2)
    assert "timed out during startup. This could happen" in told
    assert not (tmp_path / "data").exists()


def test_cores_are_shared_evenly():
    assert shares({"a": 8}, 2) == [("a", 4)] * 2
    assert shares({"a": 8}, 3) == [("a", 2)] * 3
    assert shares({"head": 0, "a": 8, "b": 4}, None) == [("a", 8), ("b", 4)]
    assert shares({"a": 8, "b": 4}, 3) == [("a", 4), ("a", 4), ("b", 4)]
    assert shares({"a": 8, "b": 4}, 1) == [("a", 8)]
    assert shares({"a": 64, "b": 1}, 3) == [("a", 32), ("a", 32), ("b", 1)]
    assert shares({"a": 2, "b": 1}, None, on_gpus=True) == [("a", 1), ("a", 1), ("b", 1)]
    for nodes, workers in (({"a": 2}, 3), ({"a": 0}, None), ({}, None), ({"a": 2}, -1)):
        refusal("WORKERS", shares, nodes, workers)


def planned(tmp_path, patients=3, views=4):
    config = configure(ct=[f"phantom:{n + 1}" for n in range(patients)], views=views, preset="synthetic")
    ids = [frame_id(p.alias, n, "synthetic") for p in config.ct for n in range(views)]
    return Work(config, Writer(tmp_path, describe(config), ids), set(ids))


def test_a_worker_stays_with_its_patient_and_then_helps_where_most_is_left(tmp_path):
    work = planned(tmp_path)
    assert [work.take("one").patient for _ in range(2)] == ["p001"] * 2
    assert work.take("two").patient == "p002"
    assert [work.take("one").patient for _ in range(3)] == ["p001", "p001", "p003"]
    assert [work.take("two").patient for _ in range(4)] == ["p002"] * 3 + ["p003"]
    assert [work.take("three").view for _ in range(2)] == [2, 3]
    assert work.left == 0
    assert work.take("one") is None


def test_a_view_over_which_workers_die_is_given_up(tmp_path):
    work = planned(tmp_path, patients=1)
    for _ in range(MOST_DEATHS - 1):
        unit = work.take("one")
        assert unit == Unit("p001", 0, ("synthetic",), True)
        assert work.put_back(unit, died=True) is None
        assert work.put_back(work.take("one"), died=False) is None  # it had not been begun
    failed = work.put_back(work.take("one"), died=True)
    assert (failed.code, failed.unit.names) == ("WORKER_DIED", ("synthetic",))
    assert [work.take("one").view for _ in range(3)] == [1, 2, 3]
    assert work.left == 0


@pytest.mark.parametrize("part", ["version", "engine"])
def test_a_node_with_another_version_is_refused(part, monkeypatch):
    monkeypatch.setattr(logging, "disable", lambda level: None)
    with warnings.catch_warnings():  # a worker keeps them for itself
        worker = Worker(configure(ct="phantom:1"), {})
        asks = generator()
        (asks if part == "version" else asks["engine"])["version"] = "0.0.1"
        stop = worker.start(1, asks)
    assert stop.error.code == "VERSIONS"
    here = "endorender {}.* on {} {}, here it is .*0[.]0[.]1".format(__version__, *generator()["engine"].values())
    assert re.search(here, str(stop.error))


def test_what_is_sent_holds_bytes_and_no_foreign_words(tmp_path):
    made = Made({"id": "a"}, {"image": ("a.png", lambda path: path.write_bytes(b"pixels"))})
    path, fill = pickle.loads(pickle.dumps(packed(made))).files["image"]
    fill(tmp_path / path)
    assert (tmp_path / "a.png").read_bytes() == b"pixels"
    unit = Unit("p001", 0, ("synthetic",), True)
    words = "cannot open MUELLER_HANS"
    try:
        raise RuntimeError(words)
    except RuntimeError as error:
        failed = pickle.loads(pickle.dumps(packed(Failed.of(unit, error))))
    assert (failed.code, failed.told) == ("BUG", "RuntimeError")
    assert isinstance(failed.error, WorkerBug)
    assert "MUELLER" not in str(failed.error)
    assert "RuntimeError in a worker" in str(failed.error)
    assert f"in {test_what_is_sent_holds_bytes_and_no_foreign_words.__name__}" in str(failed.error)
    for error, code in (
        (MemoryError(), "OUT_OF_MEMORY"),
        (OSError(28, "x"), "WORKER_DISK"),
        (UserError("x", "Y"), "Y"),
    ):
        assert pickle.loads(pickle.dumps(packed(Failed.of(unit, error)))).error.code == code
