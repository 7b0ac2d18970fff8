"""Calls in a process of their own: what comes back, and what does when they fail."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from endorender.ct.errors import CTError
from endorender.dataset import background
from endorender.errors import Notice, UserError
from tests.processes import started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def heard(call):
    """The result, and what was reported."""
    told = []
    return background.Background(call).result(lambda done, text: told.append((done, text))), told


def test_result_reports_and_warnings_come_back():
    def call(report):
        report(0.5, "half")
        warnings.warn("look at this", Notice, stacklevel=1)
        return np.arange(200_000), os.getpid()

    with pytest.warns(Notice, match="look at this"):
        (found, process), told = heard(call)
    assert np.array_equal(found, np.arange(200_000))
    assert process != os.getpid()
    assert told == [(0.5, "half")]


@pytest.mark.parametrize("error", [CTError("no lumen here", "LUMEN"), UserError("not so", "X"), OSError(28, "full")])
def test_errors_come_back_as_they_are(error):
    def call(report):
        raise error

    with pytest.raises(type(error)) as caught:
        heard(call)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "code", None) == getattr(error, "code", None)


def test_a_process_that_is_killed_is_an_error():
    with pytest.raises(MemoryError):
        heard(lambda report: os.kill(os.getpid(), signal.SIGKILL))


def test_it_ends_with_a_parent_that_is_killed():
    """Else it would hold the lock of a dataset that is resumed at once."""
    program = (
        "import os, sys, time\n"
        "from endorender.dataset.background import Background\n"
        "waits = Background(lambda report: time.sleep(60))\n"
        "print(waits._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with started([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        os.kill(child, 0)
        parent.kill()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    state = Path(f"/proc/{child}/stat").read_text().split()[2]
    assert state == "Z", "it still runs"  # nobody may be there to fetch its exit code


def test_the_command_reads_the_ct_beside_taichi_and_says_what_is_wrong_with_it(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"nonsense")
    command = ["render", "--ct", str(tmp_path / "scan.nii"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *command],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
