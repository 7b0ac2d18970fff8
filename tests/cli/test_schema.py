"""The schema of configuration files allows what is documented, shipped and registered, and refuses what cannot be."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from cli.main import main
from endorender.dataset import PRESETS, configure
from endorender.dataset.developing import RESPONSES
from endorender.dataset.variation import SETTINGS
from endorender.errors import UserError
from endorender.registry import validated
from endorender.scene import cameras, lights, tissues
from endorender.scene.surface import coats
from training.config import TrainConfig
from training.losses import losses
from training.models import models

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schemas():
    found = {}
    for kind in ("render", "train"):
        done = CliRunner().invoke(main, ["schema", kind])
        assert done.exit_code == 0, done.output
        found[kind] = jsonschema.Draft202012Validator(json.loads(done.stdout))
        found[kind].check_schema(found[kind].schema)
    return found


def plain(value):
    return json.loads(json.dumps(value))


def registered():
    for name, case in cameras.cases():
        own = {key: value for key, value in case.items() if key not in ("width", "height")}  # which `size` sets
        yield {"camera": {"type": name, **own}}
    for name, case in lights.cases():
        yield {"light": {"type": name, **case}}
    for name, case in coats.cases():
        yield {"coat": {"type": name, **case}}
        yield {"coat": name}
    for name, case in coats.cases():
        yield {"coat": {"type": name, **case}}
    for name, case in tissues.cases():
        yield {"label_tissue": {"2": {"type": name, **case}}}


def shipped():
    for name, columns in PRESETS.items():
        yield {"ct": "sample", "preset": name, **SETTINGS.get(name, {})}
        yield {"variations": [v.model_dump(mode="json", exclude_defaults=True) for v in columns]}
    for name in RESPONSES:
        yield {"response": name}


def documented():
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            found = yaml.safe_load(block)
            if "tissue" in found:  # a part of a variation
                found = {"variations": [{"name": "x", "look": "pale_pink", **found}]}
            if set(found) & set(configure(ct="sample").model_dump()):
                yield found


@pytest.mark.parametrize("which", [registered, shipped, documented])
def test_what_can_be_written_is_allowed(schemas, which):
    given = [plain(one) for one in which()]
    assert given
    for one in given:
        schemas["render"].validate(one)


def test_networks_and_losses_are_allowed(schemas):
    for key, registry in (("model", models), ("loss", losses)):
        for name, case in registry.cases():
            schemas["train"].validate(plain({key: {"type": name, **case}}))
            schemas["train"].validate({key: name})
    schemas["train"].validate({"steps": 20, "augment": {"response": "scopes", "rotation": 10}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"veiws": 3},
        {"views": 0},
        {"preset": "paper5"},
        {"camera": {"type": "pinhole", "fovv": 90}},
        {"camera": "pinhol"},
        {"light": {"type": "endoscope", "mu": -1}},
        {"trajectory": {"jitter": {"uniformly": [0, 1]}}},
        {"variations": [{"name": "x", "look": "pale_blue"}]},
        {"label_tissue": {"2": "jelly"}},
        {"coat": "dry"},
        {"size": "wide"},
        {"response": {"target": 1000}},
        {"constraints": "camera.fov < 120"},
        {"variations": [{"name": "x", "look": "pale_pink", "constraints": "light.intensity < 2"}]},
    ],
)
def test_what_the_command_refuses_the_schema_refuses(schemas, wrong):
    with pytest.raises(UserError):
        configure(ct="sample", **wrong)
    with pytest.raises(jsonschema.ValidationError):
        schemas["render"].validate(plain(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "unett"},
        {"model": "unet:cues=true"},
        {"loss": "silog:variance_focus=0.85"},
        {"loss": {"type": "silog", "variance_focus": 2}},
        {"step": 3},
    ],
)
def test_of_training_too(schemas, wrong):
    with pytest.raises(UserError):
        validated(TrainConfig, wrong, "training configuration")
    with pytest.raises(jsonschema.ValidationError):
        schemas["train"].validate(wrong)


def test_another_kind_is_refused():
    done = CliRunner().invoke(main, ["schema", "rendr"])
    assert done.exit_code == 2
    assert "did you mean 'render'?" in done.output
