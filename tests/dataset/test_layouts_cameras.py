"""Datasets whose views each have a camera of their own, in layouts that can hold it and in those that cannot."""

import io
import json
import tarfile

import numpy as np
import pytest

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export, open_layout
from endorender.dataset.variation import SETTINGS
from tests.dataset.formulas import pinhole_points
from tests.dataset.refusals import refusal
from tests.dataset.sphere import frame_of, make, same_points


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """As preset randomized draws them: every view has a field of view of its own."""
    camera = SETTINGS["randomized"]["camera"]
    return open_dataset(make(tmp_path_factory.mktemp("data") / "varied", camera=camera))


def test_nerfstudio_has_the_camera_of_every_view(varied, tmp_path):
    assert len({f.K for f in varied.frames}) == 9
    for patient in ("p001", "p002", "p003"):
        scene = export(varied, "nerfstudio", tmp_path / patient) / patient / "red"
        told = json.loads((scene / "transforms.json").read_text())
        # Its reader takes what stands above for all frames, and only otherwise looks into them.
        assert not {"fl_x", "fl_y", "cx", "cy", "w", "h"} & set(told)
        for n, row in enumerate(told["frames"]):
            m = np.array(row["transform_matrix"])
            z = np.load(scene / row["depth_file_path"]) * 1e-3
            points = pinhole_points(z, row["fl_x"], row["fl_y"], row["cx"] - 0.5, row["cy"] - 0.5) * (1, -1, -1)
            same_points((points @ m[:3, :3].T + m[:3, 3]) * 1000, frame_of(varied, patient, "red", n))
            assert (row["w"], row["h"]) == z.shape[::-1]


def test_layouts_that_stream_have_the_camera_of_every_view(varied, tmp_path):
    h5py = pytest.importorskip("h5py")
    out = export(varied, "hdf5", tmp_path / "h5")
    with h5py.File(out / "val.h5") as file:
        for n, frame in enumerate(varied.select(split="val")):
            v = file["geometry"][n]
            k, pose = file["K"][v], file["world_from_camera"][v]
            points = pinhole_points(file["z_depth"][v], k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            same_points(points @ pose[:3, :3].T + pose[:3, 3], frame)
            assert json.loads(file["camera"].asstr()[v]) == frame.camera
    with tarfile.open(export(varied, "webdataset", tmp_path / "tar") / "val-000000.tar") as tar:
        for frame in varied.select(split="val"):
            stem = frame.id.replace("/", "-")
            told, z = (tar.extractfile(f"{stem}.{end}").read() for end in ("json", "z_depth.npy"))
            k, pose = (np.array(json.loads(told)[name]) for name in ("K", "world_from_camera"))
            points = pinhole_points(np.load(io.BytesIO(z)), k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            same_points(points @ pose[:3, :3].T + pose[:3, 3], frame)


@pytest.mark.parametrize("layout", ["c3vd", "c3vdv2", "simcol3d"])
def test_a_layout_with_one_camera_refuses_several(varied, tmp_path, layout):
    said = refusal("LAYOUT_CAMERA", export, varied, layout, tmp_path / "out")
    assert said.startswith(f"{layout} holds one camera")
    assert "p001/0000" in said
    assert "webdataset" in said
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_varies_beside_its_optics_is_one_camera(tmp_path):
    camera = {"type": "pinhole", "fov": 80, "vignetting": {"uniform": [0, 3]}}
    data = open_dataset(make(tmp_path / "data", camera=camera, patients=1, names=("plain",)))
    assert len({f.camera["vignetting"] for f in data.frames}) == 3
    for layout in ("c3vd", "simcol3d"):
        back = open_layout(export(data, layout, tmp_path / layout), layout)
        assert [np.allclose(f.K, data.frames[0].K) for f in back.frames] == [True] * 3


def test_nerfstudio_refuses_cameras_of_several_models(tmp_path):
    camera = {"type": {"choice": ["pinhole", "fisheye"]}, "fov": 80}
    data = open_dataset(make(tmp_path / "data", camera=camera, views=4, patients=1, names=("plain",)))
    assert len({f.camera["type"] for f in data.frames}) == 2
    refusal("LAYOUT_CAMERA", export, data, "nerfstudio", tmp_path / "out")
