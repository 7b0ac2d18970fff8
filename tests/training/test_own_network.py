"""The network of docs/network.md, as it is printed there."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from training.evaluate import evaluate
from training.models import models
from training.trainer import train

PAGE = Path(__file__).parents[2] / "docs" / "network.md"


@pytest.fixture
def dilated(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    package = tmp_path / "packages" / "dilated_lab"
    package.mkdir(parents=True)
    for name, block in zip(("__init__", "parts"), blocks, strict=True):
        (package / f"{name}.py").write_text(block)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(models, "_classes", dict(models._classes))
    monkeypatch.setattr(models, "_cases", dict(models._cases))
    yield importlib.import_module("dilated_lab")
    for name in ("dilated_lab", "dilated_lab.parts"):
        sys.modules.pop(name, None)


def test_the_documented_network_trains_is_fine_tuned_and_judged(dilated, tmp_path, make_tubes):
    data = make_tubes()
    small = {"batch": 4, "validate_images": 4}
    run = train(small | {"model": {"type": "dilated", "width": 8}, "steps": 30}, tmp_path / "run", data)
    losses = [float(line.split(",")[1]) for line in (run / "log.csv").read_text().splitlines()[2:]]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    tuned = train(small | {"steps": 2, "fine_tune": "last-layer"}, tmp_path / "tuned", data, init_from=run)
    assert (evaluate(tuned, data, tmp_path / "judged") / "summary.json").is_file()
    odd = dilated.Dilated(width=8).network()(torch.rand(1, 3, 21, 33))
    assert odd.shape == (1, 1, 21, 33)
    assert (odd > 0).all()
