"""Adapters: nothing at first, something after training, and gone from what is evaluated and exported."""

import json

import pytest
import torch

from endorender.errors import UserError
from training.checkpoint import load_run, read_tensors
from training.lora import add_adapters, merged
from training.lora_config import Lora
from training.models import models
from training.trainer import train

CASES = [case for case in models.cases() if case[0] in ("unet", "resnet", "dpt", "cnn_crf", "convnextv2")]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_adapters_begin_as_nothing_and_merge_into_the_same_network(name, parameters):
    torch.manual_seed(0)
    plain = models.build({"type": name, **parameters}).network().eval()
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        before = plain(image)
    keys, last = set(plain.state_dict()), {id(p) for p in plain.last_layer().parameters()}
    frozen = add_adapters(plain, Lora(rank=2))
    trained = {n for n, p in plain.named_parameters() if p.requires_grad}
    assert all(".lora_" in n or id(dict(plain.named_parameters())[n]) in last for n in trained)
    assert set(frozen) | trained == {n for n, _ in plain.named_parameters()}
    with torch.no_grad():
        torch.testing.assert_close(plain(image), before)
        for n, p in plain.named_parameters():
            if ".lora_B" in n:
                p.normal_(std=0.2)
        adapted = plain(image)
    assert float((adapted - before).abs().max()) > 1e-2
    again = models.build({"type": name, **parameters}).network().eval()
    state = merged(plain)
    assert set(state) == keys
    again.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(again(image), adapted, rtol=1e-3, atol=1e-3)


def test_a_run_with_adapters_resumes_to_the_bit_and_opens_without_them(tmp_path, make_tubes):
    data, told = make_tubes(), []
    small = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 0}
    base = train(small | {"steps": 2}, tmp_path / "base", data)
    config = {"steps": 6, "batch": 4, "save_every": 2, "fine_tune": "lora", "lora": {"rank": 2}, "validate_every": 0}

    def crash(done, total, text):
        if done == 5:
            raise RuntimeError("power cut")

    whole = train(config, tmp_path / "whole", data, init_from=base, say=told.append)
    with pytest.raises(RuntimeError):
        train(config, tmp_path / "cut", data, init_from=base, progress=crash, say=told.append)
    cut = train(config, tmp_path / "cut", data, init_from=base, resume=True, say=told.append)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert "adapters of rank 2 and the last layer" in told[0]
    old, new = (read_tensors(run / "model.safetensors")[0] for run in (base, whole))
    assert set(old) == set(new)
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert {name for name in old if name.endswith("weight") and old[name].ndim == 4} <= moved
    assert all(torch.equal(old[n], new[n]) for n in old if old[n].ndim == 1 and n != "head.bias")  # no adapter there
    assert not any("base_layer" in name for name, _ in load_run(whole).network.named_parameters())
    frozen = json.loads((whole / "run.json").read_text())["frozen"]
    assert any("base_layer" in name for name in frozen)
    assert not any("lora" in name or name.startswith("head") for name in frozen)


def test_adapters_need_something_to_adapt(tmp_path, make_tubes):
    with pytest.raises(UserError, match="--init-from"):
        train({"fine_tune": "lora"}, tmp_path / "run", make_tubes())
