"""Stopping early, keeping the best, the board, and several processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from endorender.errors import UserError
from training.checkpoint import load_run, read_tensors
from training.data import DepthFrames
from training.loop import JUDGED, validate
from training.trainer import train

ROOT = Path(__file__).parents[2]
SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 2, "validate_images": 4}
# A rate that spoils the network soon, so that validation gets worse.
WILD = SMALL | {"steps": 60, "learning_rate": 0.3, "warmup": 0, "schedule": "constant", "save_every": 5}


def judged(run):
    lines = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    column = lines[0].index(JUDGED)
    return {int(line[0]): float(line[column]) for line in lines[1:] if line[column]}


def test_training_stops_when_validation_gets_no_better_and_resume_stops_there_too(tmp_path, make_tubes):
    data = make_tubes(variations=("synthetic",))
    whole = train(WILD | {"patience": 3, "keep": "best"}, tmp_path / "whole", data)
    values = judged(whole)
    best = min(values, key=values.get)
    assert max(values) < 60
    assert max(values) == best + 3 * 2
    assert read_tensors(whole / "model.safetensors")[1]["step"] == str(best)
    found = validate(load_run(whole).network, DepthFrames(data.select(split="val")), 4)
    assert found[JUDGED] == pytest.approx(values[best], rel=1e-4)

    def crash(done, total, text):
        if done == max(values) - 1:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        train(WILD | {"patience": 3, "keep": "best"}, tmp_path / "cut", data, progress=crash)
    cut = train(WILD | {"patience": 3, "keep": "best"}, tmp_path / "cut", data, resume=True)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


def test_the_last_weights_are_kept_by_default_and_patience_needs_a_validation(tmp_path, make_tubes):
    data = make_tubes(variations=("synthetic",))
    run = train(WILD | {"steps": 4}, tmp_path / "run", data)
    assert read_tensors(run / "model.safetensors")[1]["step"] == "4"
    data.splits["val"] = []
    for extra in ({"patience": 1}, {"keep": "best"}):
        with pytest.raises(UserError, match="split val"):
            train(WILD | extra, tmp_path / "none", data)
    assert not (tmp_path / "none").exists()


def test_the_board_shows_what_the_log_holds(tmp_path, make_tubes, monkeypatch):
    seen = []

    class Writer:
        def __init__(self, folder, purge_step):
            assert (folder, purge_step) == (str(tmp_path / "run/tensorboard"), 1)

        def add_scalar(self, name, value, step):
            seen.append((name, step, value))

        def close(self):
            seen.append("closed")

    import types

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    run = train(SMALL | {"steps": 3, "loggers": ["tensorboard"]}, tmp_path / "run", make_tubes())
    lines = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    losses = [("loss", int(line[0]), float(line[1])) for line in lines[2:]]
    assert [entry for entry in seen if entry[0] == "loss"] == losses
    assert [entry[1] for entry in seen if entry[0] == JUDGED] == [2, 3]
    assert seen[-1] == "closed"
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"endorender\[tensorboard\]"):
        train(SMALL | {"steps": 3, "loggers": ["tensorboard"]}, tmp_path / "other", make_tubes())


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from tests.training.conftest import tubes
from training.trainer import train

devices, out = int(sys.argv[1]), sys.argv[2]
config = {config} | {{"devices": devices, "device": "cpu"}}
print("done", train(config, out, tubes(), resume=len(sys.argv) > 3))
"""


def begin(tmp_path, name, devices, config, *more, **options):
    script = tmp_path / "train_me.py"
    script.write_text(SCRIPT.format(config=repr(config)))
    return subprocess.run(
        [sys.executable, script, str(devices), tmp_path / name, *more],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=400, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_the_same_batch(tmp_path):
    """gloo on the CPU: losses, validation and weights agree to rounding; only the first process speaks and writes."""
    config = SMALL | {"steps": 8, "save_every": 4, "ema": 0.8}
    config |= {"augment": {"rotation": 10.0, "zoom": (1.0, 1.5), "corners": 0.2}}
    for name, devices in (("one", 1), ("two", 2)):
        done = begin(tmp_path, name, devices, config)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("done") == 1
    one, two = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=2e-5, msg=name)
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("one", "two")]
    assert [line.split(",")[0] for line in logs[0]] == [line.split(",")[0] for line in logs[1]]
    for a, b in zip(logs[0][2:], logs[1][2:]):
        assert float(a.split(",")[1]) == pytest.approx(float(b.split(",")[1]), rel=1e-4)


@pytest.mark.slow
def test_two_processes_stop_together_at_a_loss_that_is_no_number(tmp_path):
    wild = SMALL | {"steps": 40, "learning_rate": 1e18, "warmup": 0, "schedule": "constant", "save_every": 1}
    done = begin(tmp_path, "run", 2, wild)
    assert done.returncode != 0
    assert done.stderr.count("the last good checkpoint is kept") >= 1
    kept, _ = read_tensors(tmp_path / "run/model.safetensors")
    assert all(bool(t.isfinite().all()) for t in kept.values())
