"""Whatever stands in a configuration: it is taken, or refused in one line. Never a traceback."""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from endorender.dataset import configure
from endorender.errors import UserError
from endorender.registry import validated
from training.config import TrainConfig

WORDS = [
    "sample", "phantom:1", "deep_red", "pinhole", "endoscope", "hg", "type", "name", "fixed", "uniform", "sobol",
    "choice", "look", "tissue", "ct", "alias", "mucosa", "none", "a", "", "\0",
    "\udcff", "x" * 300, "1", "../x", "[", "*",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([0, 1, -1, 10**12]), st.floats(), st.sampled_from(WORDS)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.integers(), st.none()), inner, max_size=3),
    ),
    max_leaves=6,
)
WHOLE = {
    "ct": [{"ct": "sample", "alias": "a", "region": 1}, "phantom:1"],
    "preset": "paper4",
    "views": 2,
    "size": "64x48",
    "spp": 1,
    "seed": 3,
    "camera": {"type": "pinhole", "fov": {"uniform": [70, 90]}, "mask": "circle"},
    "light": {"type": "endoscope", "intensity": 3.0, "guides": [[1, 0, 0]]},
    "surface": "interface",
    "depth": ["surface", "median"],
    "response": {"contrast": 1.2, "full_well": 5000},
    "mucosa": {"type": "procedural", "film": 0.1},
    "trajectory": {"jitter": {"sobol": [0.1, 0.8]}},
    "constraints": ["camera.fov > 75"],
    "splits": {"train": ["a"], "test": ["p002"]},
    "variations": [
        {"name": "plain"},
        {
            "name": "b",
            "look": {"choice": ["deep_red", "pale_pink"]},
            "tissue": {"roughness": {"truncated": [0.1, 0.05, 0.02, 0.3]}},
            "response": {"target": {"normal": [120, 5]}},
            "light": {"mu": {"sobol": [0, 2]}},
            "mucosa": {"film": {"uniform": [0.05, 0.1]}},
        },
    ],
}  # fmt: skip
TRAINED = {
    "model": {"type": "unet", "width": 8},
    "loss": {"type": "gradient_matching", "base": "silog"},
    "augment": {"blur": 1.0},
    "lora": {"rank": 4},
    "variations": ["a"],
    "steps": 10,
    "schedule": "cosine",
    "device": "cpu",
}


def places(value, path=()):
    """Every place in a nested configuration."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*path, key))


def changed(whole, path, new, extra):
    """The configuration with another value at a place, or with a key more there."""
    if not path:
        return {**whole, extra: new}
    found = copy.deepcopy(whole)
    at = found
    for key in path[:-1]:
        at = at[key]
    if extra is not None and isinstance(at[path[-1]], dict):
        at[path[-1]][extra] = new
    else:
        at[path[-1]] = new
    return found


def taken_or_refused(build):
    try:
        build()
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 (it need not be raised)
        assert error.code  # noqa: PT017


@pytest.mark.parametrize(
    "text",
    [
        "ct: sample\ncamera: {type: {}}",
        "ct: [[sample]]",
        "ct: sample\ncamera: {type: pinhole, 3: 4}",
        "ct: sample\nresponse: {fixed: 1.0}",
        "ct: sample\nvariations: [{name: a, look: {fixed: [deep_red]}}]",
        "ct: sample\nvariations: [{name: a, look: deep_red, response: {fixed: 1.0}}]",
        "ct: sample\nviews: !!timestamp 2001-01-01",
        "ct: sample\ndenoise: !!bool maybe",
        "ct: sample\nvariations: [{name: a, tissue: {roughness: 0.2}}]",
        "ct: sample\nposes: 3",
        "? [a]\n: b",
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as refusal:
        configure(tmp_path / "c.yaml")
    assert "\n" not in str(refusal.value)


def test_a_configuration_that_is_whole_is_taken():
    assert len(configure(**WHOLE).columns) == 2
    validated(TrainConfig, TRAINED, "training configuration")


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(places(WHOLE))), ANYTHING, st.one_of(st.none(), st.sampled_from(WORDS)))
def test_any_value_at_any_place_of_a_dataset(path, new, extra):
    taken_or_refused(lambda: configure(**{str(k): v for k, v in changed(WHOLE, path, new, extra).items()}))


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(places(TRAINED))), ANYTHING, st.one_of(st.none(), st.sampled_from(WORDS)))
def test_any_value_at_any_place_of_a_training(path, new, extra):
    taken_or_refused(lambda: validated(TrainConfig, changed(TRAINED, path, new, extra), "training configuration"))


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(places(WHOLE))), ANYTHING, st.text(alphabet="!&*?:-[]{}<>|%@`'\"ab \n\t#", max_size=6))
def test_any_text_of_a_file(tmp_path_factory, path, new, noise):
    text = yaml.safe_dump(changed(WHOLE, path, new, None), allow_unicode=False)
    cut = len(text) // 2
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_text(text[:cut] + noise + text[cut:], encoding="utf-8", errors="replace")
    taken_or_refused(lambda: configure(file))
