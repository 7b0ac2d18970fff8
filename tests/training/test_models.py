"""What every registered network must do."""

import pytest
import torch

from endorender.errors import UserError
from training.data import DepthFrames
from training.losses import losses
from training.models import models
from training.models.layers import PLACE_PX, freeze, frozen_modules, shading_cues

CASES = models.cases()
# All of them learn; only a small one in as little time as the default suite may take.
OVERFITTED = [
    pytest.param(*case, marks=() if case[1].get("width") and case[0] == "unet" else pytest.mark.slow) for case in CASES
]


def build(name, parameters):
    torch.manual_seed(0)
    return models.build({"type": name, **parameters}).network()


def test_listing_networks_losses_and_protocols_needs_no_torch():
    import subprocess
    import sys

    code = """import sys, training.models, training.losses, training.protocols, training.config
sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("name", "parameters"), CASES)
@pytest.mark.parametrize("size", [(96, 128), (24, 32), (37, 53), (5, 7)])
def test_depths_have_the_shape_of_the_image_and_are_positive(name, parameters, size):
    network = build(name, parameters)
    for image in (torch.zeros(2, 3, *size), torch.rand(2, 3, *size), torch.ones(2, 3, *size)):
        depth = network(image)
        assert depth.shape == (2, 1, *size)
        assert bool((depth.isfinite() & (depth > 0)).all())


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_an_untrained_network_predicts_the_typical_depth(name, parameters):
    depth = build(name, parameters)(torch.rand(4, 3, 48, 64))
    assert 10 < float(depth.detach().median()) < 40


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_every_trainable_parameter_gets_a_gradient(name, parameters):
    network = build(name, parameters)
    network(torch.rand(2, 3, 48, 64)).log().abs().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert float(parameter.grad.abs().sum()) > 0, key


@pytest.mark.parametrize(("name", "parameters"), OVERFITTED)
def test_it_overfits_four_images(name, parameters, make_tubes):
    data = DepthFrames(make_tubes(views=2, variations=("synthetic", "deep_red")).frames[:4])
    batch = torch.utils.data.default_collate([data[k] for k in range(4)])
    network, loss = build(name, parameters), losses.build("log_l1")
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    history = []
    for _ in range(150):
        value = loss(network(batch["image"]), batch["z_depth"], batch["mask"])
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        history.append(float(value.detach()))
    end = sum(history[-10:]) / 10  # at a constant rate single steps scatter by a half
    assert end < 0.06  # mean error of 6 % of the depth
    assert end < 0.2 * history[0]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_an_image_is_judged_without_regard_to_its_neighbours_in_the_batch(name, parameters):
    network = build(name, parameters).eval()
    images = torch.rand(3, 3, 24, 32)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("name", "parameters"), CASES)
@pytest.mark.parametrize("mode", ["last-layer", "head"])
def test_freezing_keeps_what_the_mode_trains_and_can_be_undone(name, parameters, mode):
    network = build(name, parameters)
    frozen = freeze(network, mode)
    trained = {key for key, p in network.named_parameters() if p.requires_grad}
    assert trained == {key for key, _ in network.named_parameters()} - set(frozen)
    if mode == "last-layer":
        assert {id(p) for p in network.last_layer().parameters()} == {
            id(p) for key, p in network.named_parameters() if key in trained
        }
    else:
        assert set(frozen) == {f"encoder.{key}" for key, _ in network.encoder.named_parameters()}
    covered = {key for key in frozen if any(key == m or key.startswith(f"{m}.") for m in frozen_modules(network))}
    assert covered == set(frozen)
    before = {key: value.clone() for key, value in network.train().state_dict().items()}
    network(torch.rand(2, 3, 48, 64))
    after = network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not {key for key in moved if key.startswith("encoder.")}  # running statistics are frozen too
    assert freeze(network, "full") == []
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(UserError, match="full, head, last-layer"):
        freeze(network, "some")


def test_the_default_unet_is_small():
    weights = sum(p.numel() for p in build("unet", {}).parameters())
    assert 300_000 < weights < 1_000_000


def test_cues_are_the_logarithm_of_brightness_and_the_place_from_the_middle():
    image = torch.rand(2, 3, 5, 8)
    light, row, column = shading_cues(image).unbind(1)
    torch.testing.assert_close(light, (image.mean(1) + 0.01).log() + 1.5)
    torch.testing.assert_close(row[1, :, 3], torch.tensor([-2.0, -1, 0, 1, 2]) / PLACE_PX)
    torch.testing.assert_close(column[0, 4], (torch.arange(8) - 3.5) / PLACE_PX)


def test_with_cues_a_network_sees_where_a_pixel_lies_and_how_dark_black_is():
    """A picture of one brightness has nothing but its place to go by; without cues the middle is one depth."""
    inside = (..., slice(40, 56), slice(52, 76))
    for cues in (True, False):
        network = build("unet", {"width": 8, "levels": 2, "cues": cues}).eval()
        torch.nn.init.normal_(network.head.weight)
        with torch.no_grad():
            middle = network(torch.full((1, 3, 96, 128), 0.3))[inside]
        spread = float(middle.max() / middle.min() - 1)
        assert (spread > 1e-3) == cues, spread
