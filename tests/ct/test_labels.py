"""Masks of labels: accepted on the CT's own grid however it is stored, refused on any other."""

import hashlib

import nibabel as nib
import numpy as np
import pytest

from endorender.ct import CTError, Volume, isotropic, onto, read_mask

AFFINE = np.array([[0.7, 0, 0, -20], [0, 0.7, 0, 11], [0, 0, 2.0, -300], [0, 0, 0, 1.0]])
SHAPE = (9, 7, 5)


@pytest.fixture
def ct():
    return Volume(np.zeros(SHAPE, np.int16), AFFINE)


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def write(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_arrive_with_the_files_hash(ct, labels, dtype, tmp_path):
    file = write(tmp_path / "mask.nii.gz", labels.astype(dtype))
    found, digest = read_mask(file, ct)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_same_grid_stored_otherwise_is_the_same_mask(ct, labels, tmp_path):
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, SHAPE[1] - 1
    turned = (AFFINE @ flip)[:, [2, 0, 1, 3]]
    file = write(tmp_path / "mask.nii", np.ascontiguousarray(labels[:, ::-1].transpose(2, 0, 1)), turned)
    np.testing.assert_array_equal(read_mask(file, ct)[0], labels)


def shifted(mm):
    out = AFFINE.copy()
    out[0, 3] += mm
    return out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v, p: write(p, v[:-1]), "it is 8 x 7 x 5 voxels, the scan 9 x 7 x 5"),
        (lambda v, p: write(p, np.stack([v, v], -1)), "is 9 x 7 x 5 x 2, not one 3-D volume"),
        (lambda v, p: write(p, v, shifted(0.35)), "up to 0.5 voxels off"),
        (lambda v, p: write(p, v, AFFINE @ np.diag([1, 1, 1.5, 1])), "up to 2 voxels off"),
        (lambda v, p: write(p, v.astype(np.int16) * 200), "whole numbers from 0 to 255"),
        (lambda v, p: write(p, v.astype(np.float32) + 0.25), "whole numbers from 0 to 255"),
        (lambda v, p: write(p, np.where(v > 2, np.nan, v).astype(np.float32)), "whole numbers from 0 to 255"),
        (lambda v, p: p.write_bytes(b"no mask"), "the label mask cannot be read"),
        (lambda v, p: None, "the path of the label mask cannot be opened"),
    ],
)
def test_other_masks_are_refused_in_one_line(ct, labels, make, words, tmp_path):
    make(labels, tmp_path / "mask.nii")
    with pytest.raises(CTError, match=words) as error:
        read_mask(tmp_path / "mask.nii", ct)
    assert "\n" not in str(error.value)


def test_labels_follow_the_volume_onto_another_grid(ct, labels):
    """The label of every new voxel is that of the old voxel nearest to it in the patient."""
    grid = isotropic(ct)
    cut = Volume(grid.hu[2:, 1:, 3:], grid.affine.copy())
    cut.affine[:3, 3] = grid.to_world(np.array([2.0, 1.0, 3.0]))
    found = onto(labels, ct, cut)
    assert found.shape == cut.shape
    assert found.dtype == np.uint8
    index = ct.to_voxel(cut.to_world(np.stack(np.indices(cut.shape), -1).astype(float)))
    clear = (np.abs(index - np.floor(index) - 0.5) > 1e-6).all(-1)
    nearest = np.clip(np.floor(index + 0.5).astype(int), 0, np.array(SHAPE) - 1)
    np.testing.assert_array_equal(found[clear], labels[tuple(nearest[clear].T)])
    assert clear.mean() > 0.8
    # Nothing is known outside, and turned axes are looked up just the same.
    away = Volume(np.zeros((4, 4, 4), np.int16), ct.affine @ np.diag([-1, 1, 1, 1]))
    assert not onto(labels, ct, away)[1:].any()
    turned = Volume(np.zeros((5, 9, 7), np.int16), ct.affine[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(onto(labels, ct, turned), labels.transpose(2, 0, 1))
