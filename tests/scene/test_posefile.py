"""Poses in files of other tools: each is written by its own published convention and read back as world_from_camera."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.scene.posefile import pose_files, read_poses

SECRET = "MUELLER_HANS"


def made(count=12, seed=2):
    """(N, 4, 4) world_from_camera, RAS mm, OpenCV axes."""
    rng = np.random.default_rng(seed)
    out = np.tile(np.eye(4), (count, 1, 1))
    out[:, :3, :3] = Rotation.random(count, random_state=3).as_matrix()
    out[:, :3, 3] = rng.uniform(-90, 90, (count, 3))
    return out


POSES = made()
OPENGL, LPS = np.diag([1.0, -1, -1, 1]), np.diag([-1.0, -1, 1, 1])


def metres(poses):
    return np.concatenate([poses[..., :3], poses[..., 3:] * [[0.001], [0.001], [0.001], [1]]], -1)


def rows(table, separator=" "):
    return "".join(separator.join(f"{x:.17g}" for x in row) + "\n" for row in table)


def tum(poses=POSES, scale=1e-3):
    """Time, position in metres, quaternion x y z w: Sturm et al. 2012, camera to world."""
    time = np.arange(len(poses))[:, None] / 30
    turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    return rows(np.hstack([time, poses[:, :3, 3] * scale, turns]))


def colmap(poses=POSES, points="\n"):
    """IMAGE_ID, QW QX QY QZ TX TY TZ of the projection from world to camera, CAMERA_ID, NAME; then a line of points."""
    lines = ["# Image list with two lines of data per image:\n"]
    for n in np.random.default_rng(0).permutation(len(poses)):
        there = np.linalg.inv(poses[n])
        x, y, z, w = Rotation.from_matrix(there[:3, :3]).as_quat()
        numbers = " ".join(f"{v:.17g}" for v in (w, x, y, z, *there[:3, 3]))
        lines.append(f"{n + 1} {numbers} 1 frame {n}.png\n{points}")
    return "".join(lines)


def nerfstudio(poses=POSES, applied=None):
    """Camera to world in OpenGL's axes, metres; with applied_transform in another world."""
    told = {}
    flipped = metres(poses @ OPENGL)
    if applied is not None:
        flipped, told = applied @ flipped, {"applied_transform": applied[:3].tolist()}
    frames = [{"file_path": f"images/{n}.png", "transform_matrix": m.tolist()} for n, m in enumerate(flipped)]
    return json.dumps({**told, "camera_model": "PINHOLE", "frames": frames[::-1]})


TURNED = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
FILES = {
    "json": json.dumps(POSES.tolist()),
    "fit": json.dumps({"world_from_camera": POSES.tolist()}, indent=1),
    "json in metres, LPS, OpenGL": json.dumps(
        {"unit": "m", "world": "lps", "axes": "opengl", "world_from_camera": metres(LPS @ POSES @ OPENGL).tolist()}
    ),
    "tum": tum(),
    "tum, mm by its comment": "# unit: mm\n" + tum(scale=1),
    "colmap": colmap(),
    "colmap with points": colmap(points="12.5 7.25 -1 3 4.5 17\n"),
    "colmap without lines of points": colmap(points=""),
    "nerfstudio": nerfstudio(),
    "nerfstudio, applied_transform": nerfstudio(applied=TURNED),
    "c3vd": rows(POSES.transpose(0, 2, 1).reshape(-1, 16), ","),
    "matrix": "# a comment\n" + rows(POSES.reshape(-1, 16)),
    "matrix in blocks": rows(POSES.reshape(-1, 4)),
    "manifest": "".join(
        json.dumps({"patient": "p001", "view": n, "variation": v, "world_from_camera": POSES[n].tolist()}) + "\n"
        for v in ("a", "b")
        for n in reversed(range(len(POSES)))
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_recognised_and_lands_in_the_patient(tmp_path, name):
    (tmp_path / SECRET).write_text(FILES[name])
    np.testing.assert_allclose(read_poses(tmp_path / SECRET), POSES, atol=1e-9)


def test_what_a_file_leaves_open_can_be_said(tmp_path):
    file = tmp_path / "poses.txt"
    file.write_text(tum(scale=0.1))
    np.testing.assert_allclose(read_poses(file, pose_files.build({"type": "tum", "unit": "cm"})), POSES, atol=1e-9)
    file.write_text(rows((LPS @ POSES).reshape(-1, 16)))
    np.testing.assert_allclose(read_poses(file, pose_files.build({"type": "matrix", "world": "lps"})), POSES, atol=1e-9)
    still = POSES.copy()
    still[:, :3, 3] = 0
    file.write_text(rows(still.transpose(0, 2, 1).reshape(-1, 16)))
    told = pose_files.build({"type": "matrix", "transposed": True})
    np.testing.assert_allclose(read_poses(file, told), still, atol=1e-9)
    refused(file, "nothing tells rows from columns")
    file.write_text(FILES["manifest"].replace('"p001"', '"p002"', 1))
    refused(file, "p001, p002", "manifest:patient=")
    assert len(read_poses(file, pose_files.build({"type": "manifest", "patient": "p002"}))) == 1


def refused(file, *words):
    with pytest.raises(UserError) as caught:
        read_poses(file)
    text = str(caught.value)
    assert caught.value.code in ("POSES", "NOT_FOUND")
    assert all(w in text for w in words), text
    assert SECRET not in text
    assert "\n" not in text


def test_poses_that_are_none_are_refused_by_number(tmp_path):
    file = tmp_path / f"{SECRET}.json"
    for change, words in (
        (np.diag([1.0, -1, 1, 1]), ("pose 3 is no world_from_camera, but mirrored",)),
        (np.diag([1.1, 1, 1, 1]), ("pose 3 is no world_from_camera",)),
        (np.diag([np.nan, 1, 1, 1]), ("pose 3 is not made of finite numbers",)),
    ):
        bad = POSES.copy()
        bad[2] = bad[2] @ change
        file.write_text(json.dumps(bad.tolist()))
        refused(file, *words)
    bad = POSES.copy()
    bad[[1, 4, 7], :, 0] *= -1
    file.write_text(rows(bad.reshape(-1, 16)))
    refused(file, "pose 2 is", "mirrored", "2 more")
    for text, words in (
        ("", ("no known format",)),
        ("[]", ("holds none",)),
        ("{", ("cannot be read as json",)),
        ("hello", ("no known format",)),
        ("1 2 3 4\n5 6 7", ("cannot be read as matrix",)),
        (tum().replace("0", "zero", 1), ("cannot be read as tum",)),
        ("0 1 2 3 0 0 0 2\n", ("pose 1: its quaternion has length 2",)),
        (json.dumps({"unit": "inch", "world_from_camera": POSES.tolist()}), ("unit must be one of mm, cm, m",)),
        (json.dumps({"frames": [{"transform_matrix": 3}]}), ("cannot be read as nerfstudio",)),
    ):
        file.write_text(text)
        refused(file, *words)
    refused(tmp_path / SECRET, "cannot be read")
    file.write_bytes(b"\xff\xfe\x00")
    refused(file, "not a text file")


def test_whole_matrices_keep_their_bytes_and_rounded_ones_become_rotations(tmp_path):
    file = tmp_path / "poses.json"
    file.write_text(json.dumps(POSES.tolist()))
    assert read_poses(file).tobytes() == POSES.tobytes()
    file.write_text(json.dumps(POSES.round(4).tolist()))
    found = read_poses(file)
    np.testing.assert_allclose(found, POSES, atol=2e-4)
    assert np.abs(found[:, :3, :3] @ found[:, :3, :3].transpose(0, 2, 1) - np.eye(3)).max() < 1e-14
