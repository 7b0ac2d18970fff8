"""EXR files are exact, self-describing, and the same bytes for the same content."""

import json

import numpy as np
import pytest

from endorender.dataset import exr
from endorender.errors import UserError


def channels(h=7, w=11):
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 90, (h, w)).astype(np.float32)
    depth[2, 3] = np.nan
    normal = rng.normal(size=(h, w, 3)).astype(np.float32)
    return {"Z": depth, "distance.V": depth * np.float32(1.1), **exr.split_rgb("normal", normal, "XYZ")}


def test_float32_comes_back_to_the_bit_and_nan_stays_nan(tmp_path):
    written = channels()
    exr.write(tmp_path / "a.exr", written, {})
    read, _ = exr.read(tmp_path / "a.exr")
    assert set(read) == {"Z", "distance.V", "normal.X", "normal.Y", "normal.Z"}
    for name, values in written.items():
        assert read[name].dtype == np.float32
        assert np.array_equal(read[name].view(np.uint32), np.ascontiguousarray(values).view(np.uint32)), name


def test_half_is_stored_as_half_in_the_channels_that_viewers_expect(tmp_path):
    image = np.random.default_rng(2).uniform(0, 5, (6, 9, 3)).astype(np.float32)
    image[0, 0] = 1e6  # more than a half can hold
    exr.write(tmp_path / "a.exr", exr.split_rgb("", exr.half(image)), {})
    read, _ = exr.read(tmp_path / "a.exr")
    assert sorted(read) == ["B", "G", "R"]
    got = np.stack([read[c] for c in "RGB"], -1)
    assert got.dtype == np.float16
    assert np.array_equal(got[1:], image[1:].astype(np.float16))
    assert (got[0, 0] == 65504).all()


def test_pictures_whose_light_is_lost_are_told():
    """Within the camera's mask: held at the largest half beyond one pixel in a hundred, black beyond nine in ten."""
    mask = np.ones((10, 20), bool)
    mask[:5] = False
    light = np.ones((10, 20, 3), np.float32)
    light[:5] = 0
    light[5, 0, 1] = 1e30
    assert exr.spoilt(exr.half(light), mask) == []
    assert exr.spoilt(exr.half(light), mask, clipped_limit=0)[0].startswith("1 of 100 pixels are brighter than 65504")
    light[5, 1] = 65505
    assert exr.spoilt(exr.half(light), mask)[0].startswith("2 of 100 pixels are brighter than 65504")
    light[5:] = 0
    light[5, :10] = 1
    assert exr.spoilt(exr.half(light), mask) == []
    light[5, 0] = 1e-9  # below what a half holds
    assert exr.spoilt(exr.half(light), mask)[0].startswith("91 of 100 pixels are black")
    assert exr.spoilt(exr.half(light), np.zeros_like(mask)) == []


def test_header_round_trip_and_equal_bytes(tmp_path):
    pose = np.eye(4) + 1 / 3
    header = {"worldFromCamera": json.dumps(pose.tolist()), "spp": 16, "seed": "9223372036854775807", "units": "mm"}
    exr.write(tmp_path / "a.exr", channels(), header)
    exr.write(tmp_path / "b.exr", channels(), dict(reversed(header.items())))
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    _, read = exr.read(tmp_path / "a.exr")
    assert header.items() <= read.items()
    assert np.array_equal(json.loads(read["worldFromCamera"]), pose)


def test_refuses_what_exr_would_change(tmp_path):
    with pytest.raises(ValueError, match="float64"):
        exr.write(tmp_path / "a.exr", {"Z": np.zeros((2, 2))}, {})
    with pytest.raises(ValueError, match="shape"):
        exr.write(tmp_path / "a.exr", {"Z": np.zeros((2, 2), "f4"), "V": np.zeros((2, 3), "f4")}, {})


def test_damaged_and_missing_files_are_said_in_one_line(tmp_path):
    exr.write(tmp_path / "a.exr", channels(64, 64), {})
    whole = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(whole[: len(whole) // 2])
    for name in ("a.exr", "none.exr"):
        with pytest.raises(UserError) as error:
            exr.read(tmp_path / name)
        assert error.value.code == "DATASET_DAMAGED"
        assert "\n" not in str(error.value)
    with pytest.raises(OSError, match="Cannot open"):
        exr.write(tmp_path / "no" / "folder.exr", channels(), {})
