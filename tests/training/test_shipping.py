"""The network that ships: made of a run and its evaluations, found by itself, told with its card."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import configure
from endorender.errors import UserError
from tests.cli.test_main import mistake, run
from tests.training.conftest import TubeFrame
from training import shipping
from training.averaging import average
from training.checkpoint import load_run
from training.config import TrainConfig
from training.evaluate import evaluate
from training.experiments import prepared
from training.files import read_csv, read_json
from training.predict import predict
from training.trainer import train

ROOT = Path(__file__).parents[2]
SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 6, "batch": 2, "validate_every": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_tubes):
    """A tuned run, averaged with what it came from; its evaluations on two sets; and the shipped folder."""
    root = tmp_path_factory.mktemp("ship")
    data = make_tubes(patients=5, views=2, size=(48, 64))
    plain = train(SMALL | {"variations": ["synthetic"]}, root / "plain", data)
    tuned = train(SMALL | {"variations": ["deep_red"], "steps": 4}, root / "tuned", data, init_from=plain)
    mean = average([plain, tuned], root / "mean")
    other = make_tubes(patients=9, views=1, size=(48, 64))
    other.splits = {"test": ["p6", "p7", "p8"]}
    sets = [
        evaluate(mean, data, root / "one", title="one tunnel"),
        evaluate(mean, other, root / "three", title="three tunnels"),
    ]
    return {"plain": plain, "tuned": tuned, "run": mean, "sets": sets, "data": data, "root": root,
            "folder": shipping.ship(mean, sets, root / "shipped")}  # fmt: skip


@pytest.fixture
def shipped(made, monkeypatch):
    monkeypatch.setattr(shipping, "folder", lambda: made["folder"])
    return made["folder"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "folder", lambda: tmp_path / "nothing")


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for n in range(2):
        Image.fromarray(TubeFrame("p9", n, "pale_pink", size=(48, 64)).image()).save(tmp_path / f"pictures/{n}.png")
    return tmp_path / "pictures"


def test_predict_without_a_run_is_predict_with_the_shipped_one(made, shipped, pictures, tmp_path):
    done = run("predict", "--images", pictures, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    predict(made["run"], pictures, tmp_path / "b")
    names = [p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file()]
    assert len(names) > 10
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    predict(None, pictures, tmp_path / "c", formats=["png"])
    assert (tmp_path / "c/depth/frame_000000.png").read_bytes() == (tmp_path / "b/depth/frame_000000.png").read_bytes()


def test_shipped_is_a_run_wherever_one_is_asked_for(made, shipped, tmp_path):
    assert load_run("shipped").weights == load_run(made["run"]).weights
    summary = read_json(evaluate("shipped", made["data"], tmp_path / "e") / "summary.json", "an evaluation")
    assert summary["protocols"] == read_json(made["sets"][0] / "summary.json", "an evaluation")["protocols"]
    assert train(SMALL, tmp_path / "further", made["data"], init_from="shipped").is_dir()
    seen = type(made["data"])(made["data"].frames, {"test": ["p2"]})
    with pytest.raises(UserError, match="trained on patient p2"):
        evaluate("shipped", seen, tmp_path / "seen")


def test_without_one_a_line_says_what_to_give(bare, pictures, tmp_path):
    said = mistake("predict", "--images", pictures, "--out", tmp_path / "out")
    assert "no network ships with this version" in said
    assert "endorender train" in said
    assert not (tmp_path / "out").exists()
    assert run("list", "network").stdout == "no network ships with this version\n"
    assert json.loads(run("list", "network", "--json").stdout) == []
    for call in (lambda: load_run("shipped"), lambda: predict(None, pictures, tmp_path / "out"), shipping.card):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.code == "NOT_FOUND"


def test_a_folder_of_that_name_is_the_users_own(made, shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(SMALL | {"seed": 3}, "shipped", made["data"])
    assert load_run("shipped").config.seed == 3


def test_the_card_says_what_the_run_and_the_evaluations_hold(made, shipped):
    card, info = shipping.card(), read_json(made["run"] / "run.json", "a run")
    assert f"fingerprint `{load_run(made['run']).weights}`" in card
    assert "The mean of the weights of 2 runs" in card
    # Plain; then what the tuned network had seen: plain again, and its own.
    stages = list(shipping.stages(info))
    assert [stage["variations"] for stage in stages] == [["synthetic"], ["synthetic"], ["deep_red"]]
    assert [stage["steps"] for stage in stages] == [6, 6, 4]
    assert "| 3 | 3 | 6 | deep_red | full | 4 × 2 |" in card
    assert "(3 hashes)" in card
    for path, title, who in zip(made["sets"], ("one tunnel", "three tunnels"), ("mean", "mean_over_patients")):
        summary = read_json(path / "summary.json", "an evaluation")
        for protocol in ("metric", "median"):
            line = next(x for x in card.splitlines() if x.startswith(f"| {title} |") and f"| {protocol} |" in x)
            for metric in shipping.SHOWN:
                value, low, high = summary["protocols"][protocol][who][metric]
                assert f" {value:#.3g} [{low:#.3g}, {high:#.3g}] |" in line
            blind = summary["baselines"]["protocols"][protocol]
            assert (
                f" {blind['mean']['lookup']['abs_rel'][0]:#.3g} | {blind['abs_rel_below_lookup']['verdict']} |" in line
            )
    assert "not shown to read shape" in card
    assert "Apache-2.0" in card
    assert str(made["root"]) not in card
    told = run("list", "network").stdout
    assert told.startswith(f"shipped  Depth network {load_run(made['run']).weights}")
    assert card in told
    (entry,) = json.loads(run("list", "network", "--json").stdout)
    assert entry["card"] == card


def test_what_does_not_belong_together_does_not_ship(made, tmp_path, monkeypatch):
    for of, judged, code, words in (
        (made["plain"], made["sets"], "CHANGED", "of another network"),
        (made["run"], [], "NOT_FOUND", "name evaluations"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            shipping.ship(of, judged, tmp_path / "out")
        assert caught.value.code == code
    monkeypatch.setattr(shipping, "LARGEST", 1000)
    with pytest.raises(UserError, match="at most 1000 ship"):
        shipping.ship(made["run"], made["sets"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(shipping, "LARGEST", 10**7)
    with pytest.raises(UserError, match="holds something other"):
        shipping.ship(made["run"], made["sets"], made["plain"])


def test_shipping_again_gives_the_same_bytes_and_a_short_log(made, tmp_path):
    again = shipping.ship(made["run"], made["sets"], tmp_path / "again")
    for name in shipping.FILES:
        assert (again / name).read_bytes() == (made["folder"] / name).read_bytes(), name
    judged = evaluate(made["tuned"], made["data"], tmp_path / "e")
    folder = shipping.ship(made["tuned"], [judged], tmp_path / "tuned")
    assert [row["step"] for row in read_csv(folder / "log.csv")] == ["0", "3", "4"]


def test_the_script_goes_from_frames_to_the_folder_and_its_card(made, tmp_path, monkeypatch, capsys):
    """Every stage from the one before, and all of it once; frames are tunnels here."""
    script = runpy.run_path(str(ROOT / "docs/make_shipped.py"))
    inside = script["make"].__globals__
    trained, studied, data = [], [], made["data"]

    def short(config, folder, frames, start, resume, progress):
        trained.append(([Path(f).name for f in frames], start and start.name))
        names = {"variations": config.get("variations", ["deep_red"])}
        return train(SMALL | names, folder, data, start, resume, progress)

    judge = lambda run, frames, out, *args, **names: evaluate(run, data, out, title=names["title"])  # noqa: E731
    study = lambda *args, **names: studied.append((*args[:3], names))  # noqa: E731
    for name, value in {
        "generate": lambda *args: None, "train": short, "evaluate": judge, "experiment": study,
    }.items():  # fmt: skip
        monkeypatch.setitem(inside, name, value)
    monkeypatch.setattr(shipping, "folder", lambda: tmp_path / "shipped")
    for _ in range(2):
        script["make"](tmp_path / "out", {"cycles": "simcol3d@somewhere"})
        assert capsys.readouterr().out.startswith("# Depth network ")
    assert trained == [(["plain", "cinematic", "plain", "learn"], None)] * 2
    assert studied == [("adapt", tmp_path / "out/study", "small", {"until": "render"})] * 2
    weights = (tmp_path / "shipped/model.safetensors").read_bytes()
    assert weights == (tmp_path / "out/run/model.safetensors").read_bytes()


def test_a_card_tells_of_nobody_that_was_trained_on(made, tmp_path):
    seen = evaluate(made["run"], made["data"], tmp_path / "seen", split="train")
    with pytest.raises(UserError, match="never seen") as refused:
        shipping.ship(made["run"], [seen], tmp_path / "shipped")
    assert refused.value.code == "PATIENT_SEEN"
    assert not (tmp_path / "shipped").exists()


def test_the_script_trains_on_nobody_that_anything_is_judged_on(tmp_path):
    script = runpy.run_path(str(ROOT / "docs/make_shipped.py"))
    taken = {name: {p.ct for p in configure(**values).ct} for name, values in script["FRAMES"].items()}
    learnt = taken["plain"] | taken["cinematic"]
    assert len(taken["plain"]) == 120
    assert len(taken["cinematic"]) == 30
    assert not learnt & (taken["phantoms"] | taken["airway"])
    numbers = {int(ct.split(":")[1]) for ct in learnt}
    assert max(numbers) < 8001  # the foreign sets, 8001 and 9001 on, and the experiments', 21001 on
    plan = prepared("adapt", tmp_path, "small", write=False)[2]
    of = {dataset.name: {who["ct"] for who in dataset.patients} for dataset in plan.datasets}
    assert not (of["plain"] | of["learn"]) & (of["test"] | of["airway"] | taken["phantoms"] | taken["airway"])
    assert set(script["TRAINED_ON"]) <= {"plain", "cinematic", "study/data/plain", "study/data/learn"}
    TrainConfig(**script["RUN"])


def test_what_this_version_ships_is_whole_or_nothing():
    if not shipping.ships():
        with pytest.raises(UserError, match="no network ships"):
            shipping.run_folder(None)
        return
    found = load_run("shipped")
    assert (found.path / "model.safetensors").stat().st_size <= shipping.LARGEST
    assert found.weights in shipping.card()
    assert np.isfinite([p.abs().max().item() for p in found.network.parameters()]).all()
