"""Datasets as others have published them, and copies of them: other orders of rows, sizes and cameras, no poses."""

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export, open_layout
from tests.dataset.formulas import OLYMPUS, quaternion_matrix, scaramuzza_rays
from tests.dataset.refusals import refusal
from tests.dataset.sphere import make


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("data") / "pinhole", names=("red",)))


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


def test_poses_that_are_none_are_said_in_one_line(tmp_path):
    olympus(tmp_path / "c" / "cecum_t1_a")
    poses = tmp_path / "c" / "cecum_t1_a" / "pose.txt"
    poses.write_text(poses.read_text().splitlines()[0])
    assert "frame 1 has no pose" in refusal("LAYOUT_POSE", open_layout, tmp_path / "c", "c3vd")
    poses.write_text(",".join(["1"] * 16) + "\n" + ",".join(["1"] * 16))
    refusal("LAYOUT_POSE", open_layout, tmp_path / "c", "c3vd")
