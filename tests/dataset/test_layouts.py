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
from endorender.dataset.variation import SETTINGS
from endorender.errors import UserError
from tests.dataset.formulas import (
    OLYMPUS,
    c3vd_points,
    grid,
    pinhole_points,
    quaternion_matrix,
    radial,
    scaramuzza_rays,
)
from tests.dataset.made import contents
from tests.dataset.refusals import refusal
from tests.dataset.sphere import make, truth

CLOSE = 0.01  # mm
SCOPE = {"camera": "scaramuzza:mask=octagon", "size": "50x40", "views": 2, "patients": 1, "names": ("plain",)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("data") / "pinhole"))


@pytest.fixture(scope="module")
def scoped(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("data") / "scoped", **SCOPE))


def frame_of(data, patient, variation, view):
    return next(f for f in data.frames if (f.patient, f.variation, f.view) == (patient, variation, view))


def same_points(points, frame, valid=None):
    """Points (H, W, 3) are the frame's, to CLOSE; where NaN, the frame has none either."""
    expected = truth(frame)
    assert np.array_equal(np.isfinite(points[..., 0]), np.isfinite(expected[..., 0]) if valid is None else valid)
    off = np.linalg.norm(points - expected, axis=-1)
    assert np.nanmax(off) < CLOSE
    return np.nanmax(off)


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


def olympus(folder, transposed_rows=True, padded=True):
    """A miniature of C3VD in its published encodings, 50 x 40, with poses and depth that the test knows."""
    import tifffile

    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    depth = rng.integers(2000, 60000, (2, 40, 50)).astype(np.uint16)
    depth[:, 0, 0], depth[:, 0, 1] = 0, 65535
    turn = quaternion_matrix(*(np.array([1, 2, 3, 8]) / np.sqrt(78)))
    lines = []
    for n in range(2):
        name = f"{n:04d}" if padded else str(n)
        Image.fromarray(rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)).save(folder / f"{name}_color.png")
        tifffile.imwrite(folder / f"{n:04d}_depth.tiff", depth[n])
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = turn, (4, 5, 6 + n)
        lines.append(",".join(str(x) for x in (m.T if transposed_rows else m).ravel()))
    (folder / "pose.txt").write_text("\n".join(lines) + "\n")
    return depth, turn


@pytest.mark.parametrize("transposed_rows", [True, False])
def test_c3vd_copies_with_either_order_of_rows(tmp_path, transposed_rows):
    depth, turn = olympus(tmp_path / "C3VD" / "cecum_t1_a", transposed_rows, padded=transposed_rows)
    data = open_layout(tmp_path / "C3VD", "c3vd")
    assert [(f.patient, f.variation, f.id) for f in data.frames] == [
        ("cecum", "cecum_t1_a", f"cecum/cecum_t1_a/{n:04d}") for n in range(2)
    ]
    for n, frame in enumerate(data.frames):
        pose = np.array(frame.world_from_camera)
        np.testing.assert_allclose(pose[:3, :3], turn, atol=1e-12)
        np.testing.assert_allclose(pose[:3, 3], (4, 5, 6 + n))
        geometry = frame.geometry()
        assert not geometry["mask"][0, :2].any()
        rays = scaramuzza_rays((40, 50), OLYMPUS, 27.0)
        forward = rays[..., 2] > 1e-3  # those of the corners look sideways
        assert forward.mean() > 0.98
        assert np.array_equal(geometry["mask"], forward & (depth[n] > 0) & (depth[n] < 65535))
        z = np.where(geometry["mask"], depth[n] / 65535 * 100, np.nan)
        np.testing.assert_allclose(geometry["z_depth"], z, rtol=1e-6)
        # z-depth is not the ray's length: towards the corners they part by more than half
        distance = z * np.linalg.norm(rays / rays[..., 2:], axis=-1)
        np.testing.assert_allclose(geometry["distance"], distance, rtol=1e-5)
        assert np.nanmax(geometry["distance"] / geometry["z_depth"]) > 1.5


def test_c3vd_stretch_matrix_and_centre_are_choices(tmp_path):
    olympus(tmp_path / "cecum_t1_a")
    plain, turned, late = (
        open_layout(tmp_path, spec).frames[0].camera for spec in ("c3vd", "c3vd:transposed=true", "c3vd:one_based=true")
    )
    from endorender.scene import cameras

    full = [{**c, "width": 1350, "height": 1080} for c in (plain, turned, late)]
    rays = [cameras.build(c).unproject(np.array([[0.0, 0.0], [678.5, 543.0]])) for c in full]
    off = cameras.build(full[0]).project(rays[1])
    assert 3 < np.linalg.norm(off[0]) < 7  # px at the corner
    assert np.allclose(cameras.build(full[0]).project(rays[2]), [[1, 1], [679.5, 544.0]], atol=1e-6)


def test_c3vdv2_takes_its_camera_from_the_file_that_comes_with_it(tmp_path):
    import tifffile

    folder = tmp_path / "C3VDv2" / "c1_descending_t2_v2"
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (45, 36)).save(folder / "rgb" / "0000.png")
    tifffile.imwrite(folder / "depth" / "0000_depth.tiff", np.full((36, 45), 16384, np.uint16))
    (folder / "pose.txt").write_text(",".join(str(x) for x in np.eye(4).ravel()) + "\n")
    assert "camera_intrinsics.txt" in refusal("LAYOUT_CAMERA", open_layout, tmp_path / "C3VDv2", "c3vdv2")
    numbers = "1350 1080 677.7 543.1 767.7 0 -5.9e-4 -2.7e-7 -2.2e-10 0.9999 1.1e-4 -1.8e-4"
    (tmp_path / "C3VDv2" / "camera_intrinsics.txt").write_text(numbers)
    frame = open_layout(tmp_path / "C3VDv2", "c3vdv2").frames[0]
    assert frame.patient == "c1"
    assert (frame.camera["cx"], frame.camera["a4"], frame.camera["e"]) == (677.7, -2.2e-10, -1.8e-4)
    assert frame.geometry()["z_depth"][3, 3] == pytest.approx(25, abs=0.001)
    (tmp_path / "C3VDv2" / "camera_intrinsics.txt").write_text("cx: 677.7\ncy = 543.1\na0 767.7")
    assert "a2" in refusal("LAYOUT_CAMERA", open_layout, tmp_path / "C3VDv2", "c3vdv2")


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


def test_simcol3d_as_published(tmp_path):
    folder = tmp_path / "SyntheticColon_I" / "Frames_S1"
    folder.mkdir(parents=True)
    Image.new("RGB", (475, 475), (9, 8, 7)).save(folder / "FrameBuffer_0000.png")
    Image.fromarray(np.full((475, 475), 32640, np.uint16)).save(folder / "Depth_0000.png")
    (folder.parent / "SavedPosition_S1.txt").write_text("1 2 3\n")
    (folder.parent / "SavedRotationQuaternion_S1.txt").write_text("0 0.6 0 0.8\n")
    (folder.parent / "cam.txt").write_text("227.604 0 237.5\n0 227.604 237.5\n0 0 1\n")
    frame = open_layout(tmp_path, "simcol3d").frames[0]
    assert (frame.patient, frame.id) == ("SyntheticColon_I", "SyntheticColon_I/S1/0000")
    assert np.allclose(frame.geometry()["z_depth"], 100)  # half of 65280 is half of 20 cm
    pose = np.array(frame.world_from_camera)
    assert np.allclose(pose[:3, 3], (10, -20, 30))
    t = np.diag([1.0, -1, 1])
    assert np.allclose(pose[:3, :3], t @ quaternion_matrix(0, 0.6, 0, 0.8) @ t)
    swapped = open_layout(tmp_path, "simcol3d:swapped=true").frames[0]
    assert np.allclose(swapped.K, [[227.604, 0, 227.604], [0, 237.5, 237.5], [0, 0, 1]])


def resize(folder, pattern, size):
    """Pictures of another size, as copies of datasets have them."""
    import tifffile

    for file in folder.rglob(pattern):
        if file.suffix == ".tiff":
            levels = tifffile.imread(file)
            tifffile.imwrite(file, np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.NEAREST)))
        else:
            Image.open(file).resize(size, Image.Resampling.NEAREST).save(file)


@pytest.mark.parametrize("layout", ["c3vd", "c3vdv2", "simcol3d"])
def test_depth_needs_no_pose(data, tmp_path, layout):
    out = export(data, layout, tmp_path / "out", variations=["red"])
    with_poses = open_layout(out, layout)
    for file in [*out.rglob("pose.txt"), *out.rglob("Saved*.txt")]:
        file.unlink()
    without = open_layout(out, layout)
    assert [f.id for f in without.frames] == [f.id for f in with_poses.frames]
    for one, two in zip(with_poses.frames, without.frames, strict=True):
        assert two.world_from_camera is None
        assert one.camera == two.camera
        np.testing.assert_array_equal(one.geometry()["distance"], two.geometry()["distance"])
    from endorender.dataset.consistency import check_geometry

    refusal("NO_POSES", check_geometry, without)


def test_c3vd_of_another_size_has_its_own_camera(tmp_path):
    from endorender.scene import cameras

    olympus(tmp_path / "cecum_t1_a")  # 50 x 40, of the shape of 1350 x 1080
    own = cameras.build(open_layout(tmp_path, "c3vd").frames[0].camera)
    corner = own.unproject(np.array([[49.5, 39.5], [0.0, 3.0]]))
    resize(tmp_path, "*_color.png", (100, 80))
    resize(tmp_path, "*_depth.tiff", (100, 80))
    twice = cameras.build(open_layout(tmp_path, "c3vd").frames[0].camera)
    np.testing.assert_allclose(twice.unproject(np.array([[99.5, 79.5], [0.5, 6.5]])), corner, atol=1e-9)
    for shape in ((80, 80), (100, 78)):
        resize(tmp_path, "*_color.png", shape)
        resize(tmp_path, "*_depth.tiff", shape)
        told = refusal("LAYOUT_SIZE", open_layout, tmp_path, "c3vd")
        assert f"{shape[0]}x{shape[1]}" in told
        assert "1350x1080" in told
    # The way out: a camera for pictures of this size.
    numbers = "100 78 50 39 57 0 -1e-2 0 0 1 0 0"
    (tmp_path / "camera_intrinsics.txt").write_text(numbers)
    assert open_layout(tmp_path, "c3vd").frames[0].camera["calibrated"] == [100, 78]


def test_simcol3d_of_another_size_has_its_own_camera(tmp_path):
    folder = tmp_path / "SyntheticColon_I" / "Frames_S1"
    folder.mkdir(parents=True)
    Image.new("RGB", (475, 475)).save(folder / "FrameBuffer_0000.png")
    Image.fromarray(np.full((475, 475), 32640, np.uint16)).save(folder / "Depth_0000.png")
    published = open_layout(tmp_path, "simcol3d").frames[0].K  # without cam.txt
    assert np.allclose(published, [[227.604, 0, 237.5], [0, 227.604, 237.5], [0, 0, 1]])
    (folder.parent / "cam.txt").write_text("227.604 0 237.5\n0 227.604 237.5\n0 0 1\n")
    assert published == open_layout(tmp_path, "simcol3d").frames[0].K
    for width in (448, 256, 950):
        resize(folder, "*.png", (width, width))
        share = width / 475
        middle = (237.5 + 0.5) * share - 0.5  # pixel centres at integers
        expected = [[227.604 * share, 0, middle], [0, 227.604 * share, middle], [0, 0, 1]]
        np.testing.assert_allclose(open_layout(tmp_path, "simcol3d").frames[0].K, expected)
    resize(folder, "*.png", (320, 240))
    assert "475x475" in refusal("LAYOUT_SIZE", open_layout, tmp_path, "simcol3d")
    # A camera that is off its centre by less than 10 % is that of the pictures.
    (folder.parent / "cam.txt").write_text("200 0 150\n0 200 125\n0 0 1\n")
    assert open_layout(tmp_path, "simcol3d").frames[0].K == ((200, 0, 150), (0, 200, 125), (0, 0, 1))
    # Of our own exports the size is written down, wherever the principal point may lie.
    aside = {"camera": "pinhole:fx=40,cx=12,cy=30", "size": "50x40", "views": 1, "patients": 1, "names": ("plain",)}
    out = export(open_dataset(make(tmp_path / "aside", **aside)), "simcol3d", tmp_path / "out")
    assert open_layout(out, "simcol3d").frames[0].K == ((40, 0, 12), (0, 40, 30), (0, 0, 1))
    resize(out, "*.png", (100, 80))
    np.testing.assert_allclose(open_layout(out, "simcol3d").frames[0].K, ((80, 0, 24.5), (0, 80, 60.5), (0, 0, 1)))


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
    olympus(tmp_path / "c" / "cecum_t1_a")
    poses = tmp_path / "c" / "cecum_t1_a" / "pose.txt"
    poses.write_text(poses.read_text().splitlines()[0])
    assert "frame 1 has no pose" in refusal("LAYOUT_POSE", open_layout, tmp_path / "c", "c3vd")
    poses.write_text(",".join(["1"] * 16) + "\n" + ",".join(["1"] * 16))
    refusal("LAYOUT_POSE", open_layout, tmp_path / "c", "c3vd")
