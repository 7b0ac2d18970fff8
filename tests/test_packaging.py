"""What is packed: a source distribution that can test itself, a wheel with all that the package opens at run time."""

import configparser
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import endorender

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == endorender.__version__
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)


ON_CONDA = {"openexr": "openexr-python", "matplotlib": "matplotlib-base"}


def test_the_conda_recipe_asks_for_what_setup_cfg_does():
    text = (ROOT / "conda" / "meta.yaml").read_text()
    pattern = re.search(r"regex_pattern='(.+?)'", text)[1]
    version = re.search(pattern, (ROOT / "endorender" / "__init__.py").read_text())[1]
    assert version == endorender.__version__
    plain = re.sub(r"\{%.*?%\}", "", text).replace("{{ version }}", version).replace("{{ PYTHON }}", "python")
    recipe = yaml.safe_load(plain)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = {f"python {setup['options']['python_requires']}"} | set(setup["options"]["install_requires"].split("\n"))
    asked = {re.sub(r"[ ]", "", line).lower() for line in wanted if line}
    asked = {re.sub(r"^[a-z-]+", lambda name: ON_CONDA.get(name[0], name[0]), line) for line in asked}
    assert {line.replace(" ", "") for line in recipe["requirements"]["run"]} == asked
    assert recipe["build"]["entry_points"] == setup["options.entry_points"]["console_scripts"].strip().splitlines()


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("only in a git checkout it is known what belongs to the sources")
    return done.stdout.splitlines()


@pytest.mark.slow  # builds both, half a minute
def test_both_distributions_hold_everything(tmp_path):
    files = tracked()
    clone = tmp_path / "clone"
    for name in files:  # not what lies about in a checkout
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes((ROOT / name).read_bytes())
    code = (
        "from setuptools import build_meta as b; import sys\n"
        "out = sys.argv[1]\nprint(b.build_sdist(out), b.build_wheel(out))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sources:
        inside = {name.partition("/")[2] for name in sources.getnames()}
    assert {name for name in files if not name.startswith(".")} <= inside
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
        about = wheel.read(next(n for n in inside if n.endswith("METADATA"))).decode()
    packages = ("endorender/", "training/", "cli/")
    assert {name for name in files if name.startswith(packages) and not name.endswith("make_maps.py")} <= inside
    assert not [name for name in inside if not name.startswith((*packages, "endorender-"))]
    assert "Author: The endorender developers" in about
