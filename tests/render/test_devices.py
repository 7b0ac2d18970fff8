"""Other devices than the CPU: what is missing is said, and what is there computes the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.render import backend, devices
from endorender.render.film import Radiance
from endorender.render.probe import DEVICES, probe

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    return probe()


def doctor(*args):
    command = [sys.executable, "-m", "endorender", "doctor", "--json", *args]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def test_the_processor_always_works_and_every_device_gets_a_verdict(found):
    assert set(found) == set(DEVICES) == set(backend.ARCHES)
    assert found["cpu"] == "works"


@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_missing_device_is_an_error_that_names_it(found, device):
    if found[device] == "works":
        pytest.skip(f"{device} works here")
    done = doctor("--device", device)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: device {device!r} does not work here: ")


@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_device_computes_what_the_processor_computes(found, device):
    """The same random numbers to the bit, the same depth, and images that agree pixel by pixel and by z-test."""
    if found[device] != "works":
        pytest.skip(f"{device}: {found[device]} (for vulkan: apt install mesa-vulkan-drivers libvulkan1)")
    done = doctor("--device", device)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["agrees"]
    assert facts["random_numbers"]
    assert facts["depth"] < 1e-3
    for view in devices.views():
        assert facts[f"{view}_equal"] >= devices.LEAST_EQUAL
        assert facts[f"{view}_z"] < devices.LARGEST_Z
        assert facts[f"{view}_rms_z"] < devices.LARGEST_RMS_Z


@pytest.mark.parametrize(
    ("seed", "where", "factor"), [(0, np.s_[:], 1), (1, np.s_[::7, ::7], 1.02), (2, np.s_[:], 1.2)]
)
def test_the_comparison_sees_a_wrong_device(monkeypatch, seed, where, factor):
    """Two per cent more light in one pixel of fifty, or a fifth more everywhere with other noise, is not agreement."""
    true, calls = devices.radiance, []

    def off(scenes, spp, key):
        calls.append(key)
        image = true(scenes, spp, key)[0]
        mean = image.mean.copy()
        if len(calls) <= 4 and key == seed:  # the last four are the processor's
            mean[where] *= factor
        return [Radiance(mean, image.variance, spp)]

    monkeypatch.setattr(devices, "radiance", off)
    assert devices.compare("cpu", spp=64)["agrees"] == (seed == 0)


def test_starting_again_keeps_what_runs():
    backend.ensure()
    state = dict(backend._state)
    backend.init("cpu")
    assert backend._state == state
    assert backend.running() == "cpu"
    with pytest.raises(UserError, match="no device is called 'abacus'; there are: cpu, cuda"):
        backend.init("abacus")
    assert backend.running() == "cpu"


def test_arrays_come_back_from_where_they_are_kept():
    backend.ensure()
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert backend.fetch(backend.resident(array)) is array
