"""Averaged weights: what is kept, what is validated, and who counts as seen."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.main import main
from endorender.errors import UserError
from tests.training.cuts import cut_and_resumed
from training.averaging import average, moving
from training.checkpoint import load_run, load_weights, read_tensors
from training.data import DepthFrames
from training.evaluate import evaluate, label_of
from training.files import read_csv, read_json
from training.loop import JUDGED, UNAVERAGED, validate
from training.report import report
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 4, "validate_every": 3, "validate_images": 4}
EMA = SMALL | {"steps": 8, "save_every": 2, "ema": 0.7, "validate_images": 100}


def weights(run):
    return read_tensors(run / "model.safetensors")[0]


def part(run, prefix):
    tensors = read_tensors(run / "checkpoint.safetensors")[0]
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def data(make_tubes):
    return make_tubes(patients=5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, data):
    return train(SMALL | {"steps": 6, "variations": ["synthetic"]}, tmp_path_factory.mktemp("runs") / "plain", data)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, data, plain):
    config = SMALL | {"steps": 4, "variations": ["deep_red"]}
    return train(config, tmp_path_factory.mktemp("runs") / "tuned", data, init_from=plain)


def test_the_moving_average_is_its_recursion_with_a_soft_beginning():
    network = torch.nn.Linear(2, 1, bias=False)
    followed = moving(network, 0.5)
    expected, rng = None, np.random.default_rng(0)
    for step in range(20):
        now = rng.normal(size=(1, 2))
        network.weight.data = torch.tensor(now, dtype=torch.float32)
        followed.update_parameters(network)
        # step 0 copies; then (1 + n) / (10 + n) until the decay is reached, at n = 8
        decay = min(0.5, (1 + step) / (10 + step))
        expected = now if expected is None else decay * expected + (1 - decay) * now
        np.testing.assert_allclose(followed.module.weight.numpy(), expected, rtol=1e-5)
    assert not followed.module.weight.requires_grad


def test_the_average_is_kept_and_validated_and_the_step_is_reported_beside_it(tmp_path, data):
    run = train(EMA, tmp_path / "run", data)
    kept, step = weights(run), part(run, "model.")
    followed = part(run, "average.module.")
    assert all(torch.equal(kept[name], followed[name]) for name in kept)
    assert any(not torch.equal(kept[name], step[name]) for name in kept)
    rows = read_csv(run / "log.csv")
    assert [row["step"] for row in rows if row[JUDGED]] == ["0", "3", "6", "8"]
    assert rows[0][JUDGED] == rows[0][UNAVERAGED]
    frames = DepthFrames(data.select(split="val"))
    for column, state in ((JUDGED, kept), (UNAVERAGED, step)):
        network = load_run(run).config.model.network()
        load_weights(network, state, run)
        assert float(rows[-1][column]) == pytest.approx(validate(network, frames)[JUDGED], rel=1e-4)
    bare = train(EMA | {"ema": 0.0}, tmp_path / "bare", data)
    assert all(torch.equal(step[name], weights(bare)[name]) for name in step)  # training itself knows nothing of it
    assert UNAVERAGED not in read_csv(bare / "log.csv")[0]


@pytest.mark.parametrize("extra", [{}, {"keep": "best"}, {"fine_tune": "lora", "lora": {"rank": 2}}])
def test_an_interruption_changes_no_byte_of_the_average(tmp_path, data, plain, extra, monkeypatch):
    if "fine_tune" in extra:
        from functools import partial

        monkeypatch.setattr("tests.training.cuts.train", partial(train, init_from=plain))
    config = EMA | extra
    whole = train(config, tmp_path / "whole", data, init_from=plain if "fine_tune" in extra else None)
    cut = cut_and_resumed(config, tmp_path / "cut", data, 5)
    for name in ("model.safetensors", "checkpoint.safetensors", "log.csv", "run.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


def test_a_mean_of_runs_is_the_mean_of_their_weights_and_knows_whom_they_have_seen(tmp_path, data, plain, tuned):
    mean = average([plain, tuned], tmp_path / "mean")
    a, b, m = (weights(run) for run in (plain, tuned, mean))
    for name in m:
        torch.testing.assert_close(m[name], (a[name] + b[name]) / 2)
    info = read_json(mean / "run.json", "a run")
    assert label_of(info) == "(unet on synthetic) and (unet on synthetic, fine-tuned (full) on deep_red), averaged"
    assert info["data"]["train"]["variations"] == ["deep_red", "synthetic"]
    assert info["data"]["train"]["frames"] == 24
    assert [parent["weights"] for parent in info["average_of"]] == [load_run(plain).weights, load_run(tuned).weights]
    assert str(tmp_path) not in (mean / "run.json").read_text()
    evaluations = [evaluate(run, data, tmp_path / f"e{k}") for k, run in enumerate((plain, mean))]
    page = report(evaluations, tmp_path / "report").read_text()
    assert "averaged" in page
    further = train(SMALL | {"steps": 2}, tmp_path / "further", data, init_from=mean)
    assert read_json(further / "run.json", "a run")["init_from"]["average_of"] == info["average_of"]


def test_a_mean_refuses_patients_that_any_of_its_parents_has_seen(tmp_path, make_tubes, plain):
    other = make_tubes(patients=6)
    other.splits = {"train": ["p5"], "val": ["p4"], "test": ["p6"]}
    run = train(SMALL | {"steps": 2}, tmp_path / "other", other)
    mean = average([run, plain], tmp_path / "mean")
    held = make_tubes(patients=6)
    for patient, seen in (("p1", True), ("p5", True), ("p6", False)):
        held.splits = {"test": [patient]}
        if seen:
            with pytest.raises(UserError, match=patient) as caught:
                evaluate(mean, held, tmp_path / patient)
            assert caught.value.code == "PATIENT_SEEN"
        else:
            evaluate(mean, held, tmp_path / patient)


def test_what_cannot_be_averaged_is_refused(tmp_path, data, plain, tuned):
    wide = train(SMALL | {"steps": 1, "model": {"type": "unet", "width": 16, "levels": 2}}, tmp_path / "wide", data)
    for runs, code, words in (
        ([plain], "INVALID_VALUE", "two runs or more"),
        ([plain, plain], "INVALID_VALUE", "each once"),
        ([plain, wide], "ARCHITECTURE", "several architectures"),
        ([plain, tmp_path / "none"], "NOT_FOUND", "not a training run"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            average(runs, tmp_path / "out")
        assert caught.value.code == code
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="not an empty folder"):
        average([plain, tuned], plain)


def test_the_command_averages(tmp_path, plain, tuned):
    done = CliRunner().invoke(main, ["average", str(plain), str(tuned), "--out", str(tmp_path / "mean")])
    assert done.exit_code == 0, done.output
    load_run(tmp_path / "mean")
