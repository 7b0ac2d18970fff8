"""What is packed: a source distribution that can test itself, a wheel with all that the package opens at run time."""

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
