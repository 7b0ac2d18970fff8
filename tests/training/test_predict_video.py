"""`predict` on videos: each frame's depth, a film beside it, and damaged ones read as far as they go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from endorender.errors import Notice
from tests.cli.test_main import mistake
from tests.training.pictures import WORD, contents, view
from training.predict import counted, predict
from training.sources import source


def film(path: Path, frames: int = 6, size=(48, 64)) -> Path:
    av = pytest.importorskip("av", reason="needs the extra: pip install 'endorender[video]'")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for n in range(frames):
            image = view(0, size) if n != 2 else np.zeros((*size, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_video_gets_depth_and_a_film_beside_it(glimpsed, tmp_path):
    av = pytest.importorskip("av", reason="needs the extra: pip install 'endorender[video]'")
    video = film(tmp_path / f"{WORD}.mp4")
    with pytest.warns(Notice, match="picture 2 is black"):
        out = predict(glimpsed, video, tmp_path / "out")
    assert counted(out) == (5, 6)
    assert sorted(p.name for p in (out / "depth").iterdir()) == [f"frame_{n:06d}.png" for n in (0, 1, 3, 4, 5)]
    assert not (out / "exr").exists()
    with av.open(str(out / "side_by_side.mp4")) as container:
        stream = container.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.average_rate, len(shown), shown[0].shape) == (10, 6, (48, 128, 3))
    preview = np.asarray(Image.open(out / "preview/frame_000004.png")).astype(float)
    grey = np.array([0.299, 0.587, 0.114])  # colour has half the resolution in a film
    (given,) = source(video).read({4})
    halves = (shown[4][:, :64], given.image), (shown[4][:, 64:], preview)
    assert [abs((half.astype(float) - true) @ grey).mean() < 4 for half, true in halves] == [True, True]
    assert abs((given.image - preview) @ grey).mean() > 20

    def stop(done, total, text):
        if text == "filming" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pytest.warns(Notice):
        predict(glimpsed, video, tmp_path / "again", progress=stop)
    assert not (tmp_path / "again/side_by_side.mp4").exists()
    predict(glimpsed, video, tmp_path / "again", resume=True)
    assert contents(tmp_path / "again") == contents(out)


def test_a_video_that_does_not_decode_is_one_line(glimpsed, tmp_path):
    video = film(tmp_path / f"{WORD}.mp4", 30)
    raw = video.read_bytes()
    video.write_bytes(b"no video at all " * 99)
    assert "the video does not decode" in mistake("predict", glimpsed, "--images", video, "--out", tmp_path / "o")
    video.write_bytes(raw[: len(raw) // 3])  # its index stood at the end
    assert "the video does not decode" in mistake("predict", glimpsed, "--images", video, "--out", tmp_path / "o")


def test_a_video_that_is_damaged_later_is_read_until_there(glimpsed, tmp_path):
    video = film(tmp_path / f"{WORD}.mp4", 40, (96, 128))
    import av

    with av.open(str(video)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    raw = bytearray(video.read_bytes())
    for start, size in places[20:]:
        raw[start : start + size] = bytes(size)
    video.write_bytes(raw)
    with pytest.warns(Notice) as told:
        out = predict(glimpsed, video, tmp_path / "out", confidence=False)
    done, all_ = counted(out)
    assert 3 < all_ < 40
    assert done == all_ - 1
    said = [str(w.message) for w in told]
    assert said[0] == f"the video is damaged after its frame {all_ - 1}: what comes before is read"


def test_a_video_without_the_extra_is_one_line(glimpsed, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"0")
    line = mistake("predict", glimpsed, "--images", tmp_path / "a.mp4", "--out", tmp_path / "out")
    assert "pip install 'endorender[video]'" in line
