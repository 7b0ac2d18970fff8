"""Who follows a run, what they are told, and options that change how it is computed but not what."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from endorender.errors import UserError
from tests.dataset.made import make
from training.checkpoint import load_run, read_tensors
from training.config import TrainConfig
from training.loop import JUDGED
from training.rates import LEAST, MOST, find_rate
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 2, "validate_images": 4}

# torch warns of itself where its compiler is loaded.
ITS_OWN = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated:DeprecationWarning")


class Follower:
    """In the place of Lightning's loggers."""

    def __init__(self):
        self.version = self.run_id = "an-id"
        self.told, self.ended, self.config = [], [], None
        self.experiment = self

    def log_hyperparams(self, config):
        self.config = config

    def log_metrics(self, metrics, step):
        self.told.append((step, metrics))

    def finalize(self, status):
        self.ended.append(status)

    def finish(self):
        self.ended.append("finished")


@pytest.fixture
def followers(monkeypatch):
    """wandb and mlflow, whether they are installed or not; what they were made with."""
    from types import SimpleNamespace

    import lightning.pytorch.loggers as those

    made = {}

    def maker(name):
        def make(*positional, **named):
            made[name] = Follower(), named
            return made[name][0]

        return make

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Settings=lambda **named: named))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setattr(those, "WandbLogger", maker("wandb"))
    monkeypatch.setattr(those, "MLFlowLogger", maker("mlflow"))
    return made


def test_they_are_told_what_the_log_holds_and_no_path(tmp_path, make_tubes, followers, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = train(SMALL | {"steps": 3, "loggers": "wandb, mlflow"}, tmp_path / "run", make_tubes())
    lines = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    for follower, _ in followers.values():
        assert [(step, told["loss"]) for step, told in follower.told] == [(int(n), float(x)) for n, x, *_ in lines[2:]]
        assert [step for step, told in follower.told if JUDGED in told] == [2, 3]
        assert follower.ended[0] == "success"
        assert follower.config["steps"] == 3
        assert str(tmp_path) not in json.dumps(follower.config)
    settings = followers["wandb"][1]["settings"]
    assert settings["x_disable_meta"]  # the command line, the folder
    assert settings["host"] == "endorender"
    assert followers["wandb"][0].ended == ["success", "finished"]
    assert followers["mlflow"][1]["tracking_uri"] == f"sqlite:///{run.resolve() / 'mlflow.db'}"
    assert followers["mlflow"][1]["tags"] == {"mlflow.source.name": "endorender", "mlflow.user": "endorender"}


def test_a_run_that_goes_on_is_followed_further(tmp_path, make_tubes, followers):
    data, config = make_tubes(), SMALL | {"steps": 4, "save_every": 2, "loggers": ["wandb"]}

    def crash(done, total, text):
        if done == 3:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        train(config, tmp_path / "run", data, progress=crash)
    follower, named = followers["wandb"]
    assert named["id"] is None
    assert follower.ended == ["failed", "finished"]
    ids = (tmp_path / "run/loggers.json").read_bytes()
    for wound in (ids[:-4], b"[]"):
        (tmp_path / "run/loggers.json").write_bytes(wound)
        with pytest.raises(UserError, match="cut short or edited") as told:
            train(config, tmp_path / "run", data, resume=True)
        assert told.value.code == "TRUNCATED"
    (tmp_path / "run/loggers.json").write_bytes(ids)
    train(config, tmp_path / "run", data, resume=True)
    follower, named = followers["wandb"]
    assert named["id"] == "an-id"
    assert [step for step, _ in follower.told] == [3, 4]
    # Who looks on is no part of what was begun.
    assert train(SMALL | {"steps": 4, "save_every": 2}, tmp_path / "run", data, resume=True) == tmp_path / "run"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_what_is_missing_is_named_with_the_way_out(tmp_path, make_tubes, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'endorender\[{name}\]'") as refusal:
        train(SMALL | {"steps": 1, "loggers": [name]}, tmp_path / "run", make_tubes())
    assert refusal.value.code == "MISSING_EXTRA"


FOLLOWED = """
import os, sys
from tests.training.conftest import tubes
from training.trainer import train

config = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 2, "loggers": [sys.argv[2]], "device": "cpu"}
train(config, sys.argv[1], tubes())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_packages_themselves_take_it(tmp_path, name):
    """Offline, in a process of its own; nothing that they keep tells the command's words."""
    pytest.importorskip(name, reason=f"needs the extra: pip install 'endorender[{name}]'")
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWED, out, name, "MUELLER"],
        env={"WANDB_MODE": "offline", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = [p for p in out.rglob("*") if p.suffix in (".wandb", ".db")]
    assert len(kept) == 1
    content = kept[0].read_bytes()
    assert b"learning_rate" in content
    assert b"loss" in content
    assert b"MUELLER" not in content


def test_a_run_that_was_begun_before_an_option_was_there_goes_on(tmp_path, make_tubes):
    data = make_tubes()
    run = train(SMALL | {"steps": 2}, tmp_path / "run", data)
    told = json.loads((run / "run.json").read_text())
    for key in ("compile", "loggers"):
        del told["config"][key]
    (run / "run.json").write_text(json.dumps(told))
    assert train(SMALL | {"steps": 2}, run, data, resume=True) == run
    with pytest.raises(UserError, match=r"config\.steps \(2, now 3\)"):
        train(SMALL | {"steps": 3}, run, data, resume=True)


@ITS_OWN
def test_a_compiled_network_learns_the_same(tmp_path, make_tubes):
    """Here without compiling anything: `force_eager` runs what torch.compile wraps as it stands."""
    data = make_tubes()
    plain = train(SMALL | {"steps": 3, "ema": 0.9}, tmp_path / "plain", data)
    with torch.compiler.set_stance("force_eager"):
        wrapped = train(SMALL | {"steps": 3, "ema": 0.9, "compile": True}, tmp_path / "wrapped", data)
    assert (plain / "model.safetensors").read_bytes() == (wrapped / "model.safetensors").read_bytes()
    assert load_run(wrapped).config.compile


@ITS_OWN
@pytest.mark.slow
def test_a_network_is_compiled(tmp_path, make_tubes):
    data = make_tubes(patients=3, views=4)
    for name in (False, True):
        train(SMALL | {"steps": 3, "validate_every": 0, "compile": name}, tmp_path / str(name), data)
    one, two = (read_tensors(tmp_path / str(name) / "model.safetensors")[0] for name in (False, True))
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-3


def test_a_compiler_that_is_missing_is_told(tmp_path, make_tubes, monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    import training.loop as loop

    def fails(*_):
        raise BackendCompilerFailed(lambda: None, RuntimeError("no C++ compiler"), None)

    monkeypatch.setattr(loop.Module, "training_step", fails)
    eager = torch.compiler.set_stance("force_eager")  # for the validation before
    with eager, pytest.raises(UserError, match="leave out compile") as refusal:
        train(SMALL | {"steps": 1, "compile": True}, tmp_path / "run", make_tubes())
    assert refusal.value.code == "NO_COMPILER"


def test_the_suggested_rate_lies_where_the_loss_falls(make_tubes):
    data = make_tubes()
    before = torch.get_rng_state()
    found = find_rate(SMALL, data, steps=40)
    assert torch.equal(torch.get_rng_state(), before)
    assert find_rate(SMALL, data, steps=40) == found
    assert LEAST < found.suggested < MOST
    rates, losses = np.array(found.rates), np.array(found.losses)
    assert (np.diff(rates) > 0).all()
    assert losses[np.searchsorted(rates, found.suggested) :].min() < losses[5]
    assert found.figure().axes[0].get_xscale() == "log"


def test_the_rate_is_printed_and_nothing_written(tmp_path):
    from cli.main import main

    make(tmp_path / "data")
    words = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--batch", "2", "--find-rate"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert float(done.stdout.removeprefix("learning rate: ")) > 0
    assert not (tmp_path / "run").exists()
    assert TrainConfig().learning_rate == 2e-3
