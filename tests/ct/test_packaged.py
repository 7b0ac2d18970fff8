"""The files that pydicom and nibabel bring along for their own tests: none loads wrongly, none makes a traceback."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from endorender.ct import CODES, CTError, load
from endorender.ct.dicom.decoder import kept
from endorender.ct.files import quiet

DICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIFTI = Path(nibabel.__file__).parent / "tests" / "data"


@kept()
def outcomes(root: Path) -> Counter:
    found: Counter = Counter()
    for file in sorted(f for f in root.rglob("*") if f.is_file()):
        refusal = None
        try:
            load(file)
        except CTError as error:
            refusal = error
        if refusal is not None:
            assert "\n" not in str(refusal)
        found[refusal.code if refusal else file.name] += 1
    return found


def test_none_of_pydicoms_single_files_is_a_volume(capfd):
    found = outcomes(DICOM)
    print(found)
    assert set(found) <= set(CODES)
    assert found["TOO_FEW_SLICES"] >= 10  # one CT slice each
    assert sum(found.values()) > 150


@pytest.mark.parametrize(
    ("folder", "code"), [("77654033/CT2", "MISSING_SLICE"), ("98892003", "NO_CT"), ("", "SERIES_AMBIGUOUS")]
)
def test_folders_of_pydicom(folder, code):
    with pytest.raises(CTError) as caught:
        load(DICOM / "dicomdirtests" / folder)
    assert caught.value.code == code


def test_the_one_whole_series_of_pydicom_comes_out_as_it_is_stored():
    volume = load(DICOM / "dicomdirtests" / "98892001")
    with quiet():
        slices = [pydicom.dcmread(f) for f in (DICOM / "dicomdirtests" / "98892001" / "CT5N").iterdir()]
    assert len(slices) == volume.shape[2]
    for ds in slices:
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        lps = np.array(ds.ImagePositionPatient, float)
        corner = volume.to_voxel(lps * [-1, -1, 1])
        assert np.abs(corner - np.rint(corner)).max() < 1e-3
        k = int(np.rint(corner[2]))
        assert np.array_equal(volume.hu[:, :, k], np.maximum(hu, -1024).T)


def test_none_of_nibabels_files_is_a_ct():
    found = outcomes(NIFTI)
    print(found)
    assert set(found) <= set(CODES)
    assert {"NOT_3D", "NOT_HU", "NON_FINITE"} <= set(found)
