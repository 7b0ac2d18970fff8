"""Kernels are ready before a patient is: warming up reads and compiles all that real views need."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from endorender.ct import open_ct

# In a process of its own: here other tests' kernels would be found ready.
RUN = """
import sys, warnings
from taichi.lang import kernel_impl
from endorender.dataset import configure
from endorender.dataset.patient import prepare
from endorender.dataset.warm_up import warm_up
from endorender.dataset.view import render_view
from endorender.render import init

options, warmed = eval(sys.argv[1]), sys.argv[2] == "warmed"
config = configure(ct="phantom:1", views=2, size="16x12", spp=1, **options)
names = tuple(v.name for v in config.columns)
init("cpu")
if warmed:
    warnings.simplefilter("error")  # it says nothing
    warm_up(config, names)
    warnings.simplefilter("default")

def late(tree, context):
    raise SystemExit(f"{context.func.func.__name__} was not ready")

kernel_impl.transform_tree = late
ready = prepare(config, "p001", None, lambda done, text: None)
made = list(render_view(ready.view(0), names, True, lambda done: None))
assert [m.row["variation"] for m in made] == list(names)
"""
EVERY = {
    "four looks": {},
    "volume, fisheye, two depths, denoised": {
        "surface": "volume", "mucosa": "none", "camera": "fisheye", "depth": "surface,median", "denoise": True,
        "preset": "clinical",
    },
    "what is drawn": {"preset": "randomized"},
    # Of this seed the warm-up's own first view is a fisheye, and the patient's a pinhole.
    "cameras of two kinds": {"preset": "synthetic", "seed": 7, "camera": {"choice": ["fisheye", "pinhole"]}},
    "under a sky": {"light": "envmap:map=studio", "variations": [{"name": "plain"}]},
}  # fmt: skip


def run(options, warmed):
    """The process, ended."""
    command = [sys.executable, "-c", RUN, repr(options), "warmed" if warmed else "cold"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_left_to_compile(name):
    done = run(EVERY[name], True)
    assert done.returncode == 0, done.stderr


def test_nor_for_labelled_and_chromatic_tissue(tmp_path):
    volume = open_ct("phantom:1")
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image((volume.hu > 0).astype(np.uint8), volume.affine), path)
    options = {"labels": [str(path)], "label_tissue": {1: "mucosa_physical"}}
    done = run(options, True)
    assert done.returncode == 0, done.stderr


def test_without_a_rehearsal_something_is():
    done = run({}, False)
    assert done.returncode == 1
    assert "was not ready" in done.stderr
