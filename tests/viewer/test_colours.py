"""Colours mean what their scales say."""

import numpy as np
import pytest

from endorender.dataset import open_dataset
from endorender.errors import UserError
from endorender.viewer.colours import Predictions, Scale, measures, prediction_error, residual
from tests.dataset import sphere


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = sphere.make(tmp_path_factory.mktemp("colours") / "data", patients=1)
    return open_dataset(root).select(variations=["plain"])


def test_neighbouring_views_agree_on_an_exact_wall_and_disagree_where_one_is_moved(frames, monkeypatch):
    off = residual(frames[0], frames[1])
    assert np.isfinite(off).mean() > 0.5
    assert np.nanmedian(off) < 0.02
    assert np.isnan(residual(frames[-1], None)).all()
    pose = np.array(frames[1].world_from_camera)
    pose[:3, 3] += 0.4 * pose[:3, 2]
    moved = frames[1].model_copy(update={"world_from_camera": tuple(map(tuple, pose.tolist()))}).at(frames[1]._root)
    assert 0.25 < np.nanmedian(residual(frames[0], moved)) < 0.45


def test_a_prediction_is_compared_before_any_alignment(frames, tmp_path):
    depths = {
        frames[0].id: frames[0].geometry()["z_depth"] + np.float32(1.5),
        frames[1].id: np.ones((2, 2), np.float32),
    }
    np.savez_compressed(tmp_path / "predictions.npz", **depths)
    known = Predictions(tmp_path)
    known.refuse_strange(frames)
    assert np.nanmax(np.abs(prediction_error(frames[0], known) - 1.5)) < 1e-5
    # Of another size, or never asked for: unknown.
    assert np.isnan(prediction_error(frames[1], known)).all()
    assert np.isnan(prediction_error(frames[2], known)).all()
    with pytest.raises(UserError, match="no frame of this dataset"):
        known.refuse_strange([frames[2]])
    with pytest.raises(UserError, match="holds no predictions"):
        Predictions(tmp_path / "nowhere")
    whole = (tmp_path / "predictions.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"\x93NUMPY") + 200 if b"\x93NUMPY" in whole else 120] ^= 255
    for damaged in (b"no archive", b"", whole[:100], whole[: len(whole) // 2], whole[:-4]):
        (tmp_path / "predictions.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"predictions.npz of the evaluation is cut short or damaged"):
            Predictions(tmp_path)
    # The list of contents comes last: what is damaged before it is found when it is read.
    (tmp_path / "predictions.npz").write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="cut short or damaged"):
        prediction_error(frames[0], Predictions(tmp_path))
    np.savez(tmp_path / "predictions.npz", **{frames[0].id: np.array(["text"])})
    with pytest.raises(UserError, match="holds no depth"):
        prediction_error(frames[0], Predictions(tmp_path))
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "array.npy").rename(tmp_path / "predictions.npz")
    with pytest.raises(UserError, match="cut short or damaged"):
        Predictions(tmp_path)


def test_every_measure_has_a_scale_on_which_its_values_lie(frames, tmp_path):
    np.savez_compressed(tmp_path / "predictions.npz", **{frames[0].id: frames[0].geometry()["z_depth"]})
    found = measures(40.0, Predictions(tmp_path))
    assert list(found) == ["depth", "agreement of views", "prediction error"]
    assert "prediction error" not in measures(40.0)
    for values, scale in found.values():
        known = values(frames[0], frames[1])
        assert known.shape == frames[0].geometry()["mask"].shape
        assert scale.low <= np.nanmedian(known) <= scale.high
        assert scale.what in scale.html()
        assert f"{scale.high:g} mm" in scale.html()
    values, scale = found["prediction error"]
    right = scale.paint(values(frames[0], None)).reshape(-1, 3)
    assert (np.ptp(right.astype(int), axis=1) < 12).all(), "no error lies in the middle of the scale, which is grey"


def test_a_scale_ends_where_it_says():
    low, below, high, above = Scale("what", "viridis", 1.0, 3.0).paint(np.array([1.0, -9, 3, 99]))
    assert (low == below).all()
    assert (high == above).all()
    assert (low != high).any()
