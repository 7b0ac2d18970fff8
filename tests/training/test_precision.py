"""Quicker arithmetic: what may change is the last digits, and nothing that is kept."""

import pytest
import torch

from endorender.errors import UserError
from tests.training.cuts import cut_and_resumed
from training.checkpoint import load_run, read_tensors
from training.config import TrainConfig
from training.files import read_csv
from training.loop import JUDGED
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 0}
HALF = SMALL | {"precision": "bfloat16"}


def network(**model):
    torch.manual_seed(0)
    return TrainConfig(model={"type": "unet", "width": 16, **model}).model.network()


def picture(seed=0):
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(seed))


def test_channels_last_in_memory_change_only_the_last_digits():
    quick, plain = network(), network()
    assert quick.channels_last
    plain.channels_last = False
    seen = []
    quick.encoder.register_forward_hook(lambda module, given, found: seen.append(given[0]))
    torch.testing.assert_close(quick(picture()), plain(picture()), rtol=1e-5, atol=1e-5)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    for one in (quick, plain):
        one(picture()).log().square().mean().backward()
    for a, b in zip(quick.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "resnet", "convnextv2", "dpt", "depth_anything"])
def test_sixteen_bits_in_training_are_near_and_validation_is_exact(name):
    torch.manual_seed(0)
    one = TrainConfig(model=name).model.network()
    one.eval()
    with torch.no_grad():
        exact = one(picture())
        one.mixed = True
        assert torch.equal(one(picture()), exact)  # not in training
    one.train()
    loss = one(picture())
    assert loss.dtype == torch.float32
    loss.log().mean().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in one.parameters())
    half = loss.detach()
    one.mixed = False
    with torch.no_grad():
        near = (half.log() - one(picture()).log()).abs()
    assert 0 < float(near.mean()) < 0.03


def test_training_in_sixteen_bits_learns_as_well_and_is_kept_in_thirty_two(tmp_path, make_tubes):
    data = make_tubes(variations=("synthetic",))
    config = SMALL | {"steps": 40, "validate_every": 40}
    runs = [train(config | {"precision": p}, tmp_path / p, data) for p in ("float32", "bfloat16")]
    kept = [read_tensors(run / "model.safetensors")[0] for run in runs]
    assert {t.dtype for t in kept[1].values()} == {torch.float32}
    assert any(not torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    logs = [[float(row[JUDGED]) for row in read_csv(run / "log.csv") if row[JUDGED]] for run in runs]
    assert logs[0][0] == logs[1][0]  # at step 0, in float32
    begun, ends = logs[0][0], [log[-1] for log in logs]
    assert ends[1] < 0.7 * begun
    assert ends[1] < 1.1 * ends[0]
    assert not load_run(runs[1]).network.training


def test_sixteen_bits_go_on_after_an_interruption_to_the_same_bytes(tmp_path, make_tubes):
    config = HALF | {"steps": 6, "save_every": 2, "ema": 0.9}
    whole = train(config, tmp_path / "whole", make_tubes())
    cut = cut_and_resumed(config, tmp_path / "cut", make_tubes(), 5)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


def test_a_network_that_knows_no_sixteen_bits_refuses_them(tmp_path, make_tubes):
    with pytest.raises(UserError, match="cnn_crf is trained in float32 only"):
        train(HALF | {"model": "cnn_crf", "loss": "crf_nll"}, tmp_path / "run", make_tubes())
    assert not (tmp_path / "run").exists()
