"""Turning, blurring and drying an image: geometry stays true, and nothing depends on who loads the images."""

import math

import numpy as np
import pytest
import torch

from tests.training.cuts import cut_and_resumed
from training.augment import Augment
from training.checkpoint import digest, read_tensors
from training.data import DepthFrames
from training.trainer import train

NONE = {"exposure": 0, "gamma": 0, "colour": 0, "mirror": 0}
ALL = {"rotation": 20.0, "blur": 1.0, "specular": 0.5, "mirror": 0.5}
SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 0, "augment": ALL}


def plane(count, size, k, normal=(0.3, -0.2, 1.0), offset=40.0, roll=0.0):
    """A batch that looks at a plane n·x = offset with stripes in space, the camera rolled: exact depth."""
    h, w = size
    y, x = np.mgrid[:h, :w].astype(float)
    c, s = math.cos(roll), math.sin(roll)
    ray = np.stack([(x - k[0][2]) / k[0][0], (y - k[1][2]) / k[1][1], np.ones_like(x)], -1)
    unrolled = ray @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])  # in the axes before the roll
    z = offset / (unrolled @ np.array(normal))
    point = unrolled * z[..., None]
    image = np.stack([0.5 + 0.4 * np.sin(point[..., a] / 8) for a in range(3)])
    z_depth = torch.from_numpy(z).float()[None, None].repeat(count, 1, 1, 1)
    return {
        "image": torch.from_numpy(image).float()[None].repeat(count, 1, 1, 1),
        "z_depth": z_depth,
        "mask": z_depth > 0,
        "K": torch.tensor(k)[None].repeat(count, 1, 1),
        "id": ["x"] * count,
    }


def test_a_turned_image_is_what_a_rolled_camera_with_the_same_intrinsics_sees():
    # Pixels that are not square, and a principal point off the centre: a turn of the picture alone would be wrong.
    k = [[50.0, 0.0, 30.0], [0.0, 35.0, 20.0], [0.0, 0.0, 1.0]]
    augment = Augment(**NONE, rotation=40)
    batch = plane(3, (48, 64), k)
    drawn = augment.draw(3, 0, 0)
    assert float(drawn["angle"].abs().max()) > 0.1
    out = augment(batch, drawn)
    for n, angle in enumerate(drawn["angle"].tolist()):
        expected = plane(1, (48, 64), k, roll=angle)
        mask = out["mask"][n, 0]
        assert 0.6 < float(mask.float().mean()) <= 1
        ratio = (out["z_depth"][n, 0] / expected["z_depth"][0, 0])[mask]
        assert float((ratio - 1).abs().max()) < 0.02  # nearest pixel
        inner = mask & (torch.nn.functional.avg_pool2d(mask[None].float(), 3, 1, 1)[0] > 0.99)
        assert float((out["image"][n] - expected["image"][0])[:, inner].abs().max()) < 0.03
        assert torch.equal(out["K"][n], batch["K"][n])
        assert float(out["z_depth"][n][~out["mask"][n]].abs().sum()) == 0


def test_a_turn_never_leaves_an_image_without_a_valid_pixel():
    batch = plane(4, (48, 64), [[50.0, 0.0, 31.5], [0.0, 50.0, 23.5], [0.0, 0.0, 1.0]])
    batch["mask"][...] = False
    batch["mask"][..., :1, :1] = True
    augment = Augment(**NONE, rotation=90)
    out = augment(batch, augment.draw(4, 0, 0))
    assert bool(out["mask"].flatten(1).any(1).all())


def test_the_mirror_moves_the_principal_point():
    batch = plane(8, (8, 12), [[9.0, 0.0, 3.0], [0.0, 9.0, 2.0], [0.0, 0.0, 1.0]])
    augment = Augment(exposure=0, gamma=0, colour=0, mirror=0.5)
    drawn = augment.draw(8, 0, 0)
    out = augment(batch, drawn)
    assert out["K"][:, 0, 2].tolist() == [8.0 if m else 3.0 for m in drawn["mirror"]]


def test_highlights_take_the_colour_around_them_and_nothing_else_changes():
    image = torch.full((1, 3, 40, 40), 0.5)
    image[:, 1] = 0.2
    wet = image.clone()
    wet[..., 18:21, 18:21] = 1.0
    batch = plane(1, (40, 40), [[50.0, 0.0, 20.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]]) | {"image": wet}
    augment = Augment(**NONE, specular=1.0)
    torch.testing.assert_close(augment(batch, augment.draw(1, 0, 0))["image"], image)
    off = Augment(**NONE)
    assert torch.equal(off(batch, off.draw(1, 0, 0))["image"], wet)


def test_blur_keeps_the_mean_and_takes_the_contrast():
    generator = torch.Generator().manual_seed(0)
    batch = plane(2, (32, 32), [[50.0, 0.0, 16.0], [0.0, 50.0, 16.0], [0.0, 0.0, 1.0]])
    batch["image"] = torch.rand(2, 3, 32, 32, generator=generator)
    augment = Augment(**NONE, blur=2.0)
    drawn = augment.draw(2, 0, 0) | {"sigma": torch.tensor([0.0, 2.0])}
    out = augment(batch, drawn)["image"]
    torch.testing.assert_close(out[0], batch["image"][0])
    assert float(out[1].std()) < 0.4 * float(batch["image"][1].std())
    assert float(out[1].mean()) == pytest.approx(float(batch["image"][1].mean()), abs=0.02)


def test_workers_and_an_interruption_change_nothing(tmp_path, make_tubes):
    config = SMALL | {"steps": 6, "save_every": 2}
    whole = train(config, tmp_path / "whole", make_tubes())
    by_workers = train(config | {"cache_mb": 0, "workers": 2}, tmp_path / "workers", make_tubes())
    cut = cut_and_resumed(config, tmp_path / "cut", make_tubes(), 5)
    assert len({digest(read_tensors(r / "model.safetensors")[0]) for r in (whole, by_workers, cut)}) == 1


def test_depths_of_real_frames_survive_every_part_at_once(make_tubes):
    tensors = DepthFrames(make_tubes().frames[:6])
    batch = torch.utils.data.default_collate([tensors[k] for k in range(6)])
    augment = Augment(**ALL)
    out = augment(batch, augment.draw(6, 3, 1))
    assert 0 <= float(out["image"].min()) <= float(out["image"].max()) <= 1
    for k in range(6):
        values = out["z_depth"][k][out["mask"][k]]
        assert set(values.tolist()) <= set(batch["z_depth"][k][batch["mask"][k]].tolist())  # moved, never mixed
