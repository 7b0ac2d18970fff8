"""A package from outside (tests/plugin) brings one of each model; nothing but its entry point makes it known."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cli.list import kinds
from cli.main import main
from endorender import registry
from endorender.dataset import configure, open_dataset
from endorender.errors import UserError
from endorender.registry import REGISTRIES
from tests.dataset.tubes import tube

OUTSIDE = Path(__file__).parent / "plugin"
BRINGS = {
    "phase": "linear", "light": "pair", "camera": "overhead", "tissue": "wax", "coat": "matte", "integrator": "fog",
    "layout": "names", "model": "thin", "loss": "squared", "protocol": "mean",
}  # fmt: skip


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As if the package had been installed a moment ago, and was gone afterwards."""
    kinds()  # all registries are there
    monkeypatch.setattr(registry, "_loaded", [])
    monkeypatch.syspath_prepend(OUTSIDE)
    yield
    for module in ("fibrescope_lab", "fibrescope_optics"):
        sys.modules.pop(module, None)
    for one in REGISTRIES.values():
        for name in [name for name, cls in one._classes.items() if cls.__module__.startswith("fibrescope")]:
            del one._classes[name], one._cases[name]


def run(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_what_it_brings_is_listed():
    found = json.loads(run("list", "--json"))
    for kind, name in BRINGS.items():
        entry = next(one for one in found[kind] if one["name"] == name)
        assert entry["about"]
    assert {p["name"]: p["default"] for p in next(e for e in found["light"] if e["name"] == "pair")["parameters"]}[
        "apart"
    ] == 2.0


def test_it_is_used_from_the_command_line(tmp_path):
    tubes = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        tubes.append(str(tube(tmp_path / str(number) / "ct.nii.gz", radius=8.0 + number)))
    wax = {"type": "wax", "phase": {"type": "linear", "b": -0.2}}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({
        "ct": tubes, "views": 2, "size": "16x12", "spp": 1, "camera": "overhead", "light": "pair:apart=1.5",
        "coat": "matte",
        "variations": [{"name": "wax", "look": "pale_pink", "tissue": wax}],
    }))  # fmt: skip
    data, out = tmp_path / "data", tmp_path / "run"
    run("render", "--config", tmp_path / "set.yaml", "--out", data)
    frame = open_dataset(data).frames[0]
    assert frame.camera["type"] == "overhead"
    assert frame.scene["coat"] == {"type": "matte"}
    assert frame.parameters["light"].items() >= {"type": "pair", "apart": 1.5}.items()
    assert frame.parameters["tissue"]["phase"] == {"type": "linear", "b": -0.2}
    assert frame.radiance().max() > 0
    run("export", data, "--layout", "names", "--out", tmp_path / "names")
    assert (tmp_path / "names/train.txt").read_text() == "p001/0000/wax\np001/0001/wax\n"
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({"model": "thin", "loss": "squared", "steps": 2, "batch": 2}))
    run("train", data, "--config", tmp_path / "train.yaml", "--out", out)
    run("evaluate", out, "--data", data, "--protocol", "mean", "--out", tmp_path / "judged")
    assert list(json.loads((tmp_path / "judged/summary.json").read_text())["protocols"]) == ["mean"]


@pytest.mark.parametrize("end", ["raise RuntimeError('no licence')", "import sys; sys.exit('no licence')"])
def test_a_plugin_that_is_broken_is_named_when_a_name_is_sought_and_only_then(tmp_path, monkeypatch, end):
    brings = "from endorender.scene import Pinhole, cameras\n@cameras.register('halfway')\nclass Half(Pinhole): pass\n"
    (tmp_path / "broken_lab.py").write_text(brings + end + "\n")
    info = tmp_path / "broken_lab-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-lab\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[endorender.plugins]\nbroken = broken_lab\n")
    monkeypatch.syspath_prepend(tmp_path)
    drawn = {"type": "pinhole", "fov": {"uniform": [80, 120]}}
    for camera in ("pinhole", drawn, {"choice": ["pinhole", "fisheye"]}):
        configure(ct="sample", preset="randomized", camera=camera)
    with pytest.raises(UserError, match=r"^the plugin broken .* uninstall that package$") as said:
        configure(ct="sample", light="spott")
    assert said.value.code == "PLUGIN"
    for name in ("pinhol", "halfway"):  # not once alone, and half a plugin is none
        with pytest.raises(UserError, match=r"plugin broken of the package broken-lab .*no licence.*uninstall") as said:
            REGISTRIES["camera"].build(name)
        assert said.value.code == "PLUGIN"
