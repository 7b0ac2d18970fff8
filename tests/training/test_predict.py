"""`predict`: depth of other people's pictures in the forms that others read, and nothing of who they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cli.main import COMMANDS
from endorender.dataset import exr
from endorender.errors import Notice, UserError
from endorender.scene import Pinhole
from tests.cli.test_main import mistake, run
from tests.training.pictures import WORD, arrays, contents, view
from training import predict as module
from training.checkpoint import load_run
from training.export import export_model
from training.predict import counted, predict
from training.sources import seen_through, spread_out


def masked(image: np.ndarray, share: float = 0.45) -> tuple[np.ndarray, np.ndarray]:
    """A round view in a black surround with noise and a word beside it; and where the view is."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w]
    inside = np.hypot(x - w / 2 + 0.5, y - h / 2 + 0.5) < share * h
    noise = np.random.default_rng(3).integers(0, 9, image.shape, np.uint8)
    out = np.where(inside[..., None], np.maximum(image, 3), noise)
    out[2:3, 2:9:2] = 230
    return out.astype(np.uint8), inside


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / WORD
    root.mkdir()
    for n in range(3):
        Image.fromarray(view(n)).save(root / f"{WORD}_{n}.png")
    return root


def test_every_form_holds_the_networks_depth(glimpsed, folder, tmp_path):
    camera = {"K": [[32, 0, 31.5], [0, 32, 23.5], [0, 0, 1]], "width": 64, "height": 48}
    out = predict(glimpsed, folder, tmp_path / "out", camera)
    assert counted(out) == (3, 3)
    with torch.no_grad():
        image = torch.from_numpy(view(1)).permute(2, 0, 1)[None] / 255
        expected = load_run(glimpsed).network(image)[0, 0].numpy()
    held = arrays(out, 1)
    np.testing.assert_allclose(held["z_depth"], expected, rtol=1e-6)
    assert held["mask"].all()
    assert held["K"].tolist() == camera["K"]
    png = np.asarray(Image.open(out / "depth/frame_000001.png"))
    assert png.dtype == np.uint16
    np.testing.assert_allclose(png * 0.01, expected, atol=0.00501)
    layers, header = exr.read(out / "exr/frame_000001.exr")
    assert np.array_equal(layers["Z"], held["z_depth"])
    assert np.array_equal(layers["confidence"], held["confidence"])
    assert header["unit"] == "mm"
    about = json.loads((out / "frames/frame_000001.json").read_text())
    assert (about["png"], about["unit"], about["seen_at"]) == ({"mm_per_level": 0.01, "no_depth": 0}, "mm", "64x48")
    assert np.asarray(Image.open(out / "preview/frame_000001.png")).shape == (48, 64, 3)
    # Each point of the cloud falls back onto its pixel, at its depth.
    head, _, body = (out / "points/frame_000001.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 3072" in head
    kind = [*((a, "<f4") for a in "xyz"), *((c, "u1") for c in "rgb"), ("confidence", "<f4")]
    rows = np.frombuffer(body, kind)
    points = np.stack([rows[a] for a in "xyz"], -1)
    pixels = Pinhole(fx=32, cx=31.5, cy=23.5, width=64, height=48).project(points).reshape(48, 64, 2)
    np.testing.assert_allclose(pixels, np.stack(np.meshgrid(np.arange(64), np.arange(48)), -1), atol=1e-3)
    np.testing.assert_allclose(points[:, 2].reshape(48, 64), expected, rtol=1e-6)
    assert np.array_equal(np.stack([rows[c] for c in "rgb"], -1).reshape(48, 64, 3), view(1))


def test_confidence_is_how_far_four_copies_agree(glimpsed, folder, tmp_path):
    held = arrays(predict(glimpsed, folder, tmp_path / "out"))
    image = torch.from_numpy(view(0)).permute(2, 0, 1)[None] / 255
    network = load_run(glimpsed).network
    with torch.no_grad():
        light = image.double() ** 2.2
        lit = [(gain * light).clamp(0, 1).pow(1 / 2.2).float() for gain in (0.7, 1.4)]
        copies = [network(image), network(image.flip(-1)).flip(-1), *map(network, lit)]
    expected = np.exp(-np.std([c[0, 0].log().numpy() for c in copies], axis=0))
    np.testing.assert_allclose(held["confidence"], expected, rtol=1e-4)
    assert 0 < held["confidence"].min() < held["confidence"].max() <= 1
    without = predict(glimpsed, folder, tmp_path / "without", confidence=False)
    assert "confidence" not in arrays(without)
    assert not (without / "confidence").exists()


@pytest.mark.parametrize(
    ("size", "focal", "seen"),
    [
        ((97, 131), None, "64x48"),  # by area; odd sizes come back as they were
        ((96, 128), 64.0, "64x48"),  # twice the focal length of the training
        ((48, 80), 32.0, "80x48"),  # the focal length of the training: as it is
    ],
)
def test_any_size_is_seen_at_the_scale_of_training(glimpsed, tmp_path, size, focal, seen):
    (tmp_path / "in").mkdir()
    Image.fromarray(view(0, size)).save(tmp_path / "in/a.png")
    camera = None if focal is None else {"type": "pinhole", "fx": focal}
    out = predict(glimpsed, tmp_path / "in", tmp_path / "out", camera, ["npz"], confidence=False)
    width, height = map(int, seen.split("x"))
    about = json.loads((out / "frames/frame_000000.json").read_text())
    told = tuple(map(int, about["seen_at"].split("x")))
    assert abs(told[0] - width) <= 1
    assert abs(told[1] - height) <= 1
    assert arrays(out)["z_depth"].shape == size
    assert sorted(p.name for p in out.iterdir()) == ["depth", "frames", "npz", "predictions.json", "settings.json"]


def test_outside_the_scopes_mask_is_no_depth(glimpsed, tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(3):
        image, inside = masked(view(n, (96, 128)))
        Image.fromarray(image).save(tmp_path / f"in/{n}.png")
    camera = {"type": "pinhole", "fx": 64.0}
    out = predict(glimpsed, tmp_path / "in", tmp_path / "out", camera)
    held = arrays(out)
    assert np.array_equal(np.isfinite(held["z_depth"]), held["mask"])
    wrong = held["mask"] & ~inside
    assert not wrong.any()
    assert (inside & ~held["mask"]).sum() < 0.12 * inside.sum()  # the rim
    assert not np.asarray(Image.open(out / "depth/frame_000000.png"))[~inside].any()
    count = int(held["mask"].sum())
    assert f"element vertex {count}\n".encode() in (out / "points/frame_000000.ply").read_bytes()
    every = predict(glimpsed, tmp_path / "in", tmp_path / "every", mask="none", formats=["npz"])
    assert arrays(every)["mask"].all()


@pytest.mark.parametrize("size", [(60, 80), (480, 640), (1080, 1920)])
def test_the_surround_is_found_whatever_the_size(size):
    image = np.full((*size, 3), 150, np.uint8)
    h, w = size
    image[h // 4 : h // 2, w // 4 : w // 2] = 0  # a dark lumen within
    picture, inside = masked(image)
    found = seen_through(picture)
    assert not (found & ~inside).any()
    assert found.sum() > 0.88 * inside.sum()
    assert found[h // 3, w // 3]


def test_a_dark_lumen_at_the_edge_is_no_surround():
    image = np.full((120, 160, 3), 150, np.uint8)
    image[30:90, :50] = 0
    assert seen_through(image).all()  # no corner is black
    image[:, :50] = 0
    assert not seen_through(image)[:, :50].any()  # a black panel beside the view
    assert seen_through(image)[:, 54:-1].all()


def test_pictures_without_a_lumen_are_told_by_number_and_the_rest_is_done(glimpsed, folder, tmp_path):
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / f"{WORD}_3.png")
    (folder / f"{WORD}_4.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.warns(Notice) as told:
        out = predict(glimpsed, folder, tmp_path / "out", formats=["png"], confidence=False)
    said = [str(w.message) for w in told]
    assert said == ["picture 3 is black: it gets no depth", "picture 4 cannot be read: it gets no depth"]
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["without"] == {"DAMAGED": [4], "NO_LUMEN": [3]}
    assert counted(out) == (3, 5)
    assert not (out / "depth/frame_000003.png").exists()


def test_an_onnx_file_gives_torchs_depth(glimpsed, folder, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'endorender[onnx]'")
    file = export_model(glimpsed, tmp_path / "net.onnx", "64x48")
    Image.fromarray(view(5, (96, 128))).save(folder / f"{WORD}_9.png")
    ours, theirs = (predict(net, folder, tmp_path / name) for net, name in ((glimpsed, "torch"), (file, "onnx")))
    for number in range(4):
        torchs, onnx = arrays(ours, number), arrays(theirs, number)
        np.testing.assert_allclose(onnx["z_depth"], torchs["z_depth"], rtol=1e-3)
        np.testing.assert_allclose(onnx["confidence"], torchs["confidence"], rtol=1e-3)
    # A picture of another shape lies whole in the file's, at its own proportions.
    (tmp_path / "wide").mkdir()
    Image.fromarray(view(0, (48, 96))).save(tmp_path / "wide/a.png")
    out = predict(file, tmp_path / "wide", tmp_path / "boxed", formats=["npz"])
    assert json.loads((out / "frames/frame_000000.json").read_text())["seen_at"] == "64x32"
    assert arrays(out)["z_depth"].shape == (48, 96)


def test_an_interrupted_run_goes_on_to_the_same_bytes(glimpsed, folder, tmp_path):
    camera = {"type": "pinhole", "fx": 32.0}
    whole = contents(predict(glimpsed, folder, tmp_path / "whole", camera))
    for stage, after in (("predicting depth", 1), ("colouring", 1)):
        out = tmp_path / stage.split()[0]

        def stop(done, total, text, stage=stage, after=after):
            if text == stage and done == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict(glimpsed, folder, out, camera, progress=stop)
        assert contents(out).items() < whole.items()
        left = out / "depth" / f".frame_000002.png.{2**22 + 1}.part"  # as of a process that was killed
        left.write_bytes(b"half")
        told: list[tuple[int, int, str]] = []
        predict(glimpsed, folder, out, camera, resume=True, progress=lambda *said, told=told: told.append(said))
        assert contents(out) == whole
        if stage == "predicting depth":  # what was done before is not counted: it would make the time left too short
            assert [said for said in told if said[2] == stage] == [(0, 2, stage), (1, 2, stage)]
    with pytest.raises(UserError, match="not empty") as caught:
        predict(glimpsed, folder, tmp_path / "whole", camera)
    assert caught.value.code == "EXISTS"
    Image.fromarray(view(7)).save(folder / f"{WORD}_7.png")
    with pytest.raises(UserError, match="other pictures") as caught:
        predict(glimpsed, folder, tmp_path / "whole", camera, resume=True)
    assert caught.value.code == "CHANGED"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("NOT_FOUND", "check --images"),
        ("NO_IMAGES", "holds none"),
        ("CALIBRATION", "the calibration is for 640x480"),
        ("CALIBRATION", "give --camera"),
        ("UNKNOWN_NAME", "no format is called 'plyy'"),
        ("UNKNOWN_NAME", "no mask is called 'some'"),
        ("FOREIGN_FOLDER", "something other than predictions"),
        ("OVERWRITES", "written over what is read"),
        ("NO_DEPTH", "no picture got a depth"),
        ("NOT_WEIGHTS", "export it again"),
        ("SIZE", "check the focal length"),
    ],
)
@pytest.mark.filterwarnings("ignore::endorender.errors.Notice")
def test_refusals_are_one_line_without_a_name(glimpsed, folder, tmp_path, code, words):
    out, run_, more = tmp_path / f"{WORD}_out", glimpsed, {}
    images = folder
    if words == "check --images":
        images = tmp_path / f"{WORD}_nowhere"
    elif words == "holds none":
        images = tmp_path / f"{WORD}_empty"
        images.mkdir()
    elif "640x480" in words:
        more = {"camera": tmp_path / f"{WORD}.json"}
        more["camera"].write_text(json.dumps({"type": "pinhole", "fx": 9, "width": 640, "height": 480}))
    elif "--camera" in words:
        more = {"formats": ["points"]}
    elif "plyy" in words:
        more = {"formats": ["plyy"]}
    elif "mask" in words:
        more = {"mask": "some"}
    elif code == "FOREIGN_FOLDER":
        out.mkdir()
        (out / f"{WORD}.txt").write_text("years of work")
    elif code == "OVERWRITES":
        out = folder
    elif code == "NO_DEPTH":
        for file in folder.iterdir():
            Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(file)
    elif code == "NOT_WEIGHTS":
        pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'endorender[onnx]'")
        run_ = tmp_path / f"{WORD}.onnx"
        run_.write_bytes(b"\x08no network")
    elif code == "SIZE":
        more = {"camera": {"type": "pinhole", "fx": 0.01}}
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        predict(run_, images, out, **more)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert WORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(folder) == before


@pytest.mark.filterwarnings("default::endorender.errors.Notice")
def test_the_command_says_and_keeps_no_name(glimpsed, folder, tmp_path):
    (folder / f"{WORD}.json").write_text(json.dumps({"type": "pinhole", "fx": 32.0}))
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / f"{WORD}_3.png")
    out = tmp_path / "out"
    words = ("predict", glimpsed, "--images", folder, "--camera", folder / f"{WORD}.json", "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert result.stdout == "pictures with a depth: 3 of 4\n"
    assert result.stderr == "warning: picture 3 is black: it gets no depth\n"
    for name, raw in contents(out).items():
        assert WORD.encode() not in raw, name
        assert str(tmp_path).encode() not in raw, name
        assert WORD not in name
    assert "--resume" in mistake(*words)
    assert "predict" in COMMANDS


def test_a_run_that_was_ended_by_ctrl_c_says_how_to_go_on(glimpsed, folder, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "masks", stopped)
    result = run("predict", glimpsed, "--images", folder, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "--resume continues" in result.stderr


def test_one_picture_is_enough(glimpsed, folder, tmp_path):
    out = predict(glimpsed, folder / f"{WORD}_1.png", tmp_path / "out", formats=["npz"])
    whole = predict(glimpsed, folder, tmp_path / "whole", formats=["npz"])
    assert counted(out) == (1, 1)
    done = run(
        "predict",
        glimpsed,
        "--images",
        folder / f"{WORD}_1.png",
        "--out",
        out,
        "--formats",
        "npz",
        "--resume",
        "--json",
    )
    assert json.loads(done.stdout)["with_depth"] == 1
    assert np.array_equal(arrays(out)["z_depth"], arrays(whole, 1)["z_depth"])


def test_looked_at_pictures_are_spread_evenly():
    assert spread_out(3, 16) == [0, 1, 2]
    assert spread_out(100, 4) == [12, 37, 62, 87]
    assert spread_out(0, 4) == []
