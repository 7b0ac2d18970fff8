"""Whom to cite: always the program and the study, and whoever gave the scan or the sky of a dataset."""

import re

import pytest
from click.testing import CliRunner

from cli.main import main
from endorender import __version__
from endorender.dataset import configure, generate
from endorender.dataset.citing import cite, entries


def keys(texts):
    return [re.match(r"@\w+\{(\w+),", text)[1] for text in texts]


def test_the_program_alone():
    assert keys(cite()) == ["endorender", "mahmood2018"]
    assert f"Version {__version__}," in cite()[0]
    assert all(text.count("{") == text.count("}") for text in entries().values())


@pytest.mark.filterwarnings("ignore::endorender.errors.Notice")  # a sky lights nothing in a closed colon
@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"ct": "phantom:1"}, []),
        ({"ct": "sample"}, ["armato2015", "clark2013"]),
        ({"ct": "phantom:1", "light": "envmap:map=studio"}, ["hdrihaven"]),
    ],
)
def test_what_a_dataset_was_rendered_from(given, more, tmp_path):
    generate(configure(**given, preset="synthetic", views=1, size="8x8", spp=1), tmp_path / "frames")
    done = CliRunner().invoke(main, ["cite", str(tmp_path / "frames")])
    assert done.exit_code == 0, done.output
    assert keys(re.findall(r"^@.*?\}\}$", done.stdout, re.M | re.S)) == ["endorender", "mahmood2018", *more]


def test_what_is_no_dataset_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["cite", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
