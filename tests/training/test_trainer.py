"""The trainer learns, can be interrupted at any step, and never spoils what it has."""

import json
import os
import signal

import pytest
import torch

from endorender.errors import UserError
from tests.training.cuts import cut_and_resumed
from training.checkpoint import digest, load_run, read_tensors
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 5, "validate_images": 3}


def weights(run):
    return digest(read_tensors(run / "model.safetensors")[0])


def rows(run):
    lines = (run / "log.csv").read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","))) for line in lines[1:]]


def test_it_learns_the_depth_of_a_patient_never_seen(tmp_path, make_tubes):
    data = make_tubes(patients=6, views=6, variations=("synthetic",))
    run = train(SMALL | {"steps": 120, "learning_rate": 5e-3}, tmp_path / "run", data)
    log = rows(run)
    assert [int(r["step"]) for r in log] == list(range(121))
    assert [r["step"] for r in log if r["val_rmse_metric"]] == [str(s) for s in range(0, 121, 5)]
    assert float(log[-1]["val_abs_rel_median"]) < 0.5 * float(log[0]["val_abs_rel_median"])
    assert float(log[-1]["val_abs_rel_median"]) < 0.2
    info = json.loads((run / "run.json").read_text())
    assert info["finished"]
    assert info["data"]["train"]["patients"] == ["p1", "p2", "p3", "p4"]
    assert info["frozen"] == []


def test_same_seed_same_bytes_other_seed_other_weights(tmp_path, make_tubes):
    config = SMALL | {"steps": 4}
    a, b = (train(config, tmp_path / name, make_tubes()) for name in "ab")
    c = train(config | {"seed": 1}, tmp_path / "c", make_tubes())
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv", "run.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert weights(c) != weights(a)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_resume_ends_at_the_same_bytes(tmp_path, make_tubes, number):
    config = SMALL | {"steps": 11, "save_every": 4}
    whole = train(config, tmp_path / "whole", make_tubes())
    before = signal.getsignal(number)

    def strike(done, total, text):
        if done == 6:
            os.kill(os.getpid(), number)

    with pytest.raises(UserError, match=r"after step 6.*--resume") as stop:
        train(config, tmp_path / "cut", make_tubes(), progress=strike)
    assert stop.value.code == "STOPPED"
    assert signal.getsignal(number) is before
    assert not json.loads((tmp_path / "cut/run.json").read_text())["finished"]
    cut = train(config, tmp_path / "cut", make_tubes(), resume=True)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv", "run.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert train(config, cut, make_tubes(), resume=True) == cut  # finished: nothing to do
    assert weights(cut) == weights(whole)


def test_a_crash_between_checkpoints_resumes_from_the_last_one(tmp_path, make_tubes):
    config = SMALL | {"steps": 8, "save_every": 3}
    whole = train(config, tmp_path / "whole", make_tubes())
    cut = cut_and_resumed(config, tmp_path / "cut", make_tubes(), 5)
    assert (whole / "checkpoint.safetensors").read_bytes() == (cut / "checkpoint.safetensors").read_bytes()
    assert (whole / "log.csv").read_bytes() == (cut / "log.csv").read_bytes()


def test_a_diverging_loss_names_the_frames_and_keeps_the_last_good_checkpoint(tmp_path, make_tubes):
    data = make_tubes(variations=("synthetic",))
    config = SMALL | {"steps": 40, "save_every": 1, "learning_rate": 1e18, "warmup": 0, "schedule": "constant"}
    with pytest.raises(UserError, match=r"p\d/\d{4}/synthetic.*learning_rate") as stop:
        train(config, tmp_path / "run", data)
    assert stop.value.code == "DIVERGED"
    kept, _ = read_tensors(tmp_path / "run/model.safetensors")
    assert all(bool(t.isfinite().all()) for t in kept.values())


def test_fine_tuning_the_last_layer_changes_nothing_else_and_says_what_is_frozen(tmp_path, make_tubes):
    data, told = make_tubes(), []
    base = train(SMALL | {"steps": 3, "variations": ("synthetic",)}, tmp_path / "base", data)
    tuned = train(
        {"steps": 3, "batch": 4, "fine_tune": "last-layer", "variations": "pale_pink,deep_red"},
        tmp_path / "tuned",
        data,
        init_from=base,
        say=told.append,
    )
    old, new = (read_tensors(run / "model.safetensors")[0] for run in (base, tuned))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"head.weight", "head.bias"}
    info = json.loads((tuned / "run.json").read_text())
    assert set(info["frozen"]) == set(old) - changed
    # 16 channels x 3 x 3, and one bias
    assert told == ["fine-tuning last-layer: 145 weights are trained; frozen: encoder.*, decoder.*"]
    assert info["init_from"]["weights"] == load_run(base).weights
    assert info["data"]["train"]["variations"] == ["deep_red", "pale_pink"]
    full = train({"steps": 3, "batch": 4}, tmp_path / "full", data, init_from=base)
    moved = read_tensors(full / "model.safetensors")[0]
    assert all(not torch.equal(old[name], moved[name]) for name in old)


@pytest.mark.parametrize(
    ("config", "code", "text"),
    [
        ({"step": 3}, "INVALID_VALUE", "step: unknown key"),
        ({"steps": 0}, "INVALID_VALUE", "steps"),
        ({"model": "vgg"}, "INVALID_VALUE", "there are: cnn_crf"),
        ({"model": {"type": "unet", "width": 9}}, "INVALID_VALUE", "width"),
        ({"loss": "l7"}, "INVALID_VALUE", "berhu, crf_nll, gradient_matching, log_l1, silog"),
        ({"variations": ["green"]}, "UNKNOWN_NAME", "there are: deep_red, pale_pink, synthetic"),
        ({"fine_tune": "last-layer"}, "USER_ERROR", "--init-from"),
        ({"augment": {"bluur": 1}}, "INVALID_VALUE", "augment.bluur: unknown key"),
        ({"batch": 5, "devices": 2}, "INVALID_VALUE", "shared evenly"),
        ({"device": "vulkan"}, "NO_DEVICE", "cannot train on vulkan here; it can on: auto, cpu"),
        ({"device": "tpu"}, "INVALID_VALUE", "'auto', 'cpu', 'cuda', 'vulkan' or 'metal'"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line_before_anything_is_written(
    tmp_path, make_tubes, config, code, text
):
    with pytest.raises(UserError) as refusal:
        train(config, tmp_path / "run", make_tubes())
    assert refusal.value.code == code
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_things_and_a_changed_run_are_refused(tmp_path, make_tubes):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(UserError):
            train(SMALL | {"steps": 1}, tmp_path / "mine", make_tubes(), resume=resume)
    assert (tmp_path / "mine/thesis.tex").read_text() == "years of work"
    run = train(SMALL | {"steps": 1}, tmp_path / "run", make_tubes())
    before = weights(run)
    with pytest.raises(UserError, match=r"config\.steps \(1, now 2\)"):
        train(SMALL | {"steps": 2}, run, make_tubes(), resume=True)
    with pytest.raises(UserError, match=r"data\.train"):
        train(SMALL | {"steps": 1}, run, make_tubes(views=5), resume=True)
    with pytest.raises(UserError, match="not empty"):
        train(SMALL | {"steps": 1}, run, make_tubes())
    assert weights(run) == before


def test_one_patient_under_two_aliases_in_two_splits_is_refused(tmp_path, make_tubes):
    data = make_tubes()
    for frame in data.select(split="test"):
        frame.volume["ct_sha256"] = "ct of p1"
    with pytest.raises(UserError, match=r"p1 alias p4.*train and test") as refusal:
        train(SMALL | {"steps": 1}, tmp_path / "run", data)
    assert refusal.value.code == "PATIENT_IN_TWO_SPLITS"


def test_only_whole_safetensors_of_the_same_architecture_are_loaded(tmp_path, make_tubes):
    data = make_tubes()
    run = train(SMALL | {"steps": 1}, tmp_path / "run", data)
    good = (run / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="another architecture") as refusal:
        train({"model": "unet", "steps": 1}, tmp_path / "other", data, init_from=run)
    assert refusal.value.code == "ARCHITECTURE"
    torch.save({"a": torch.ones(3)}, run / "model.safetensors")  # a pickle in disguise
    with pytest.raises(UserError) as refusal:
        load_run(run)
    assert refusal.value.code == "NOT_WEIGHTS"
    (run / "model.safetensors").write_bytes(good[:-100])
    with pytest.raises(UserError, match="train the network again"):
        load_run(run)
    (run / "model.safetensors").write_bytes(good)
    text = (run / "run.json").read_text().replace('"width": 8', '"width": 16')
    (run / "run.json").write_text(text)
    with pytest.raises(UserError, match="another architecture"):
        load_run(run)
    with pytest.raises(UserError, match="not a training run"):
        load_run(tmp_path)


def test_a_unet_of_a_version_without_cues_is_read_as_one_without(tmp_path, make_tubes):
    model = {"type": "unet", "width": 8, "levels": 2, "cues": False}
    run = train({"model": model, "steps": 2, "batch": 2}, tmp_path / "run", make_tubes())
    before = load_run(run)
    info = json.loads((run / "run.json").read_text())
    del info["config"]["model"]["cues"]
    (run / "run.json").write_text(json.dumps(info))
    found = load_run(run)
    assert found.weights == before.weights
    assert not found.network.cues


def test_frames_that_do_not_fit_in_memory_give_the_same_run(tmp_path, make_tubes):
    config = SMALL | {"steps": 3}
    a = train(config, tmp_path / "a", make_tubes())
    b = train(config | {"cache_mb": 0, "workers": 1}, tmp_path / "b", make_tubes())
    assert weights(a) == weights(b)
