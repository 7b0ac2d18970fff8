"""Calls in a process of their own: what comes back, and what does when they fail."""

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from endorender.ct.errors import CTError
from endorender.dataset import aside
from endorender.errors import Notice, UserError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def heard(call):
    """The result, and what was reported."""
    told = []
    return aside.Aside(call).result(lambda done, text: told.append((done, text))), told


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


def test_the_command_reads_the_ct_beside_taichi_and_says_what_is_wrong_with_it(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"nonsense")
    command = ["render", "--ct", str(tmp_path / "scan.nii"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *command],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
