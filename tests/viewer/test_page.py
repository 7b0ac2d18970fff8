"""`endorender view`: what it refuses in one line, how it ends, what it does not tell, and what its controls do."""

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from cli.main import main
from endorender.viewer.controls import Optics
from endorender.viewer.page import opened
from endorender.viewer.preview import Stage
from endorender.viewer.server import serving
from tests.dataset import sphere
from tests.dataset.tubes import tube
from tests.processes import started
from tests.viewer.test_preview import until

pytest.importorskip("viser", reason="needs the extra: pip install 'endorender[view]'")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return sphere.make(tmp_path_factory.mktemp("page") / "data", patients=2)


def mistake(*args):
    """Run; assert exit code 2 and one line on stderr; return the line."""
    result = CliRunner().invoke(main, ["view", *map(str, args)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_cannot_be_shown_is_said_in_one_line(dataset, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "neither a dataset (there is no dataset.json) nor a CT" in mistake(tmp_path / "empty")
    assert "cannot be opened" in mistake(tmp_path / "nowhere")
    assert "--region is for a CT" in mistake(dataset, "--region", 2)
    assert "give the dataset's folder" in mistake("sample", "--evaluation", tmp_path)
    assert "holds no predictions.npz" in mistake(dataset, "--evaluation", tmp_path)
    np.savez(tmp_path / "predictions.npz", other=np.zeros((2, 2)))
    assert "is of other data" in mistake(dataset, "--evaluation", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use: choose another with --port" in mistake(dataset, "--port", port)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'endorender[view]'" in mistake(dataset)


def begin(*args):
    """`endorender view` in a process that hears Ctrl-C, even where a shell's background ignores it."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cli.main import main; main(['view', *sys.argv[1:]])"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *map(str, args), "--port", "0"]
    return started(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)


def left(process):
    """Ctrl-C: exit code, and whatever is said after the address."""
    process.send_signal(signal.SIGINT)
    return (*process.communicate(timeout=300), process.returncode)


def test_ctrl_c_is_how_one_leaves(dataset):
    with begin(dataset) as process:
        assert process.stdout.readline().startswith("view: http://127.0.0.1:")
        assert left(process) == ("", "", 0)


@pytest.fixture
def anatomy(tmp_path):
    """The page of a CT whose file has a name, and its server; nothing renders, since no browser comes."""
    page = opened(str(tube(tmp_path / "SMITH_JOHN.nii.gz")), 0)
    with serving(0, page.title) as server:
        page.build(server)
        yield page, server
        assert page.close()


def visitor():
    """What a page's callbacks see of a browser."""
    return SimpleNamespace(camera=SimpleNamespace(), atomic=contextlib.nullcontext)


def test_a_patient_is_known_by_alias_only(anatomy, dataset):
    page, server = anatomy
    assert page.title == "endorender · p001"
    assert opened(str(dataset), 0).title == "endorender · dataset"
    sent = server._websock_server._broadcast_buffer.message_from_id.values()
    assert len(sent) > 20
    assert not [m for m in sent if "SMITH" in repr(m) or str(REPOSITORY) in repr(m)]


def test_a_chosen_camera_is_stepped_into_and_asked_for(anatomy, monkeypatch):
    page, _ = anatomy
    asked = []
    monkeypatch.setattr(page._worker, "ask", asked.append)
    client = visitor()
    page._choose(1, client)
    pose = page._poses[1]
    ahead = np.asarray(client.camera.look_at) - client.camera.position
    assert np.allclose(client.camera.position, pose[:3, 3])
    assert np.allclose(ahead / np.linalg.norm(ahead), pose[:3, 2])
    assert np.allclose(client.camera.up_direction, -pose[:3, 1])
    assert np.degrees(client.camera.fov) == pytest.approx(2 * np.degrees(np.arctan(np.tan(np.radians(50)) * 0.75)))
    assert asked[-1][1:] == (1, Optics())
    assert page._view.value == "1"
    page._look.value = "deep_red"
    until(lambda: asked[-1][2].look == "deep_red")
    # From a browser's viewpoint, which is told as a quaternion.
    client.camera.wxyz = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
    page._stand_here(client)
    assert np.allclose(asked[-1][0], pose)
    assert asked[-1][1] == -1


def test_a_viewpoint_outside_the_lumen_is_told_and_not_rendered(anatomy, monkeypatch):
    page, _ = anatomy
    monkeypatch.setattr("endorender.render.init", lambda device: pytest.fail("was rendered"), raising=False)
    for away in ([30.0, 0, 0], [5000.0, 0, 0]):
        pose = page._poses[0].copy()
        pose[:3, 3] += away
        page._worker.ask((pose, -1, Optics()))
        until(lambda: "this viewpoint is not in the lumen" in page._state.content)
        page._say("")


def test_what_is_known_is_developed_again_without_new_light(anatomy, monkeypatch):
    page, _ = anatomy
    monkeypatch.setattr(page._worker, "ask", pytest.fail)
    light = np.random.default_rng(0).uniform(0.1, 2, (60, 80, 3)).astype(np.float32)
    page._stage = Stage(light, np.ones((60, 80), bool), 4), 0, "dark_red"
    page._develop()
    assert page._frusta[0].image is None, "another camera is chosen by now"
    page._chosen = 0
    page._develop()
    before = page._picture.image.astype(float)
    assert before.shape == (285, 380, 3)
    assert page._frusta[0].image.shape == (60, 80, 3)
    assert "camera 0 at" in page._state.content
    assert "80×60 · 4 of 64" in page._state.content
    page._stops.value = -2.0
    until(lambda: page._picture.image.mean() < 0.7 * before.mean())
    page._hold.value = True
    held = page._exposure
    page._stage = Stage(8 * light, np.ones((60, 80), bool), 8), 0, "dark_red"
    page._develop()
    assert page._exposure == pytest.approx(held)


def test_the_wall_on_the_page_is_the_one_that_depth_is_measured_to(anatomy):
    page, _ = anatomy
    ready = page._ready
    at = ready.volume.to_voxel(page._wall.vertices.astype(float))
    hu = map_coordinates(ready.volume.hu.astype(float), at.T, order=1)
    assert np.abs(hu - ready.lumen.threshold).max() < 0.02 * 700  # 700 HU/mm is the slope of this wall
