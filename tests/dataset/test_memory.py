"""Memory of a long run."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_ten_thousand_frames_in_one_process_do_not_fill_the_memory(tmp_path):
    """Resident memory grows by less than 5 % from the 500th frame to the last. The pages at the end are not counted."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc, which this system does not have")
    command = [sys.executable, "-m", "tests.dataset.growth", str(tmp_path / "data"), "2000"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = dict(line.split() for line in done.stdout.splitlines())
    warm, last = float(used["500"]), float(used["10000"])
    assert last < 1.05 * warm, done.stdout
