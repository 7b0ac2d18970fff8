"""Turning, blurring and drying an image: geometry stays true, and nothing depends on who loads the images."""

import math

import numpy as np
import pytest
import torch

from tests.training.cuts import cut_and_resumed
from training import turned
from training.augment import Augment
from training.checkpoint import digest, read_tensors
from training.data import DepthFrames
from training.trainer import train

NONE = {"exposure": 0, "gamma": 0, "colour": 0, "mirror": 0}
ALL = {"rotation": 20.0, "zoom": (1.0, 1.4), "corners": 0.3, "blur": 1.0, "specular": 0.5, "mirror": 0.5}
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


# Pixels that are not square, and a principal point off the centre: a turn of the picture alone would be wrong.
OBLIQUE = [[50.0, 0.0, 30.0], [0.0, 35.0, 20.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("asked", "whole"),
    [
        ({"rotation": 40, "fill": False}, False),
        ({"rotation": 40}, True),
        ({"rotation": 180}, True),
        ({"zoom": (1.2, 1.8)}, True),
        ({"rotation": 40, "zoom": (1.0, 2.5)}, True),
        ({"rotation": 20, "zoom": (0.6, 0.9), "fill": False}, False),
    ],
)
def test_the_image_is_what_a_rolled_camera_with_the_returned_intrinsics_sees(asked, whole):
    size = (48, 64)
    augment = Augment(**NONE, **asked)
    batch = plane(4, size, OBLIQUE)
    drawn = augment.draw(4, 0, 0)
    out = augment(batch, drawn)
    for n, angle in enumerate(drawn["angle"].tolist()):
        expected = plane(1, size, out["K"][n].tolist(), roll=angle)
        mask = out["mask"][n, 0]
        inner = torch.nn.functional.avg_pool2d(mask[None].float(), 3, 1, 1)[0] > 0.99
        inner |= mask & whole
        assert float(inner.float().mean()) > 0.25
        ratio = (out["z_depth"][n, 0] / expected["z_depth"][0, 0])[inner]
        assert float((ratio - 1).abs().max()) < 1e-4  # 1/z is linear in the pixels of a plane
        factor = out["K"][n, 0, 0] / OBLIQUE[0][0]
        assert float((out["image"][n] - expected["image"][0])[:, inner].abs().max()) < 0.01 + 0.06 * (factor < 1)
        assert float(factor) >= float(drawn["zoom"][n]) * (1 - 1e-5)
        torch.testing.assert_close(out["K"][n, 1, 1] / OBLIQUE[1][1], factor)
        assert torch.equal(out["K"][n, 2], batch["K"][n, 2])
        assert float(out["z_depth"][n][~out["mask"][n]].abs().sum()) == 0
        assert float(out["image"][n][:, ~mask].abs().sum()) == 0 or whole
        if whole:
            assert bool(mask.all())
        else:
            torch.testing.assert_close(factor, drawn["zoom"][n])
            assert not bool(mask.all())


@pytest.mark.parametrize("degrees", [0.0, 12.0, -90.0, 179.0])
def test_filling_is_the_least_focal_length_without_a_wedge(degrees):
    angle, size = torch.tensor([math.radians(degrees)]), (48, 64)
    batch = plane(1, size, OBLIQUE)
    factor = turned.filling(angle, batch["K"], size)
    assert bool(turned.seen_by(batch, angle, factor)["mask"].all())
    corner = turned.seen_by(batch, angle, factor * 0.95)["mask"][0, 0]
    assert not bool(corner.all())
    if degrees == 0.0:
        assert float(factor) == 1
        torch.testing.assert_close(turned.seen_by(batch, angle, factor)["image"], batch["image"], rtol=0, atol=1e-5)
    if degrees == -90.0:  # what was height is width: fx / fy of its pixels
        assert float(factor) == pytest.approx(50 / 35 * 47 / 63, rel=1e-5)


def test_points_in_space_project_to_where_their_colour_and_depth_have_gone():
    """Independent of the warp: a point of the first picture, turned and projected by the new K."""
    size = (48, 64)
    batch = plane(1, size, OBLIQUE)
    angle, zoom = torch.tensor([0.4]), torch.tensor([1.3])
    out = turned.seen_by(batch, angle, zoom)
    y, x = np.mgrid[4:44:5, 4:60:5]
    z = batch["z_depth"][0, 0].numpy()[y, x]
    k, new = np.array(OBLIQUE), out["K"][0].double().numpy()
    c, s = math.cos(0.4), math.sin(0.4)
    roll = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    points = roll @ np.linalg.inv(k) @ np.stack([x * z, y * z, z]).reshape(3, -1)
    u, v, w = new @ points
    u, v = u / w, v / w
    inside = (u > 1) & (u < size[1] - 2) & (v > 1) & (v < size[0] - 2)
    assert inside.sum() > 30
    grid = torch.from_numpy(np.stack([2 * u / (size[1] - 1) - 1, 2 * v / (size[0] - 1) - 1], -1)).float()[None, None]
    inverse = torch.nn.functional.grid_sample(1 / out["z_depth"], grid, align_corners=True)[0, 0, 0].numpy()
    np.testing.assert_allclose(1 / inverse[inside], points[2][inside], rtol=2e-4)
    colour = torch.nn.functional.grid_sample(out["image"], grid, align_corners=True)[0, :, 0].numpy()
    np.testing.assert_allclose(
        colour[:, inside], batch["image"][0].numpy()[:, y, x].reshape(3, -1)[:, inside], atol=0.02
    )


@pytest.mark.parametrize(("above", "before", "top", "left"), [(0.0, 0.0, 0, 0), (0.999, 0.999, 8, 5), (0.5, 0.4, 4, 2)])
def test_what_is_grown_is_the_picture_at_another_place(above, before, top, left):
    batch = plane(2, (40, 59), OBLIQUE)
    out = turned.grown(batch, 16, above, before)
    assert out["image"].shape[-2:] == (48, 64)
    rows, columns = slice(top, top + 40), slice(left, left + 59)
    for key in ("image", "z_depth", "mask"):
        assert torch.equal(out[key][..., rows, columns], batch[key])
    assert out["mask"].sum() == batch["mask"].sum()
    assert torch.equal(out["image"][..., 0, 0], batch["image"][..., 0, 0])  # the edge, repeated
    moved = out["K"] - batch["K"]
    assert torch.equal(moved[:, :2, 2], torch.tensor([[left, top]] * 2, dtype=moved.dtype))
    assert turned.grown(out, 16, above, before) is out


def test_depths_beside_an_edge_lie_on_one_of_its_sides():
    batch = plane(1, (48, 64), OBLIQUE)
    batch["z_depth"] = torch.where(torch.arange(64) < 30, 20.0, 30.0).expand(1, 1, 48, 64).clone()
    batch["mask"][..., 10:20, 10:20] = False
    batch["z_depth"] *= batch["mask"]
    out = turned.seen_by(batch, torch.tensor([0.3]), torch.tensor([1.4]))
    held = out["z_depth"][out["mask"]]
    assert set(held.round(decimals=3).tolist()) == {20.0, 30.0}
    assert bool((~out["mask"]).any())


def test_cut_corners_are_black_and_invalid_and_nothing_else_changes():
    batch = plane(3, (40, 60), OBLIQUE)
    lengths = torch.tensor([[10.0, 10, 10, 10], [12, 0, 0, 5], [0, 0, 0, 0]])
    out = turned.cut(batch, lengths)
    y, x = np.mgrid[:40, :60] + 0.5
    near = [x + y, 60 - x + y, x + 40 - y, 60 - x + 40 - y]
    for n in range(3):
        expected = ~np.any([d < length for d, length in zip(near, lengths[n].tolist())], 0)
        assert np.array_equal(out["mask"][n, 0].numpy(), expected)
        assert torch.equal(out["image"][n], batch["image"][n] * torch.from_numpy(expected))
        assert torch.equal(out["z_depth"][n, 0], batch["z_depth"][n, 0] * torch.from_numpy(expected))
    assert torch.equal(out["K"], batch["K"])
    batch["mask"][...] = False
    batch["mask"][..., 0, 0] = True
    assert torch.equal(turned.cut(batch, lengths)["mask"], batch["mask"])  # never without a valid pixel


def test_corners_are_drawn_alike_or_each_its_own():
    drawn = Augment(corners=0.4).draw(200, 0, 0)["corners"]
    alike = (drawn == drawn[:, :1]).all(1)
    assert 70 < int(alike.sum()) < 130
    assert 0 <= float(drawn.min()) < 0.02
    assert 0.38 < float(drawn.max()) <= 0.4
    out = Augment(**NONE, corners=0.4)
    batch = plane(2, (40, 60), OBLIQUE)
    assert 0.6 < float(out(batch, out.draw(2, 0, 0))["mask"].float().mean()) < 1


def test_new_parts_leave_the_draws_of_the_old_ones_as_they_were():
    old, new = Augment().draw(4, 1, 2), Augment(zoom=(1.0, 2.0), corners=0.3).draw(4, 1, 2)
    for key in ("gain", "gamma", "mirror", "sigma", "specular"):
        assert torch.equal(old[key], new[key])
    assert old["gain"].flatten()[:3].tolist() == pytest.approx([1.28498, 1.05779, 0.97505], abs=1e-4)


@pytest.mark.parametrize("wrong", [{"zoom": (0.8, 1.2)}, {"zoom": (1.5, 1.2)}, {"zoom": (1.0, 9.0)}, {"corners": 0.6}])
def test_a_zoom_beyond_the_picture_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**wrong)


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
        values, truth = out["z_depth"][k][out["mask"][k]], batch["z_depth"][k][batch["mask"][k]]
        assert float(truth.min()) * 0.999 <= float(values.min()) <= float(values.max()) <= float(truth.max()) * 1.001
        assert bool((out["image"][k].sum(0, keepdim=True)[out["z_depth"][k] > 0] > 0).any())
        assert float(out["K"][k, 0, 0]) >= float(batch["K"][k, 0, 0])
