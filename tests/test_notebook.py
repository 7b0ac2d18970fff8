"""What a notebook shows of our objects: a picture where there is one, a short line elsewhere."""

import io

import numpy as np
from PIL import Image

from endorender.ct import Volume
from endorender.dataset import open_dataset
from endorender.render import Radiance
from tests.dataset.made import H, W, make
from tests.render.scenes import tube_scene


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
