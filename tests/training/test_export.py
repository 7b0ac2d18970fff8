"""ONNX: the same depths as torch, or no file."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from endorender.errors import UserError
from training.checkpoint import load_run
from training.export import export_model
from training.models import models
from training.trainer import train

SMALL = {"unet": {"width": 8, "levels": 2}, "cnn_crf": {"superpixels": 20, "width": 8, "levels": 2}}
EXPORTED = [
    pytest.param(name, marks=() if name == "unet" else pytest.mark.slow) for name in models if name != "cnn_crf"
]


def trained(folder, data, name, **more):
    model = {"type": name, **SMALL.get(name, {})}
    return train({"model": model, "steps": 1, "batch": 2, "validate_every": 0} | more, folder, data)


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_network_gives_torchs_depths(tmp_path, make_tubes, name):
    run = trained(tmp_path / "run", make_tubes(), name)
    file = export_model(run, tmp_path / "net.onnx", "40x24")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    image = torch.rand(5, 3, 24, 40)
    with torch.no_grad():
        expected = load_run(run).network(image).numpy()
    np.testing.assert_allclose(session.run(["z_depth"], {"image": image.numpy()})[0], expected, rtol=1e-3)
    about = json.loads((tmp_path / "net.onnx.json").read_text())
    assert about["weights"] == load_run(run).weights
    assert about["largest_relative_difference_from_torch"] < 1e-3


def test_what_cannot_be_exported_is_refused_and_nothing_is_overwritten(tmp_path, make_tubes):
    run = trained(tmp_path / "run", make_tubes(), "cnn_crf")
    with pytest.raises(UserError, match="superpixels are no network"):
        export_model(run, tmp_path / "net.onnx")
    (tmp_path / "mine").write_text("years of work")
    with pytest.raises(UserError, match="exists"):
        export_model(run, tmp_path / "mine")
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        export_model(run, tmp_path / "net.onnx", "big")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "run"]
