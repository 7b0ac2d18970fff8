"""Beside other code in one process: forks, and others who start Taichi."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
START = """
import multiprocessing, os, sys, warnings
import numpy as np
from endorender.render import radiance
from endorender.render.images import devices
from endorender.errors import Notice, UserError

def picture():
    return radiance([devices.views(8)["wall"]], 2, 1)[0].mean

def numbers():
    return devices.random_bits("cpu")

def walls():
    return devices.geometry(devices.views(8)["wall"])

def give(array):
    # np.save asks a pipe for its position, which it has only where PYTHONUNBUFFERED is set.
    sys.stdout.flush()
    sys.stdout.buffer.write(b"ARRAY" + array.tobytes())

def child(call):
    # What a call returns or raises in a child, which never hangs.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(call).get(200)
"""


def run(code):
    """A process that ended well: its output."""
    command = [sys.executable, "-W", "error", "-c", START + code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fork_after_the_first_picture_is_told_at_once():
    """Taichi's threads are not copied: it would wait for them for ever."""
    code = """
assert child(picture).shape == (8, 8, 3)  # before it, a fork may render
picture()
for call in (picture, numbers, walls):
    try:
        child(call)
    except UserError as error:
        print(error.code, error)
    else:
        sys.exit("it rendered")
# Who does not render is not harmed, and ends like any process.
assert child(os.getpid) != os.getpid()
if not (pid := os.fork()):
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert picture().shape == (8, 8, 3)
"""
    told = run(code).splitlines()
    assert len(told) == 3
    for line in told:
        assert line.startswith("FORKED this process was forked from one in which the renderer had started")
        assert "'spawn'" in line


def test_who_else_starts_taichi_changes_no_bytes_and_is_told():
    code = """
from endorender.engine import ti
DEVICE = os.environ.get("TEST_DEVICE", "cpu")

def started_by_others(**settings):
    ti.init(arch=ti.cpu, log_level=ti.ERROR, **settings)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = picture()
    assert [w.category for w in heard] == [Notice], heard
    print(heard[0].message)
    return made

first = started_by_others(default_fp=ti.f64, fast_math=False)  # before the first picture
assert (picture() == first).all()  # and nothing is said
assert (started_by_others(default_fp=ti.f64, fast_math=False) == first).all()
assert (started_by_others() == first).all()
from endorender.render import init
init("cpu")
assert (picture() == first).all()
give(first)
"""
    plain = "give(picture())"
    made = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", START + c], cwd=REPOSITORY, capture_output=True, timeout=300
        )
        for c in (code, plain)
    ]
    assert [m.returncode for m in made] == [0, 0], made[0].stderr
    assert made[0].stdout.count(b"Taichi had been started by other code") == 3
    assert made[0].stdout.endswith(made[1].stdout[made[1].stdout.index(b"ARRAY") :])


def test_files_read_while_the_engine_is_another_s_are_read_alike():
    """What stands at the top of a file takes no width from whoever started the engine."""
    code = """
from endorender.engine import ti
if sys.argv[1] == "others":
    ti.init(arch=ti.cpu, log_level=ti.ERROR, default_fp=ti.f64, default_ip=ti.i64)
    warnings.simplefilter("ignore", Notice)
from endorender.render.images.gradient import picture as adjoint
made = adjoint(devices.views(8)["wall"], 2, 1).mean
give(made)
"""
    made = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", START + code, who], cwd=REPOSITORY, capture_output=True, timeout=300
        )
        for who in ("others", "nobody")
    ]
    assert [m.returncode for m in made] == [0, 0], made[0].stderr
    one, other = (m.stdout[m.stdout.index(b"ARRAY") :] for m in made)
    assert one == other
