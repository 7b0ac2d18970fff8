"""What a wall hides of the lumen, against a ball in a hollow; and C3VD's occlusion maps made of it."""

import numpy as np
import pytest
from PIL import Image

from endorender.ct.anatomy.lumen import Lumen
from endorender.ct.volume import Volume
from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.hidden_lumen import hidden_lumen, hollow
from endorender.dataset.layouts import export
from endorender.scene import Endoscope, Pinhole, Scene
from tests.dataset.sphere import make

RADIUS, BALL, BALL_AT = 15.0, 3.0, np.array([1.0, -2.0, 7.0])


def seen(scale=1.0, back=0.0, neighbour=False, own=False):
    """What hides found, and how far (mm at scale 1) each ray passes from the centre of the ball and of the neighbour.

    scale: of everything. back: by how much the camera stands back. neighbour: a second hollow beyond the wall, which
    is `own` (of the same lumen) or not.
    """
    at = np.stack(np.meshgrid(*[np.arange(-35.5, 36) * 0.5] * 2, np.arange(-35.5, 100) * 0.5, indexing="ij"), -1)
    mask = (np.linalg.norm(at, axis=-1) < RADIUS) & (np.linalg.norm(at - BALL_AT, axis=-1) > BALL)
    second = np.linalg.norm(at - (0, 0, 30), axis=-1) < 8 if neighbour else np.zeros(mask.shape, bool)
    affine = np.diag([0.5 * scale] * 3 + [1.0])
    affine[:3, 3] = at[0, 0, 0] * scale
    volume = Volume(np.where(mask | second, -1000, 100).astype(np.int16), affine)
    lumen = Lumen(mask | (second & own), -550.0, volume.spacing, 0.0, 1, ())
    pose = np.eye(4)
    pose[2, 3] = -back * scale
    camera = Pinhole(width=60, height=48, fov=100)
    scene = Scene(volume, camera, pose, (Endoscope(),), threshold=-550.0)
    rays, origin = camera.unproject(camera.pixels()), pose[:3, 3] / scale
    b = rays @ origin
    wall = -b + np.sqrt(b * b - origin @ origin + RADIUS**2)
    to = origin - BALL_AT
    near = -(rays @ to) - np.sqrt(np.maximum((rays @ to) ** 2 - to @ to + BALL**2, 0))
    away = np.linalg.norm(np.cross(rays, to), axis=-1)
    distance = np.where(away < BALL, near, wall)
    beyond = np.linalg.norm(np.cross(rays, origin - (0, 0, 30)), axis=-1)
    return hidden_lumen(scene, distance * scale, hollow(lumen)), away, beyond


def test_a_ball_hides_and_the_wall_does_not():
    found, away, _ = seen()
    assert found[away < BALL - 0.7].all()
    assert (away < BALL - 0.7).sum() > 20
    assert not found[away > BALL + 0.1].any()


def test_another_loop_of_the_same_lumen_counts_and_another_hollow_does_not():
    found, away, _ = seen(neighbour=True)
    assert not found[away > BALL + 0.1].any()
    found, away, beyond = seen(neighbour=True, own=True)
    assert found[beyond < 6.5].all()
    assert not found[(beyond > 8.2) & (away > BALL + 0.1)].any()


def test_what_lies_beyond_100_mm_does_not_count():
    near, away, _ = seen(scale=8.0)  # the ball ends 80 mm from the camera
    far, away_too, _ = seen(scale=8.0, back=5.0)  # 120 mm
    assert near[away < BALL - 0.7].all()
    assert not far.any()
    assert (away_too < BALL - 0.7).sum() > 5


def test_where_no_wall_is_seen_nothing_is_hidden():
    volume = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4))
    scene = Scene(volume, Pinhole(width=3, height=2), np.eye(4), (Endoscope(),))
    assert not hidden_lumen(scene, np.full((2, 3), np.nan), np.zeros((4, 4, 4), np.uint8)).any()


PLACES = [("c3vd", "0000_occlusion.png"), ("c3vdv2", "occlusions/0000_occlusion.png")]


@pytest.mark.parametrize(("layout", "place"), PLACES)
def test_c3vd_gets_it_as_its_occlusion_map(tmp_path, layout, place):
    data = open_dataset(generate(configure(ct="phantom:2", views=1, size="64x48", spp=1,
                                           variations=[{"name": "plain"}]), tmp_path / "data"))  # fmt: skip
    hidden = data.frames[0].geometry()["hides"]
    assert 0.02 < hidden.mean() < 0.98
    export(data, layout, tmp_path / "out")
    (sequence,) = [p for p in (tmp_path / "out").iterdir() if p.is_dir()]
    picture = Image.open(sequence / place)
    assert picture.mode == "L"
    assert np.array_equal(np.array(picture), np.where(hidden, 255, 0))


def test_a_dataset_that_does_not_hold_it_gets_none(tmp_path):
    data = open_dataset(make(tmp_path / "data", patients=1, names=("plain",)))
    assert "hides" not in data.frames[0].geometry()
    export(data, "c3vd", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*occlusion*"))
