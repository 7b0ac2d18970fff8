"""Other people's layouts: each is decoded as its consumers do and must land on the same points in space."""

import gc
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export, layouts, open_layout
from endorender.errors import UserError
from tests.dataset.formulas import (
    OLYMPUS,
    c3vd_points,
    grid,
    pinhole_points,
    quaternion_matrix,
    radial,
)
from tests.dataset.made import contents
from tests.dataset.refusals import refusal
from tests.dataset.sphere import CLOSE, frame_of, make, same_points, truth

SCOPE = {"camera": "scaramuzza:mask=octagon", "size": "50x40", "views": 2, "patients": 1, "names": ("plain",)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("data") / "pinhole"))


@pytest.fixture(scope="module")
def scoped(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("data") / "scoped", **SCOPE))


def test_simcol3d_as_its_organisers_decode_it(data, tmp_path):
    out = export(data, "simcol3d", tmp_path / "out")
    t = np.diag([1.0, -1, 1, 1])
    for colon, patient in (("I", "p001"), ("II", "p002"), ("III", "p003")):
        folder = out / f"SyntheticColon_{colon}"
        letter = {"I": "S", "II": "B", "III": "O"}[colon]
        k = [float(x) for x in (folder / "cam.txt").read_text().split()]
        for run, variation in (("1", "plain"), ("2", "red")):
            where = np.loadtxt(folder / f"SavedPosition_{letter}{run}.txt")
            turned = np.loadtxt(folder / f"SavedRotationQuaternion_{letter}{run}.txt")
            for n in range(3):
                frame = frame_of(data, patient, variation, n)
                names = (f"Frames_{letter}{run}/FrameBuffer_{n:04d}.png", f"Frames_{letter}{run}/Depth_{n:04d}.png")
                picture, depth = (np.array(Image.open(folder / name)) for name in names)
                assert np.array_equal(picture, frame.image())
                assert depth.dtype in (np.uint16, np.int32)
                pose = np.eye(4)
                pose[:3, :3], pose[:3, 3] = quaternion_matrix(*turned[n]), where[n]
                pose = t @ pose @ t
                points = pinhole_points(depth / 256 / 255 * 20, k[0], k[4], k[2], k[5])
                same_points((points @ pose[:3, :3].T + pose[:3, 3]) * 10, frame)


def test_c3vd_by_its_published_formulas(scoped, tmp_path):
    import tifffile

    out = export(scoped, "c3vd", tmp_path / "out") / "p001.plain"
    rows = np.loadtxt(out / "pose.txt", delimiter=",")
    for n, frame in enumerate(scoped.frames):
        levels = tifffile.imread(out / f"{n:04d}_depth.tiff")
        assert levels.dtype == np.uint16
        same_points(c3vd_points(levels, rows[n], OLYMPUS, 27.0), frame)
        normals = tifffile.imread(out / f"{n:04d}_normals.tiff") / 32767.5 - 1
        seen = frame.geometry()["normal"]
        assert np.abs(normals - seen)[np.isfinite(seen)].max() < 3e-5
        assert np.array_equal(np.array(Image.open(out / f"{n:04d}_color.png")), frame.image())
    # Flow leads to the previous frame: there the same point is seen, by the published camera.
    assert not (out / "0000_flow.tiff").exists()
    raw = tifffile.imread(out / "0001_flow.tiff")
    u, v = grid(raw.shape[:2])
    ends = np.stack([u, v], -1) + raw[..., :2] / 65535 * 40 - 20
    seen = (raw[..., :2] > 0).all(-1) & (ends >= 0).all(-1) & (ends < (49, 39)).all(-1)
    assert seen.mean() > 0.4
    assert (raw[..., 2] == 0).all()
    p = {**OLYMPUS, "cx": (OLYMPUS["cx"] + 0.5) / 27 - 0.5, "cy": (OLYMPUS["cy"] + 0.5) / 27 - 0.5}
    x, y = (ends - (p["cx"], p["cy"]))[seen].T * 27
    det = p["c"] - p["d"] * p["e"]
    x, y = (x - p["d"] * y) / det, (-p["e"] * x + p["c"] * y) / det
    rho = np.hypot(x, y)
    ray = np.stack([x, y, p["a0"] + p["a2"] * rho**2 + p["a3"] * rho**3 + p["a4"] * rho**4], -1)
    pose = rows[0].reshape(4, 4)
    towards = truth(scoped.frames[1])[seen] - pose[3, :3]
    off = np.cross(ray / np.linalg.norm(ray, axis=-1, keepdims=True) @ pose[:3, :3], towards)
    assert np.linalg.norm(off, axis=-1).max() < 0.03  # mm: 0.0003 px of flow
    assert "cx 678.544839263292" in (out / "camera_intrinsics.txt").read_text()


def test_a_pinhole_is_an_omnidirectional_camera_too(data, tmp_path):
    import tifffile

    out = export(data, "c3vdv2", tmp_path / "out", split="test", variations=["red"]) / "p003.red"
    text = (out / "camera_intrinsics.txt").read_text()
    parameters = {k: float(v) for k, v in (line.split() for line in text.splitlines())}
    rows = np.loadtxt(out / "pose.txt", delimiter=",")
    for n in range(3):
        levels = tifffile.imread(out / "depth" / f"{n:04d}_depth.tiff")
        same_points(c3vd_points(levels, rows[n], parameters, 1.0), frame_of(data, "p003", "red", n))
        assert (out / "rgb" / f"{n:04d}.png").is_file()


@pytest.mark.parametrize(
    ("camera", "model"),
    [("pinhole:fov=80", "PINHOLE"), ("brown_conrady:fov=75,k1=-0.2,k2=0.03,p1=0.001", "OPENCV"),
     ("fisheye:fov=120,k1=-0.02", "OPENCV_FISHEYE")],
)  # fmt: skip
def test_nerfstudio_cameras(tmp_path, camera, model):
    data = open_dataset(make(tmp_path / "data", camera=camera, views=2, patients=1, names=("plain",)))
    scene = export(data, "nerfstudio", tmp_path / "out") / "p001" / "plain"
    told = json.loads((scene / "transforms.json").read_text())
    assert told["camera_model"] == model
    for frame, row in zip(data.frames, told["frames"], strict=True):
        z = np.load(scene / row["depth_file_path"]) * 1e-3  # metres, as depth_unit_scale_factor has it
        points = truth(frame)
        # World to camera as nerfstudio has it: OpenGL axes; then its distortion, forwards; corners at integers.
        m = np.array(row["transform_matrix"])
        gl = (points / 1000 - m[:3, 3]) @ m[:3, :3]
        assert np.abs(-gl[..., 2] - z).max() * 1000 < CLOSE
        plane = gl[..., :2] * (1, -1) / -gl[..., 2:]
        if model == "OPENCV":
            plane = radial(plane, *(told[k] for k in ("k1", "k2", "k3", "p1", "p2")))
        if model == "OPENCV_FISHEYE":
            r = np.linalg.norm(plane, axis=-1, keepdims=True)
            theta = np.arctan(r)
            plane = plane / r * (theta + told["k1"] * theta**3)
        uv = plane * (told["fl_x"], told["fl_y"]) + (told["cx"], told["cy"])
        u, v = grid(z.shape)
        assert np.abs(uv - np.stack([u + 0.5, v + 0.5], -1)).max() < 1e-3
        assert np.array_equal(np.array(Image.open(scene / row["file_path"])), frame.image())


def test_depth_anything_lists(data, tmp_path):
    out = export(data, "depth_anything", tmp_path / "out")
    listed = {s: (out / f"{s}.txt").read_text().splitlines() for s in ("train", "val", "test")}
    assert [len(v) for v in listed.values()] == [6, 6, 6]
    for line, frame in zip(listed["val"], data.select(split="val"), strict=True):
        image, depth = line.split(" ")
        assert np.array_equal(np.array(Image.open(out / image)), frame.image())
        z = np.array(Image.open(out / depth)).astype(np.float32) / 256
        k, pose = np.array(frame.K), np.array(frame.world_from_camera)
        points = pinhole_points(z, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        same_points(points @ pose[:3, :3].T + pose[:3, 3], frame)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its last shard open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_streams_through_its_own_library(data, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    out = export(data, "webdataset:per_shard=4", tmp_path / "out")
    assert [p.name for p in sorted(out.iterdir())][:2] == ["test-000000.tar", "test-000001.tar"]
    shards = [str(p) for p in sorted(out.glob("train-*.tar"))]
    stream = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    for sample, frame in zip(stream, data.select(split="train"), strict=True):
        told = sample["json"]
        assert told["id"] == frame.id
        assert np.array_equal(sample["png"], frame.image())
        k, pose = np.array(told["K"]), np.array(told["world_from_camera"])
        points = pinhole_points(sample["z_depth.npy"], k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        assert same_points(points @ pose[:3, :3].T + pose[:3, 3], frame) < 1e-4
        np.testing.assert_array_equal(sample["normal.npy"], frame.geometry()["normal"])
    del stream
    gc.collect()
    with tarfile.open(shards[0]) as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar.getmembers()} == {(0, 0, "")}
        head = tar.extractfile(tar.getmembers()[0])
        assert Image.open(io.BytesIO(head.read())).size == (32, 24)


def test_hdf5_slices(data, tmp_path):
    h5py = pytest.importorskip("h5py")
    out = export(data, "hdf5", tmp_path / "out")
    with h5py.File(out / "test.h5") as file:
        frames = data.select(split="test")
        assert file["image"].shape == (6, 24, 32, 3)
        assert file["z_depth"].shape == (3, 24, 32)
        for n, frame in enumerate(frames):
            assert file["id"].asstr()[n] == frame.id
            assert np.array_equal(file["image"][n], frame.image())
            v = file["geometry"][n]
            k, pose = file["K"][v], file["world_from_camera"][v]
            points = pinhole_points(file["z_depth"][v], k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            assert same_points(points @ pose[:3, :3].T + pose[:3, 3], frame) < 1e-4


def test_hugging_face_loads_the_folder(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets", reason="needs it: pip install 'endorender[dev]'")
    out = export(data, "huggingface", tmp_path / "out")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train", "validation", "test"]
    assert {"image", "depth", "mask", "pose", "K"} < set(loaded["train"].column_names)
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        for row, frame in zip(loaded[split], data.select(split=name), strict=True):
            assert row["id"] == frame.id
            assert (row["patient"], row["view"], row["variation"]) == (frame.patient, frame.view, frame.variation)
            assert np.array_equal(np.array(row["image"]), frame.image())
            z, mask, geometry = np.array(row["depth"]), np.array(row["mask"]) > 0, frame.geometry()
            assert z.dtype == np.float32
            np.testing.assert_array_equal(z, geometry["z_depth"])
            assert np.array_equal(mask, geometry["mask"])
            assert json.loads(row["camera"]) == frame.camera
            k, pose = np.array(row["K"]), np.array(row["pose"])
            points = pinhole_points(z, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            assert same_points(points @ pose[:3, :3].T + pose[:3, 3], frame) < 1e-4


def test_hugging_face_gets_one_split_alone(data, tmp_path):
    out = export(data, "huggingface", tmp_path / "out", split="val", variations=["red"])
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "validation"]
    assert "split: validation" in (out / "README.md").read_text()
    assert "split: train" not in (out / "README.md").read_text()
    assert len((out / "validation" / "metadata.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("layout", [name for name in layouts if layouts[name].READS and layouts[name].WRITES])
def test_what_was_exported_reads_back(data, tmp_path, layout):
    out = export(data, layout, tmp_path / "out", variations=["red"])
    back = open_layout(out, layout)
    assert back.split("test") == ["p001", "p002", "p003"]
    for foreign in back.select(split="test", variations=["red"]):
        frame = frame_of(data, foreign.patient, "red", foreign.view)
        assert np.array_equal(foreign.image(), frame.image())
        assert np.allclose(foreign.K, frame.K, atol=1e-9)
        assert np.allclose(foreign.world_from_camera, frame.world_from_camera, atol=1e-9)
        mine, other = frame.geometry(), foreign.geometry()
        assert other["z_depth"].dtype == np.float32
        assert np.array_equal(mine["mask"], other["mask"])
        for name in ("z_depth", "distance"):
            assert np.abs(mine[name] - other[name]).max() < 0.004
        if "normal" in other:
            assert np.abs(mine["normal"] - other["normal"]).max() < 5e-5
        assert set(foreign.files) == {"image", "geometry"}


@pytest.mark.parametrize("layout", [name for name in layouts if layouts[name].WRITES])
def test_the_same_dataset_gives_the_same_bytes_and_no_path(data, tmp_path, layout):
    a, b = (contents(export(data, layout, tmp_path / name)) for name in ("MUELLER", "other"))
    assert a == b
    assert a
    assert not [name for name, raw in a.items() if b"MUELLER" in raw or str(data.root).encode() in raw]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["MUELLER", "other"]


def test_training_takes_frames_of_other_layouts(data, tmp_path):
    from training.data import DepthFrames, people

    back = open_layout(export(data, "simcol3d", tmp_path / "out", variations=["red"]), "simcol3d")
    frames = back.select(split="test")
    assert people(frames) == {alias: alias for alias in ("p001", "p002", "p003")}
    own, other = DepthFrames(data.select(variations=["red"])), DepthFrames(frames)
    assert len(own) == len(other) == 9
    for n in range(9):
        one, two = own[n], other[n]
        assert (one["image"] == two["image"]).all()
        assert (one["mask"] == two["mask"]).all()
        assert (one["z_depth"] - two["z_depth"]).abs().max() < 0.004


def test_two_exports_into_one_folder(data, tmp_path, monkeypatch):
    write = layouts["depth_anything"].write

    def meanwhile(self, splits, out):
        write(self, splits, out)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/train.txt").write_text("another's")

    monkeypatch.setattr(layouts["depth_anything"], "write", meanwhile)
    with pytest.raises(UserError, match="meanwhile") as refusal:
        export(data, "depth_anything", tmp_path / "out")
    assert refusal.value.code == "EXISTS"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/train.txt").read_text() == "another's"


def test_mistakes_are_said_in_one_line(data, scoped, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    refusal("EXISTS", export, data, "c3vd", tmp_path / "full")
    refusal("LAYOUT_CAMERA", export, scoped, "simcol3d", tmp_path / "out")
    refusal("LAYOUT_CAMERA", export, scoped, "nerfstudio", tmp_path / "out")
    refusal("UNKNOWN_NAME", export, data, "c3vd", tmp_path / "out", variations=["red", "green"])
    refusal("UNKNOWN_NAME", export, data, "kitti", tmp_path / "out")
    refusal("NO_READER", open_layout, tmp_path, "hdf5")
    refusal("NO_FRAMES", open_layout, tmp_path / "none", "c3vd")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
