"""Photographs, calibrations and poses from outside: what is read, and what is refused in one line without a name."""

import json

import numpy as np
import pytest
from PIL import Image

from endorender.errors import UserError
from endorender.inverse.photographs import calibration, photographs, read_poses
from endorender.scene import BrownConrady, Fisheye, Pinhole, cameras

SECRET = "MUELLER_HANS"
W, H = 32, 24


def lumen(seed=0):
    """A bright wall around a dark centre."""
    v, u = np.mgrid[:H, :W]
    r = np.hypot((u - W / 2) / W, (v - H / 2) / H)
    level = np.clip(40 + 400 * r**2 + np.random.default_rng(seed).normal(size=r.shape) * 3, 0, 240)
    return (level[..., None] * [1.0, 0.7, 0.6]).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / SECRET
    root.mkdir()
    for n in range(3):
        Image.fromarray(lumen(n)).save(root / f"{SECRET}_{n}.png")
    return root


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert SECRET not in text
    assert "\n" not in text
    assert all(w in text for w in words), text


def test_a_folder_with_calibration_and_poses(folder):
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [1, 2, 3]
    (folder / "poses.json").write_text(json.dumps(poses.tolist()))
    camera = {"type": "pinhole", "fx": 20, "width": W, "height": H}
    taken = photographs(folder, camera, folder / "poses.json")
    assert taken.images.shape == (3, H, W, 3)
    assert taken.poses == pytest.approx(poses)
    assert taken.camera.K[0, 0] == 20
    small = taken.resized(16)
    assert small.images.shape == (3, 12, 16, 3)
    assert small.camera.K[0, 0] == 10
    assert small.images.mean() == pytest.approx(taken.images.mean(), abs=3)


def test_poses_in_every_form(folder):
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 1, 3] = [4, 5, 6]
    forms = {
        "a.json": json.dumps({"world_from_camera": poses.tolist()}),
        "b.csv": "# a comment\n" + "\n".join(",".join(map(str, p.ravel())) for p in poses),
        "c.txt": "\n\n".join("\n".join(" ".join(map(str, row)) for row in p) for p in poses),
    }
    for name, text in forms.items():
        (folder / name).write_text(text)
        found, files = read_poses(folder / name, folder)
        assert found == pytest.approx(poses)
        assert files == []


def test_a_datasets_manifest_names_its_pictures(folder):
    rows = []
    for n in range(2):
        for look in ("deep_red", "pale_pink"):
            path = f"p001/{n:04d}/{look}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(lumen(n)).save(folder / path)
            rows.append({"variation": look, "files": {"image": {"path": path}}, "world_from_camera": np.eye(4).tolist(),
                         "camera": {"type": "pinhole", "width": W, "height": H, "fov": 90}})  # fmt: skip
    (folder / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    taken = photographs(folder, folder / "manifest.jsonl", folder / "manifest.jsonl", "deep_red")
    assert taken.images.shape[0] == 2
    assert taken.camera == Pinhole(width=W, height=H, fov=90)
    refused(lambda: photographs(folder, folder / "manifest.jsonl", folder / "manifest.jsonl"), "--variation")
    # Where a dataset draws a camera for every view, each photograph is seen by its own.
    for n, row in enumerate(rows):
        row["camera"] = {**row["camera"], "fov": 70 + 10 * (n // 2)}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    taken = photographs(folder, folder / "manifest.jsonl", folder / "manifest.jsonl", "deep_red")
    assert [camera.fov for camera in taken.cameras] == [70, 80]
    assert not taken.alike
    assert [camera.fov for camera in taken.resized(16).chosen(np.array([1])).cameras] == [80]
    (folder / "poses.json").write_text(json.dumps([np.eye(4).tolist()] * 3))
    refused(lambda: photographs(folder, folder / "manifest.jsonl", folder / "poses.json"),
            "cameras of their own", "photograph 1", "--poses")  # fmt: skip
    refused(lambda: read_poses(folder / "manifest.jsonl", folder, "blue"), "none of the manifest's")


def test_calibrations(tmp_path):
    k = [[20.0, 0, 15.5], [0, 21, 11.5], [0, 0, 1]]
    assert pytest.approx(np.array(k)) == calibration({"K": k, "width": W, "height": H}, W, H).K
    bent = calibration({"K": k, "distortion": [-0.1, 0.01, 1e-3, 0, 0.002], "size": f"{W}x{H}"}, W, H)
    assert (type(bent), bent.k1, bent.p1, bent.k3) == (BrownConrady, -0.1, 1e-3, 0.002)
    fish = calibration({"K": k, "distortion": [0.01, 0, 0, 0], "model": "fisheye"}, W, H)
    assert (type(fish), fish.k1) == (Fisheye, 0.01)
    (tmp_path / "c.yaml").write_text(f"size: {W}x{H}\ncamera: {{type: fisheye, fov: 120, mask: circle}}\n")
    assert calibration(tmp_path / "c.yaml", W, H) == Fisheye(width=W, height=H, fov=120, mask="circle")
    told = {"configuration": {"size": f"{W}x{H}", "camera": {"type": "pinhole", "fov": 80}}}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    assert calibration(tmp_path / "dataset.json", W, H).fov == 80
    told["configuration"]["camera"]["fov"] = {"uniform": [60, 90]}
    (tmp_path / "dataset.json").write_text(json.dumps(told))
    refused(lambda: calibration(tmp_path / "dataset.json", W, H), "cameras of their own", "manifest.jsonl")
    for name, case in cameras.cases():
        camera = cameras.build({"type": name, **case})
        assert calibration(cameras.dump(camera), camera.width, camera.height) == camera


def test_bad_calibrations_are_one_line(tmp_path):
    k = [[20.0, 0, 15.5], [0, 21, 11.5], [0, 0, 1]]
    nan = [[float("nan"), 0, 1], [0, 1, 1], [0, 0, 1]]
    secret = tmp_path / f"{SECRET}.yaml"
    refused(lambda: calibration({"K": k, "size": "640x480"}, W, H), "640x480", f"{W}x{H}", "calibrate at their size")
    large = (np.array(k) * [[20], [20], [1]]).tolist()  # of 640 x 480, and nothing says so
    refused(lambda: calibration({"K": large}, W, H), "another size", "width and height")
    refused(lambda: calibration({"K": nan}, W, H), "finite")
    refused(lambda: calibration({"K": "x"}, W, H), "numbers")
    refused(lambda: calibration({"K": k, "distortion": [0.1] * 9}, W, H), "at most 8")
    refused(lambda: calibration({"fx": 20}, W, H), "neither K nor a camera's type")
    refused(lambda: calibration({"type": "pinhole", "fx": float("inf")}, W, H), "calibration: camera pinhole: fx")
    refused(lambda: calibration({"type": "pinhole", "zoom": 2}, W, H), "zoom: unknown key")
    refused(lambda: calibration(secret, W, H), "cannot be read")
    secret.write_text("a: [")
    refused(lambda: calibration(secret, W, H), "neither YAML nor JSON")
    secret.write_text("- 1")
    refused(lambda: calibration(secret, W, H), "key: value")


def test_pictures_without_a_lumen_are_refused_by_number(folder):
    camera = {"type": "pinhole"}
    for spoiled, words in (
        (np.zeros((H, W, 3)), ("photograph 2 is black",)),
        (np.full((H, W, 3), 128), ("photograph 2 shows no lumen",)),
        (np.where(np.hypot(*np.mgrid[-12:12, -16:16])[..., None] < 11, 150, 0) * np.ones(3), ("shows no lumen",)),
        (lumen()[:, : W // 2], (f"photograph 2 is {W // 2}x{H}",)),
    ):
        Image.fromarray(spoiled.astype(np.uint8)).save(folder / f"{SECRET}_1.png")
        refused(lambda: photographs(folder, camera), *words)
    (folder / f"{SECRET}_1.png").write_bytes(b"no picture")
    refused(lambda: photographs(folder, camera), "photograph 2 cannot be read")
    for file in folder.iterdir():
        file.unlink()
    refused(lambda: photographs(folder, camera), "holds none")
    refused(lambda: photographs(folder / "elsewhere", camera), "is not there")


def test_bad_poses_are_one_line(folder):
    camera, file = {"type": "pinhole"}, folder / "poses.json"
    for text, words in (
        (json.dumps([np.eye(4).tolist()]), ("1 poses for 3 photographs",)),
        (json.dumps([np.diag([2.0, 1, 1, 1]).tolist()] * 3), ("pose 1 is no world_from_camera",)),
        (json.dumps([np.diag([-1.0, 1, 1, 1]).tolist()] * 3), ("pose 1 is no world_from_camera",)),
        (json.dumps([[[float("nan")] * 4] * 4] * 3), ("finite",)),
        ("what is this", ("4 x 4 numbers",)),
        ("[", ("4 x 4 numbers",)),
    ):
        file.write_text(text)
        refused(lambda: photographs(folder, camera, file), *words)


def test_a_calibration_that_explodes_is_refused(tmp_path):
    file = tmp_path / "bomb.yaml"
    file.write_text(
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{n}: &{n} [{','.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdef", "bcdefg"))
    )
    with pytest.raises(UserError, match="aliases repeat too much") as caught:
        calibration(file, 64, 48)
    assert caught.value.code == "CALIBRATION"
