"""What a notebook shows of our objects: a picture where there is one, a short line elsewhere."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from endorender.ct import Volume
from endorender.dataset import open_dataset
from endorender.render import Radiance
from endorender.scene import Endoscope, Pinhole, Point, Scene, Tissue
from tests.dataset.made import H, W, make
from tests.render.scenes import cube_scene, tube_scene
from training.compare import Evaluation


def shown(thing):
    with Image.open(io.BytesIO(thing._repr_png_())) as picture:
        return np.asarray(picture)


def test_a_volume_is_three_planes_the_head_upwards():
    hu = np.full((20, 30, 40), -1000, np.int16)
    hu[10:, 15:, :] = 40
    hu[:, :, -1] = 250  # the top of the head
    picture = shown(Volume(hu, np.diag([1.0, 1.0, 2.0, 1.0])))
    assert picture.shape == (240, 60 + 90 + 60 + 2 * 6, 3)
    across, front, side = (picture[..., 0][:, x : x + w] for x, w in ((0, 60), (66, 60), (132, 90)))
    assert across[0, -1] == 213  # 40 HU, right and in front
    assert (across[:45, :30] == 9).all()  # -1000 HU
    assert (across[45:90] == 9).all()
    assert (across[90:] == 255).all()  # the paper
    assert (front[:6] == 255).all()
    assert (side[:6] == 255).all()
    assert front[20, 0] == 9
    assert repr(Volume(hu, np.eye(4))) == "Volume(20 x 30 x 40, 1 x 1 x 1 mm, HU -1000..250)"


def test_radiance_is_a_photograph_and_a_scene_is_a_line():
    light = Radiance(np.geomspace(1, 100, 48, dtype=np.float32).reshape(4, 4, 3), np.zeros((4, 4, 3), np.float32), 3)
    picture = shown(light)
    assert picture.shape == (4, 4, 3)
    assert picture[0].mean() < picture[-1].mean()
    assert repr(light) == f"Radiance(4x4, 3 samples a pixel, mean {light.mean.mean():.3g})"
    line = repr(tube_scene())
    assert len(line) < 300
    assert "pinhole 12x8 at" in line


def test_a_scene_shows_where_the_camera_is_and_looks():
    hu = np.full((40, 40, 80), -1000, np.int16)
    volume = Volume(hu, np.diag([1.0, 1, 1, 1]))
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]  # looks down the last axis, towards its beginning
    pose[:3, 3] = (10, 20, 60)
    scene = Scene(volume, Pinhole(width=8, height=6), pose, (Endoscope(),), Tissue(), -500.0)
    picture = shown(scene)
    orange = (picture == (255, 140, 0)).all(-1)
    y, x = np.nonzero(orange[:, 126:246])  # the plane across the second axis: the first to the right, the last upwards
    assert abs(x.mean() - 10.5 * 3) < 1.5
    assert abs(y.min() - (80 - 60.5) * 3) < 5  # the camera
    assert abs(y.max() - (80 - 40.5) * 3) < 3  # 20 mm on
    assert (
        Scene(volume, scene.camera, np.eye(4) + 500 * np.eye(4, k=3), scene.lights, Tissue(), -500.0)._repr_png_()
        is None
    )
    assert cube_scene(1.0, 0.5, [Point(position=(0, 0, -1))])._repr_png_() is None


def test_an_evaluation_is_a_table_and_a_line():
    mean = {"abs_rel": [0.1234, 0.1, 0.15], "delta1": [0.8, None, None]}
    data = {"title": "airway <b>", "frames": 4, "patients": ["p003"], "seen_in_training": []}
    summary = {
        "label": "unet <script>", "data": data,
        "protocols": {"median": {"mean": mean, "mean_over_patients": {}}},
        "baselines": {"protocols": {"median": {"mean": {"lookup": {"abs_rel": [0.2, None, None]}}}}},
        "metrics": {n: {"unit": "", "higher_is_better": n == "delta1"} for n in mean},
    }  # fmt: skip
    found = Evaluation(Path("e"), summary, *[{}, [], [], [], [], [], []])
    assert repr(found) == "Evaluation(unet <script> on airway <b>, 4 frames, abs_rel: median 0.123)"
    html = found._repr_html_()
    assert "<script>" not in html
    assert "0.123" in html
    assert "0.150" in html
    assert "0.200" in html  # the lookup's
    assert html.count('scope="row"') == 3


def test_a_frame_is_its_picture_and_its_depth_and_a_dataset_some_views(tmp_path):
    make(tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    frame = dataset.frames[0]
    picture = shown(frame)
    assert picture.shape == (H, 2 * W + 6, 3)
    np.testing.assert_array_equal(picture[:, :W], frame.image())
    assert repr(frame) == f"Frame({frame.id})"
    assert shown(dataset).shape[0] > 6 * H
    assert open_dataset(tmp_path / "data").__class__(dataset.root, dataset.info, [])._repr_png_() is None
