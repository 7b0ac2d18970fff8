"""Pictures developed anew at each reading: pure in seed and place, whatever loads them; invalid where a mask hides."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from endorender.dataset import open_dataset
from endorender.dataset.developing import RESPONSES, Developer, checked
from endorender.dataset.distributions import Source, drawn, sampler
from endorender.errors import UserError
from tests.dataset.made import make
from tests.training.conftest import LOOKS, TubeFrame
from tests.training.cuts import cut_and_resumed
from training.augment import Augment
from training.batches import Loader, SeededBatches
from training.config import TrainConfig
from training.data import DepthFrames
from training.developed import refuse_without_radiance
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 0, "steps": 7}
SCOPES = checked("scopes")


class Lit(TubeFrame):
    """A tunnel that keeps its radiance."""

    camera: ClassVar = {"type": "pinhole", "fov": 90.0}

    @property
    def files(self):
        return super().files | {"radiance": SimpleNamespace(sha256="0" * 64)}

    def radiance(self):
        z = np.nan_to_num(self.geometry()["z_depth"], nan=1e3)[..., None]
        return (900 / z**2 * np.array(LOOKS[self.variation])).astype(np.float16).astype(np.float32)


def lit(make_tubes, **kwargs):
    data = make_tubes(**kwargs)
    data.frames = [Lit(**vars(frame)) for frame in data.frames]
    return data


def batches(frames, workers=0, cache_mb=2048, part=slice(None), first=0, response=SCOPES):
    tensors = DepthFrames(frames, cache_mb, response, seed=3)
    stream = SeededBatches(len(frames), 4, 3, first, 3, part, numbered=True)
    return list(Loader(tensors, batch_sampler=stream, num_workers=workers))


def test_a_reading_is_a_pure_function_of_seed_and_place(make_tubes):
    frames = lit(make_tubes, views=2).frames
    whole = batches(frames)
    for other in (batches(frames, workers=2), batches(frames, cache_mb=0), batches(frames)):
        for a, b in zip(whole, other):
            assert a["id"] == b["id"]
            assert all(torch.equal(a[key], b[key]) for key in ("image", "z_depth", "mask"))
    late = batches(frames, first=2)[0]  # without the steps before it
    assert torch.equal(late["image"], whole[2]["image"])
    share = batches(frames, part=slice(2, 4))[1]  # as the second of two processes has it
    assert torch.equal(share["image"], whole[1]["image"][2:])
    tensors = DepthFrames(frames, response=SCOPES, seed=3)
    again = [tensors[5, reading]["image"] for reading in range(6)]
    assert all((again[0] != other).float().mean() > 0.5 for other in again[1:])
    assert not torch.equal(again[0], DepthFrames(frames, response=SCOPES, seed=4)[5, 0]["image"])
    assert again[0].dtype == torch.float32
    assert 0 <= float(again[0].min()) < float(again[0].max()) <= 1


def test_plain_and_cinematic_frames_are_developed_alike(make_tubes):
    frames = lit(make_tubes, views=1).frames[:3]
    exact = {"exposure": 1.0, "contrast": 1.0, "hue": 0.0, "veil": [0, 0, 0], "gamma": 2.0}
    tensors = DepthFrames(frames, response=checked(exact))
    for k, frame in enumerate(frames):
        light = np.minimum(frame.radiance(), 0.6)
        shown = tensors[k]["image"].numpy().transpose(1, 2, 0)
        below = frame.radiance() <= 0.6  # the shoulder begins there
        np.testing.assert_allclose(shown[below], light[below] ** 0.5, atol=1 / 255)


def test_what_a_mask_hides_is_black_and_no_depth(make_tubes):
    frame = lit(make_tubes).frames[0]
    response = checked({"mask": {"mask": "circle", "mask_diameter": 0.8}})
    item = DepthFrames([frame], response=response)[0]
    h, w = frame.size
    y, x = np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    inside = np.hypot(x, y) <= 0.4 * h * (1 + 1e-5)
    depth = np.nan_to_num(frame.geometry()["z_depth"], nan=0)
    np.testing.assert_array_equal(item["mask"][0].numpy(), inside & (depth > 0))
    np.testing.assert_array_equal(item["z_depth"][0].numpy(), np.where(inside, depth, 0))
    assert not item["image"][:, ~torch.from_numpy(inside)].any()
    assert item["image"][:, torch.from_numpy(inside)].max() > 0.3
    # One through which nothing with a depth is seen is left out.
    blind = lit(make_tubes).frames[0]
    z = np.full((h, w), np.nan, np.float32)
    z[0, 0] = 10
    blind.geometry = lambda: {"z_depth": z, "mask": np.isfinite(z)}
    assert DepthFrames([blind], response=response)[0]["mask"].sum() == 1


def test_what_the_datasets_own_camera_hid_stays_black_and_invalid(make_tubes):
    frame = lit(make_tubes).frames[0]
    frame.camera = {"type": "pinhole", "fov": 90.0, "mask": "octagon"}
    h, w = frame.size
    from endorender.scene import cameras

    seen = cameras.build({**frame.camera, "width": w, "height": h}).visible()
    light = np.where(seen[..., None], frame.radiance(), 0)
    frame.radiance = lambda: light
    z = np.where(seen, np.nan_to_num(frame.geometry()["z_depth"], nan=0), np.nan).astype(np.float32)
    frame.geometry = lambda: {"z_depth": z, "mask": z > 0}
    item = DepthFrames([frame], response=checked({"veil": [0.1, 0.1, 0.1], "jpeg_quality": None}))[0]
    assert not item["image"][:, ~torch.from_numpy(seen)].any()
    assert not item["mask"][0][~torch.from_numpy(seen)].any()
    assert item["image"][:, torch.from_numpy(seen)].min() > 0.3  # the veil


def test_frames_without_radiance_are_refused_in_one_line(make_tubes):
    config = TrainConfig(augment={"response": "scopes"})
    with pytest.raises(UserError, match=r"p1/0000/synthetic keeps no radiance.*endorender render") as error:
        DepthFrames(make_tubes().frames, response=config.augment.response)
    assert error.value.code == "NO_RADIANCE"
    refuse_without_radiance([])


def test_a_rendered_dataset_is_developed_and_its_radiance_held_to_its_hash(tmp_path):
    make(tmp_path / "data")
    frames = open_dataset(tmp_path / "data").select(split="train")
    item = DepthFrames(frames, response=SCOPES)[0]
    assert item["image"].shape == (3, 24, 32)
    path = frames[1].path("radiance")
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UserError, match="is not what was written") as error:
        DepthFrames(frames, response=SCOPES)
    assert error.value.code == "DATASET_DAMAGED"


def test_a_run_that_is_cut_ends_at_the_same_bytes(tmp_path, make_tubes):
    config = SMALL | {"save_every": 2, "augment": {"response": "scopes"}}
    whole = train(config, tmp_path / "whole", lit(make_tubes))
    cut = cut_and_resumed(config, tmp_path / "cut", lit(make_tubes), 5)
    other = train(config | {"augment": {}}, tmp_path / "other", lit(make_tubes))
    for name in ("model.safetensors", "log.csv", "run.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert (whole / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    narrower = config | {"augment": {"response": {"type": "scopes", "target": 100}}}
    with pytest.raises(UserError, match=r"augment\.response\.target") as error:
        train(narrower, tmp_path / "whole", lit(make_tubes), resume=True)
    assert error.value.code == "CONFIGURATION_CHANGED"


def test_a_configuration_keeps_the_ranges_that_it_drew_from():
    augment = TrainConfig(augment={"response": {"type": "scopes", "contrast": 1.2}}).augment
    assert augment.response["contrast"] == 1.2
    assert augment.response["target"] == RESPONSES["scopes"][1]["target"]
    assert (augment.exposure, augment.gamma, augment.colour) == (0, 0, 0)  # the response draws its own
    assert Augment(response="scopes", gamma=0.1).gamma == 0.1
    assert Augment(**augment.model_dump(mode="json")) == augment
    assert Augment().response is None
    assert Augment().exposure == 0.3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("scope", "did you mean 'scopes'"),
        ({"type": "scopes", "contrast": {"uniform": [1, 9]}}, "contrast"),
        ({"colour": 1}, "colour: unknown key"),
        ({"mask": "square"}, "mask"),
        ({"mask": {"fov": 3}}, "a mask is a name or a mapping"),
        (3, "a response is a name or a mapping"),
    ],
    ids=str,
)
def test_what_is_no_response_is_refused_in_one_line(value, words):
    with pytest.raises((UserError, ValueError), match=words) as error:
        Augment(response=value)
    if isinstance(error.value, UserError):
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RESPONSES)
def test_every_named_response_draws_what_is_within_its_ends(name):
    develop = Developer(name, (24, 32))
    rng = np.random.default_rng(0)
    found = [develop.draw(rng) for _ in range(200)]
    assert all(response.target <= 255 for response, _ in found)
    assert all(mask is None or mask.any() for _, mask in found)
    fast = sampler(RESPONSES[name][1])
    for seed in range(20):  # looked through once or each time, the same is drawn
        assert fast(np.random.default_rng(seed)) == drawn(RESPONSES[name][1], Source(np.random.default_rng(seed)))
