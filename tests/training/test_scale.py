"""Networks see pictures at the scale of their training, whatever size and lens these come with."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from endorender.errors import UserError
from training import scale
from training.checkpoint import load_run
from training.data import DepthFrames
from training.evaluate import evaluate, predict
from training.trainer import train

TRAINED = scale.Scale((128, 96), (50.0, 60.0, 80.0))


def frame(focal):
    return SimpleNamespace(K=None if focal is None else ((focal, 0, 0), (0, focal, 0), (0, 0, 1)))


@pytest.mark.parametrize(
    ("focal", "seen"),
    [
        (180.0, (96, 128)),  # 72 pixels at the size of the training: within its focal lengths
        (120.0, (100, 133)),  # 48 pixels there: as large as for 50
        (400.0, (48, 64)),  # 160 there: as small as for 80
        (20.0, (600, 800)),
        (None, (96, 128)),  # no intrinsics: to the area of the training pictures
    ],
)
def test_size_follows_the_intrinsics_or_the_area(focal, seen):
    assert scale.sizes([frame(focal)], (240, 320), TRAINED, None) == [seen]
    assert scale.sizes([frame(focal)], (240, 320), TRAINED, "native") == [(240, 320)]
    assert scale.sizes([frame(focal)], (240, 320), TRAINED, "64x48") == [(48, 64)]
    assert scale.sizes([frame(focal)], (240, 320), None, None) == [(240, 320)]


def test_focal_lengths_that_a_zoom_has_shown_count_as_trained_on():
    frames = [frame(f) for f in (50.0, 60.0, 80.0)]
    assert scale.describe(frames, (96, 128))["focal_px"] == [50, 60, 80]
    assert scale.describe(frames, (96, 128), (0.5, 2.0))["focal_px"] == [25, 60, 160]


@pytest.mark.parametrize("wrong", ["64*48", "x", "8x8", "64x48x3", "-64x48"])
def test_a_wrong_input_size_is_refused(wrong):
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        scale.sizes([frame(60.0)], (240, 320), TRAINED, wrong)


class Doubled:
    """The same view by a camera with twice as many pixels."""

    def __init__(self, of):
        self.of = of
        self.id, self.patient, self.view, self.variation = of.id, of.patient, of.view, of.variation
        self.volume, self.files = of.volume, of.files
        k = np.asarray(of.K)
        self.K = tuple(map(tuple, np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]) @ k))

    def image(self):
        return self.of.image().repeat(2, 0).repeat(2, 1)

    def geometry(self):
        return {key: value.repeat(2, 0).repeat(2, 1) for key, value in self.of.geometry().items()}


def test_a_picture_of_twice_the_size_is_judged_as_the_network_knows_it(tmp_path, make_tubes):
    config = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 60, "batch": 4}
    tubes = make_tubes(size=(48, 64))
    run = train(config, tmp_path / "run", tubes)
    assert load_run(run).info["scale"] == {"size": [64, 48], "focal_px": [32.0, 32.0, 32.0]}
    plain = evaluate(run, tubes, tmp_path / "plain", variations=["pale_pink"])
    tubes.frames = [Doubled(f) for f in tubes.frames]
    found = {}
    for name, size in (("known", None), ("native", "native"), ("given", "32x24")):
        out = evaluate(run, tubes, tmp_path / name, variations=["pale_pink"], input_size=size)
        found[name] = json.loads((out / "summary.json").read_text())
    assert [found[name]["data"]["input_sizes"] for name in found] == [["64x48"], ["128x96"], ["32x24"]]
    assert {found[name]["data"]["size"] for name in found} == {"128x96"}
    with np.load(plain / "predictions.npz") as small, np.load(tmp_path / "known/predictions.npz") as large:
        for name in small.files:
            assert large[name].shape == (96, 128)
            inner = large[name].reshape(48, 2, 64, 2).mean((1, 3))
            assert np.median(abs(inner / small[name] - 1)) < 0.01
    # The same network on the same views: the error is that of the pictures it was trained for.
    error = json.loads((plain / "summary.json").read_text())["protocols"]["metric"]["mean"]["abs_rel"][0]
    assert found["known"]["protocols"]["metric"]["mean"]["abs_rel"][0] == pytest.approx(error, rel=0.03)
    assert found["native"]["protocols"]["metric"]["mean"]["abs_rel"][0] != pytest.approx(error, rel=0.03)


def test_a_network_that_sees_a_picture_as_it_is_changes_no_bit():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 20, 24)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.Softplus())
    assert torch.equal(scale.seen_at(network, image, (20, 24)), network(image))


def test_no_side_of_a_picture_is_known_by_the_padding_of_training(tmp_path, make_tubes):
    """40 columns are padded to 48 for the encoder. Were they always added on the right, the network would err there by
    a third more than on the left of pictures that have 48 (.143 for .098, .137 for .101)."""
    config = {"model": {"type": "unet", "width": 8, "levels": 4}, "steps": 300, "validate_every": 0}
    data = make_tubes(8, 6, ("synthetic",), size=(32, 40))
    run = train(config | {"augment": {"mirror": 0.5}}, tmp_path / "run", data)
    seen = DepthFrames(make_tubes(30, 2, ("synthetic",), size=(32, 48)).frames[-40:])
    predicted = predict(load_run(run).network, seen)
    errors = [
        (depth / item["z_depth"]).log().abs().where(item["mask"], torch.nan)[0].numpy()
        for depth, item in zip(predicted, map(seen.__getitem__, range(len(seen))))
    ]
    columns = np.nanmean(np.array(errors), (0, 1))
    assert columns[-8:].mean() < 1.2 * columns[:8].mean()
