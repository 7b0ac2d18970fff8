"""Other devices than the CPU: what is missing is said, and what is there computes the same."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import endorender
from endorender.ct.volume import Volume
from endorender.dataset import configure
from endorender.dataset.hidden_lumen import hidden_lumen
from endorender.errors import UserError
from endorender.render import geometry, optical_depths
from endorender.render.device import backend
from endorender.render.images import devices
from endorender.render.transport.film import Radiance
from endorender.trial import DEVICES, equal, least
from tests.benchmarks import gpu
from tests.render.reference import SCENES

PARTS = (
    *("radiance", "surface", "normal", "hides", "median", "expected"),  # of a whole dataset
    *("preview", "gradient", "tissue.albedo"),
)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    done = doctor()
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    return {name: facts[f"device {name}"] for name in DEVICES}


def doctor(*args):
    command = [sys.executable, "-m", "endorender", "doctor", "--json", *args]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=1200)


def test_the_engine_says_nothing_into_a_progress_bar():
    code = (
        "import sys, io\nsys.stdout = io.StringIO()\n"
        "from endorender.engine import ti\nfrom endorender.render.device import backend\nbackend.init()\n"
        "ti.set_logging_level(ti.INFO)\nti.sync()\nsys.__stdout__.write(sys.stdout.getvalue())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout + done.stderr).strip() == ""


def test_auto_is_a_device_that_works_here():
    assert backend.best() in ("cpu", "cuda", "metal")
    assert configure(ct="sample", device="auto").device == backend.best()


@pytest.mark.slow  # every device does all that the product does: two minutes
def test_the_processor_always_works_and_every_device_gets_a_verdict(found):
    assert set(found) == set(DEVICES) == set(backend.ARCHES)
    assert found["cpu"] == "works"


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_missing_device_is_an_error_that_names_it(found, device):
    if found[device] == "works":
        pytest.skip(f"{device} works here")
    done = doctor("--device", device)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: device {device!r} does not work here: ")


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_device_computes_what_the_processor_computes(found, device):
    """The same random numbers to the bit, the same depth, and images that agree pixel by pixel and by z-test.

    And all that the product does: a whole dataset, the viewer's preview, gradients, a fit.
    """
    if found[device] != "works":
        pytest.skip(f"{device}: {found[device]} (for vulkan: apt install mesa-vulkan-drivers libvulkan1)")
    done = doctor("--device", device)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["agrees"]
    assert facts["random_numbers"]
    assert facts["depth"] < 1e-3
    for part in PARTS:
        assert facts[f"{part}_equal"] >= least(part), part
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


def test_a_trial_sees_what_differs():
    ours = np.array([1.0, 2.0, np.nan, 0.0])
    assert equal(ours, ours + 1e-5) == 1
    assert equal(ours, np.array([1.01, 2.0, np.nan, 0.0])) == 0.75
    assert equal(ours, np.array([1.0, np.nan, 0.0, 0.1])) == 0.25


def test_no_array_of_a_kernel_holds_vectors():
    """On a CPU an array of vectors takes what another device refuses."""
    root = Path(endorender.__file__).parent
    nodes = [node for path in root.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "ti.types.ndarray"]
    given = [ast.unparse(n.annotation) for n in nodes if isinstance(n, ast.arg) and n.annotation]
    # `Array` is such a call's name: what kernels are given says one or the other.
    assert given.count("Array") + given.count("ti.types.ndarray()") > 50
    assert not [ast.unparse(c) for c in calls if c.args or c.keywords]


def test_no_kernel_is_given_what_is_not_a_number(monkeypatch):
    """On some devices a comparison with NaN goes either way. Rays that meet no wall have it."""
    given = []
    true = backend.resident
    monkeypatch.setattr(backend, "resident", lambda array: given.append(array.copy()) or true(array))
    x, y, _ = np.meshgrid(*(np.arange(24.0) - 11.5,) * 3, indexing="ij")
    open_tube = Volume(np.clip(-550 + 400 * (np.hypot(x, y) - 5), -1000, 40).astype(np.int16), np.eye(4))
    scene = devices.views(17)["wall"].with_(medium=open_tube)
    seen = geometry(scene)
    assert 0 < seen.mask.sum() < seen.mask.size
    missed = np.isnan(seen.distance)
    depth = optical_depths(scene)["median"].distance
    assert np.isnan(depth[missed]).all()
    deep = np.where(open_tube.hu < -550, 2, 0).astype(np.uint8)
    deep[:3] = 2  # another loop
    hidden = hidden_lumen(scene, seen.distance, deep)
    assert hidden.any()
    assert not hidden[missed].any()
    assert len(given) > 8
    assert not any(np.isnan(array).any() for array in given)


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


def test_a_card_has_one_section_of_the_page(tmp_path):
    page = tmp_path / "devices.md"
    page.write_text("# Devices\nwhat holds of all\n")
    for name, text in (("A", "old"), ("B (1)", "other"), ("A", "new")):
        gpu.put(page, name, f"## {name}\n\n{text}\n")
    assert page.read_text() == "# Devices\nwhat holds of all\n\n## A\n\nnew\n\n## B (1)\n\nother\n"


@pytest.mark.slow  # the doctor's two minutes
def test_what_make_gpu_runs_tells_of_the_processor_too(tmp_path, monkeypatch, capsys):
    page = tmp_path / "devices.md"
    page.write_text("# Devices\n")
    arguments = ["gpu.py", "--device", "cpu", "--size", "8", "--rounds", "2", "--page", str(page)]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        gpu.main()
    finally:
        backend.init("cpu", profile=False)
    told = page.read_text()
    assert "Computes what the processor does: yes" in told
    rows = dict(re.findall(r"^\| (\S+) \| ([0-9.]+) \| [0-9.]+ \|$", told, re.M))
    assert set(rows) >= {ref.name for ref in SCENES}
    assert all(float(rate) > 0 for rate in rows.values())
