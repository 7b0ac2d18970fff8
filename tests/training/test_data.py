"""What the networks are fed with: values, masks, order, and whom they may see."""

import numpy as np
import pytest
import torch

from endorender.dataset import open_dataset
from endorender.errors import UserError
from tests.dataset.made import make
from training.augment import Augment
from training.batches import Loader, SeededBatches, order, subset
from training.data import DepthFrames, people, refuse_shared_patients


def test_a_dataset_on_disk_arrives_as_it_was_written(tmp_path):
    make(tmp_path / "data")
    frames = open_dataset(tmp_path / "data").select(split="train")
    for cache in (0, 100):
        tensors = DepthFrames(frames, cache_mb=cache)
        assert tensors.cached == (cache > 0)
        for frame, item in zip(frames, (tensors[k] for k in range(len(tensors)))):
            z = frame.geometry()["z_depth"]
            assert item["id"] == frame.id
            np.testing.assert_array_equal(item["mask"][0].numpy(), np.isfinite(z))
            np.testing.assert_array_equal(item["z_depth"][0].numpy(), np.nan_to_num(z, nan=0))
            np.testing.assert_allclose(item["image"].numpy() * 255, frame.image().transpose(2, 0, 1), atol=1e-4)
            assert item["image"].dtype == item["z_depth"].dtype == torch.float32


def test_grey_images_become_three_equal_channels(make_tubes):
    frame = make_tubes().frames[0]
    grey = frame.image()[..., 0]
    for shape in (grey, grey[..., None]):
        frame.image = lambda shape=shape: shape
        image = DepthFrames([frame])[0]["image"]
        assert image.shape == (3, *grey.shape)
        assert torch.equal(image[0], image[1])
        assert torch.equal(image[0], image[2])


def test_nothing_to_learn_from_is_said_with_the_name_of_the_frame(make_tubes):
    frames = make_tubes(patients=3, views=2).frames
    frames[3].empty = True  # a view's depth is read once, with its first frame
    with pytest.raises(UserError, match="p1/0001/synthetic") as refusal:
        DepthFrames(frames)
    assert refusal.value.code == "EMPTY_MASK"
    with pytest.raises(UserError, match="no frame"):
        DepthFrames([])
    frames[3].empty = False
    frames[5].size = (24, 30)
    with pytest.raises(UserError, match="p1/0001/deep_red has 30x24 pixels, the first frame has 32x24") as refusal:
        DepthFrames(frames)
    assert refusal.value.code == "MIXED_SIZES"


def test_a_workers_error_keeps_its_code_and_stays_one_line(make_tubes):
    frames = make_tubes().frames[:6]
    frames[4].empty = True  # no depth: found only when a worker decodes it
    tensors = DepthFrames.__new__(DepthFrames)
    tensors.frames, tensors.size, tensors.cached = frames, (24, 32), False
    tensors._whole, tensors._depths, tensors._images = set(), {}, []
    for workers in (0, 2):
        batches = iter(Loader(tensors, batch_size=3, num_workers=workers))
        assert next(batches)["id"] == [f.id for f in frames[:3]]
        with pytest.raises(UserError) as refusal:
            next(batches)
        assert refusal.value.code == "EMPTY_MASK"
        assert str(refusal.value).startswith(f"frame {frames[4].id} has no pixel with a depth")
        assert "\n" not in str(refusal.value)


def test_invalid_depths_never_count_as_valid(make_tubes):
    frame = make_tubes().frames[0]
    z = np.full((24, 32), 10, np.float32)
    z[0, :4] = [np.nan, np.inf, 0, -3]
    mask = np.ones_like(z, bool)
    mask[1] = False
    pixels = frame.image()
    frame.image, frame.geometry = lambda: pixels, lambda: {"z_depth": z, "mask": mask}
    item = DepthFrames([frame])[0]
    expected = mask.copy()
    expected[0, :4] = False
    np.testing.assert_array_equal(item["mask"][0].numpy(), expected)
    assert bool(item["z_depth"].isfinite().all())


def test_people_are_told_by_their_ct_not_by_their_alias(make_tubes):
    frames = make_tubes(patients=2, views=1).frames
    assert people(frames) == {"ct of p1": "p1", "ct of p2": "p2"}
    refuse_shared_patients({"train": {"a": "p1"}, "test": {"b": "p1"}})  # two people, each called p1 at home
    with pytest.raises(UserError, match="p1 alias p9"):
        refuse_shared_patients({"train": {"a": "p1"}, "test": {"a": "p9"}})


def test_the_order_is_a_permutation_and_a_pure_function():
    assert sorted(order(10, 3, 0)) == list(range(10))
    assert order(10, 3, 0) == order(10, 3, 0)
    assert order(10, 3, 0) != order(10, 3, 1)
    assert order(10, 3, 0) != order(10, 4, 0)


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (3, 8), (8, 8), (1, 2)])
def test_batches_can_be_entered_at_any_step_and_waste_no_frame(count, batch):
    whole = list(SeededBatches(count, batch, 5, 0, 12))
    for first in range(13):
        late = SeededBatches(count, batch, 5, first, 12)
        assert list(late) == whole[first:]
        assert len(late) == 12 - first
    stream = [k for batch_ in whole for k in batch_]
    assert len(stream) == 12 * batch
    for epoch in range(len(stream) // count):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_subsets_are_nested_and_keep_the_order():
    frames = list(range(40))
    few, more = subset(frames, 10, 1), subset(frames, 25, 1)
    assert len(few) == 10
    assert set(few) < set(more)
    assert few == sorted(few)
    assert subset(frames, None, 1) == subset(frames, 99, 1) == frames
    # Frames come view by view, four conditions each: none of the conditions may be missed by a stride.
    assert {k % 4 for k in few} == {0, 1, 2, 3}


def test_augmentation_is_a_pure_function_that_moves_depth_only_by_the_mirror(make_tubes):
    tensors = DepthFrames(make_tubes().frames[:6])
    batch = torch.utils.data.default_collate([tensors[k] for k in range(6)])
    augment = Augment()
    drawn = augment.draw(6, seed=1, step=2)
    for key, value in augment.draw(6, seed=1, step=2).items():
        assert torch.equal(value, drawn[key])
    assert not torch.equal(augment.draw(6, seed=1, step=3)["gain"], drawn["gain"])
    out = augment(batch, drawn)
    assert 0 <= float(out["image"].min()) <= float(out["image"].max()) <= 1
    for k, mirrored in enumerate(drawn["mirror"]):
        want = batch["z_depth"][k].flip(-1) if mirrored else batch["z_depth"][k]
        assert torch.equal(out["z_depth"][k], want)
        assert torch.equal(out["mask"][k], want > 0)
    assert 0 < int(drawn["mirror"].sum()) < 6
    none = Augment(exposure=0, gamma=0, colour=0, mirror=0)
    same = none(batch, none.draw(6, 1, 2))
    torch.testing.assert_close(same["image"], batch["image"])


def test_augmentation_stays_within_its_stated_widths():
    drawn = Augment(exposure=0.3, gamma=0.2, colour=0.1, mirror=0.25).draw(4000, 0, 0)
    log_gain = drawn["gain"].log()[:, :, 0, 0]
    assert float(log_gain.abs().max()) <= 0.4 + 1e-6
    assert float((log_gain - log_gain.mean(1, keepdim=True)).abs().max()) <= 0.2 + 1e-6
    assert 0.19 < float(drawn["gamma"].log().abs().max()) <= 0.2 + 1e-6
    assert abs(float(drawn["mirror"].double().mean()) - 0.25) < 0.03
