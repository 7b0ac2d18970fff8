"""From a scan full of names to a report: what is planted in header, masks and paths is in no file and no line."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from endorender.ct import load
from endorender.ct.files import quiet
from tests.cli.test_main import mistake, run
from tests.ct import made
from tests.ct.test_privacy import SECRETS, WORD, plant


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A tube that is half full of tagged fluid, as DICOM, and two masks of it as NIfTI."""
    root = tmp_path_factory.mktemp("clinic") / f"{WORD}^JANE"
    x, y, z = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (44, 44, 64)), indexing="ij")
    hu = np.where((np.hypot(x - 22, y - 22) < 13) & (z > 4) & (z < 60), np.where(y > 30, 550.0, -1000.0), 40.0)
    hu = np.rint(ndimage.gaussian_filter(hu, 0.7))
    uid = made.new_uid()
    (root / "ct").mkdir(parents=True)
    with quiet():
        for n in range(hu.shape[2]):
            ds = made.dataset(hu[:, :, n].T, uid)
            ds.ImagePositionPatient = [0, 0, n]
            ds.ImageOrientationPatient, ds.PixelSpacing = list(made.AXIAL), [1, 1]
            plant(ds, n if n < 2 else 1)
            ds.save_as(root / "ct" / f"{WORD}{n}.dcm", enforce_file_format=True)
    scan = load(root / "ct")
    for name, labels in {"lumen": scan.hu < -300, "all": np.where(scan.hu < -300, 0, 2)}.items():
        mask = nib.Nifti1Image(labels.astype(np.uint8), scan.affine)
        mask.header["descrip"] = mask.header["aux_file"] = mask.header["db_name"] = WORD.encode()
        mask.header.extensions.append(nib.nifti1.Nifti1Extension("comment", WORD.encode() * 99))
        nib.save(mask, root / f"{WORD}_{name}.nii.gz")
    return root


def done(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


def test_nothing_of_a_patient_leaves_the_reader(clinic, tmp_path, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    scan, lumen, everything = clinic / "ct", clinic / f"{WORD}_lumen.nii.gz", clinic / f"{WORD}_all.nii.gz"
    told = [
        done(*words)
        for words in (
            ("inspect", scan, "--label", lumen, "--cleanse", "cleansed.png", "--preview", "planes.png"),
            ("inspect", scan, "--label", lumen, "--json", "--scope", "9"),
            ("render", "--ct", scan, "--labels", everything, "--label-tissue", "2=deep_red", "--out", "frames")
            + ("--views", "2", "--size", "32x24", "--spp", "1", "--preset", "paper4"),
            ("render", "--ct", scan, "--out", "frames", "--dry-run", "--size", "32x24", "--spp", "1"),
            ("verify", "frames"),
            ("export", "frames", "--layout", "c3vd", "--out", "exported"),
            ("train", "frames", "--out", "run", "--steps", "2", "--batch", "2"),
            ("evaluate", "run", "--data", "frames", "--split", "train", "--out", "evaluation"),
            ("report", "evaluation", "--out", "report"),
        )
    ]
    refused = [
        mistake("render", "--ct", scan, "--ct", clinic / f"{WORD}.nii", "--out", "other"),
        mistake("render", "--ct", scan, "--labels", clinic / "ct" / f"{WORD}0.dcm", "--out", "other"),
        mistake("inspect", scan, "--label", scan),
    ]
    captured = capfd.readouterr()
    said = "".join(r.output for r in told) + captured.out + captured.err + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 40
    for secret in SECRETS:
        assert secret not in said
        for path in files:
            assert secret.encode() not in path.read_bytes(), path
            assert secret not in str(path.relative_to(tmp_path))
    # Nor does a mistake repeat what was typed: tests/cli/test_paths.py has all of them.
    for line in refused:
        assert not any(secret in line for secret in SECRETS), line
