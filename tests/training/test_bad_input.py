"""What users and disks do to files: one clear line, exit code 2, nothing executed, nothing overwritten."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.dataset import open_dataset
from endorender.errors import UserError
from endorender.viewer.colours import Predictions
from endorender.viewer.page import _dataset
from tests.dataset.made import make

REPOSITORY = Path(__file__).parents[2]


class Payload:
    """A pickle that does something when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def command(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result, *texts):
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for text in texts:
        assert text in lines[0], lines[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset, and a run trained on it by the command line."""
    root = tmp_path_factory.mktemp("bad")
    make(root / "data")
    (root / "small.yaml").write_text("model: {type: unet, width: 8, levels: 2}\nsteps: 2\nbatch: 2\n")
    done = command("train", root / "data", "--config", root / "small.yaml", "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["image", "geometry"])
def test_a_flipped_byte_in_a_dataset_is_found_wherever_it_lies(made, tmp_path, kind):
    shutil.copytree(made / "data", tmp_path / "data")
    for split, act in (("train", "train"), ("test", "evaluate")):
        frame = open_dataset(tmp_path / "data").select(split=split)[0]
        path = frame.path(kind)
        whole = path.read_bytes()
        for place in (len(whole) // 3, len(whole) - 5):
            broken = bytearray(whole)
            broken[place] ^= 1
            path.write_bytes(bytes(broken))
            if act == "train":
                done = command("train", tmp_path / "data", "--config", made / "small.yaml", "--out", tmp_path / "out")
                assert not (tmp_path / "out/model.safetensors").exists()
                shutil.rmtree(tmp_path / "out", ignore_errors=True)
            else:
                done = command("evaluate", made / "run", "--data", tmp_path / "data", "--out", tmp_path / "out")
                assert not (tmp_path / "out").exists()
            refused(done, frame.files[kind].path, "is not what was written")
        path.write_bytes(whole)


def test_a_pickle_in_disguise_is_not_executed(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    trap = tmp_path / "executed"
    for name in ("model.safetensors", "checkpoint.safetensors"):
        (tmp_path / "run" / name).write_bytes(pickle.dumps(Payload(trap)))
    before = bytes_of(tmp_path / "run")
    refused(command("evaluate", tmp_path / "run", "--data", made / "data", "--out", tmp_path / "e"), "safetensors")
    refused(command("export-model", tmp_path / "run", "--out", tmp_path / "a.onnx"), "safetensors")
    tuned = command("train", made / "data", "--init-from", tmp_path / "run", "--out", tmp_path / "t")
    refused(tuned, "safetensors")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/config.json").write_text('{"model_type": "resnet"}')
    (tmp_path / "hub/model.safetensors").write_bytes(pickle.dumps(Payload(trap)))
    taken = command(
        "train", made / "data", "--model", "resnet", "--pretrained", tmp_path / "hub", "--out", tmp_path / "p"
    )
    refused(taken, "safetensors")
    assert not trap.exists()
    assert bytes_of(tmp_path / "run") == before
    assert not any((tmp_path / name).exists() for name in ("e", "t", "p", "a.onnx"))


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    text = (tmp_path / "run/run.json").read_text()
    (tmp_path / "run/run.json").write_text(text.replace('"levels": 2', '"levels": 3'))
    before = bytes_of(tmp_path / "run")
    refused(
        command("evaluate", tmp_path / "run", "--data", made / "data", "--out", tmp_path / "e"), "another architecture"
    )
    again = command("train", made / "data", "--config", made / "small.yaml", "--out", tmp_path / "run", "--resume")
    refused(again, "config.model.levels (3, now 2)")
    refused(command("train", made / "data", "--config", made / "small.yaml", "--out", made / "run"), "not empty")
    assert bytes_of(tmp_path / "run") == before
    assert not (tmp_path / "e").exists()


def test_a_patient_in_two_splits_is_refused_before_anything_is_written(made, tmp_path):
    shutil.copytree(made / "data", tmp_path / "data")
    info = tmp_path / "data/dataset.json"
    frames = open_dataset(tmp_path / "data")
    one = frames.split("train")[0]
    values = json.loads(info.read_text())
    values["splits"]["test"] = [*values["splits"]["test"], one]
    info.write_text(json.dumps(values))
    done = command("train", tmp_path / "data", "--config", made / "small.yaml", "--out", tmp_path / "out")
    refused(done, f"patient {one} is in two splits, train and test")
    assert not (tmp_path / "out").exists()


def test_a_label_beyond_ascii_under_an_ascii_locale(made, tmp_path):
    words = ["evaluate", made / "run", "--data", made / "data", "--label", "Größe μ", "--title", "Übung", "--out"]
    command = [sys.executable, "-m", "endorender", *map(str, words), str(tmp_path / "e")]
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([os.fsencode(w) for w in command], env=ascii_only, capture_output=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    summary = json.loads((tmp_path / "e/summary.json").read_text(encoding="utf-8"))
    assert (summary["label"], summary["data"]["title"]) == ("Größe μ", "Übung")
    assert "--label Größe μ --title Übung" in summary["command"]


# --- files that a disk cut short or somebody overwrote
EVALUATION = (
    "baselines.csv", "by_depth.csv", "by_incidence.csv", "by_radius.csv", "frames.csv", "log.csv", "predictions.npz",
    "run.json", "shown.npz", "summary.json",
)  # fmt: skip
WOUNDS = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "nearly whole": lambda whole: whole[:-3],
    "bytes": lambda whole: whole[:50] + b"\xff\xfe\0" + whole[50:],
    "list": lambda whole: b"[]\n",
    "deep": lambda whole: b"[" * 100_000,
    "another": lambda whole: b"{}\n",
}


@pytest.fixture(scope="module")
def judged(made):
    """The same with an evaluation."""
    done = command("evaluate", made / "run", "--data", made / "data", "--out", made / "evaluation")
    assert done.exit_code == 0, done.output
    return made


@pytest.fixture
def copy(judged, tmp_path):
    """A copy of all to be spoilt."""
    return shutil.copytree(judged, tmp_path / "copy")


def looked_at(copy):
    """What `view` reads before it serves, and when predictions are shown."""
    _dataset(str(copy / "data"), str(copy / "evaluation"))
    known = Predictions(copy / "evaluation")
    for frame in open_dataset(copy / "data").frames:
        known.depth(frame)


def spoilt(path, wound):
    path.write_bytes(WOUNDS[wound](path.read_bytes()))


@pytest.mark.parametrize("wound", WOUNDS)
def test_an_evaluation(copy, wound):
    assert set(EVALUATION) == {p.name for p in (copy / "evaluation").iterdir()}
    for name in EVALUATION:
        whole = (copy / "evaluation" / name).read_bytes()
        spoilt(copy / "evaluation" / name, wound)
        refused(command("report", copy / "evaluation", "--out", copy / "report"), name)
        assert not (copy / "report").exists()
        if name == "predictions.npz":
            with pytest.raises(UserError, match="cut short or damaged"):
                looked_at(copy)
        (copy / "evaluation" / name).write_bytes(whole)


@pytest.mark.parametrize("wound", WOUNDS)
def test_a_run(copy, wound):
    for name in ("run.json", "model.safetensors"):
        whole = (copy / "run" / name).read_bytes()
        spoilt(copy / "run" / name, wound)
        refused(command("evaluate", copy / "run", "--data", copy / "data", "--out", copy / "e"))
        refused(command("export-model", copy / "run", "--out", copy / "m.onnx"))
        refused(command("train", copy / "data", "--init-from", copy / "run", "--out", copy / "t"))
        if name == "run.json":
            again = ("train", copy / "data", "--config", copy / "small.yaml", "--out", copy / "run", "--resume")
            refused(command(*again))
        (copy / "run" / name).write_bytes(whole)
    assert not [name for name in ("e", "t", "m.onnx") if (copy / name).exists()]


@pytest.mark.parametrize("wound", WOUNDS)
@pytest.mark.parametrize("name", ["dataset.json", "p003/0000/deep_red.png", "p003/0000/geometry.exr"])
def test_a_dataset(copy, name, wound):
    spoilt(copy / "data" / name, wound)
    export = ("export", copy / "data", "--layout", "webdataset", "--out", copy / "exported")
    found = command("verify", copy / "data")
    assert found.exit_code in (1, 2), found.output
    assert isinstance(found.exception, SystemExit)
    if name == "dataset.json":
        refused(command("check-geometry", copy / "data"), name)
        refused(command(*export), name)
    refused(command("evaluate", copy / "run", "--data", copy / "data", "--out", copy / "e"))
    if name.endswith(".exr"):
        refused(command(*export), "geometry.exr")
    assert not (copy / "exported").exists()
