"""No command writes over what it reads, and none leaves half a file."""

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import yaml

from endorender.outputs import refuse_over, whole
from tests.cli.test_main import mistake, run
from tests.ct import made
from tests.ct.test_lumen import tube
from tests.dataset.made import contents


@pytest.fixture
def clinic(tmp_path):
    volume = tube()
    nib.save(nib.Nifti1Image(volume.hu, volume.affine), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(volume.shape, np.uint8), volume.affine), tmp_path / "mask.nii.gz")
    made.series(tmp_path / "series")
    (tmp_path / "link.png").symlink_to(tmp_path / "scan.nii.gz")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(b"a photograph")
    (tmp_path / "case.yaml").write_text("camera: {type: pinhole}\n")
    (tmp_path / "poses.json").write_text("[]")
    (tmp_path / "other.poses.json").write_text("[]")
    return tmp_path


def test_nothing_that_is_read_is_overwritten(clinic):
    scan, mask, slices = clinic / "scan.nii.gz", clinic / "mask.nii.gz", sorted((clinic / "series").iterdir())
    fit = ("fit", "--ct", scan, "--images", clinic / "pictures", "--camera", clinic / "case.yaml")
    before = contents(clinic)
    for words in (
        ("inspect", scan, "--preview", scan),
        ("inspect", scan, "--preview", clinic / "link.png"),
        ("inspect", scan, "--cleanse", clinic / "series" / ".." / "scan.nii.gz"),
        ("inspect", scan, "--label", f"{mask}:1", "--preview", mask),
        ("inspect", clinic / "series", "--preview", slices[0]),
        (*fit, "--out", clinic / "case.yaml"),
        (*fit, "--poses", clinic / "poses.json", "--out", clinic / "poses.yaml"),  # beside it: poses.json
        (*fit, "--poses", clinic / "other.poses.json", "--out", clinic / "other.yaml"),
        (*fit, "--label", mask, "--out", mask),
        (*fit, "--out", clinic / "pictures" / "0.png"),
    ):
        assert "written over what is read" in mistake(*words), words
        assert contents(clinic) == before
    assert "end it in .yaml" in mistake(*fit, "--out", clinic / "new.json")
    assert contents(clinic) == before
    done = run("inspect", scan, "--preview", clinic / "pictures" / "new.png")
    assert done.exit_code == 0, done.output
    assert (clinic / "pictures" / "new.png").read_bytes()[1:4] == b"PNG"


def test_files_are_whole_or_not_there(tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.yaml"
    one.write_text("before")

    def breaks_off():
        with whole(one, two) as parts:
            parts[0].write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks_off()
    assert contents(tmp_path) == {"one.png": b"before"}
    with whole(one, two) as parts:
        for part in parts:
            part.write_text(yaml.safe_dump({"whole": True}))
        assert one.read_text() == "before"
    assert contents(tmp_path) == dict.fromkeys(("one.png", "two.yaml"), b"whole: true\n")


def test_what_is_not_there_overwrites_nothing(tmp_path):
    refuse_over((None, tmp_path / "new", "\0", "x" * 5000), ("sample", "phantom:3", None, tmp_path, "\0"))


def test_what_a_dead_process_left_is_swept_whatever_its_ending(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [tmp_path / f".tissue.{dead.pid}.part.yaml", tmp_path / f".tissue.yaml.{dead.pid}.part"]
    others = [tmp_path / f".tissue.{dead.pid}.part.json", tmp_path / f".tissue.{os.getppid()}.part.yaml"]
    for path in (*left, *others):
        path.write_text("half")
    with whole(tmp_path / "tissue.yaml") as (part,):
        part.write_text("whole")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)  # another file's, and of a process that lives
    assert (tmp_path / "tissue.yaml").read_text() == "whole"
