"""NIfTI in: scaling, orientation and units honoured; broken files refused."""

from __future__ import annotations

import gzip
import io

import nibabel as nib
import numpy as np
import pytest

from endorender.ct import CTError, load
from endorender.ct.anatomy.lumen import sample
from tests.ct.made import truth

SHAPE = (20, 18, 16)


def rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def affine_of(axes: np.ndarray, pitch=(2.0, 1.5, 2.5)) -> np.ndarray:
    """Centred on the origin."""
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(pitch)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) / 2)
    return affine


def field(affine: np.ndarray) -> np.ndarray:
    at = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return np.rint(truth(at @ affine[:3, :3].T + affine[:3, 3]))


def save(path, hu, affine, dtype=np.int16, unit="mm"):
    image = nib.Nifti1Image(hu.astype(dtype), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def refused(code, path, **kwargs) -> str:
    with pytest.raises(CTError) as caught:
        load(path, **kwargs)
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        np.diag([-1, -1, 1]),
        np.diag([-1, 1, 1]),
        np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]),
        rotation(0.3),
        rotation(0.3) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_same_hu_at_the_same_patient_point(tmp_path, axes, suffix):
    affine = affine_of(axes)
    volume = load(save(tmp_path / f"a{suffix}", field(affine), affine))
    assert volume.hu.dtype == np.int16
    points = volume.to_world(np.random.default_rng(0).uniform(0, 1, (300, 3)) * (np.array(SHAPE) - 1))
    assert np.abs(sample(volume, volume.hu.astype(float), points) - truth(points)).max() < 0.51
    assert volume.affine == pytest.approx(affine, abs=1e-4)


def test_slope_and_intercept_count(tmp_path):
    affine = affine_of(np.eye(3))
    hu = field(affine)
    image = nib.Nifti1Image(((hu + 1024) * 2).astype(np.int16), affine)
    image.header.set_slope_inter(0.5, -1024)
    raw = image.to_bytes()
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(raw))
    header["scl_slope"], header["scl_inter"] = 0.5, -1024
    (tmp_path / "a.nii").write_bytes(
        header.binaryblock + raw[348:352] + image.get_fdata().astype("<i2").tobytes(order="F")
    )
    assert np.array_equal(load(tmp_path / "a.nii").hu, hu)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1e-3), ("micron", 1e3), ("unknown", 1)])
def test_units(tmp_path, unit, factor):
    affine = affine_of(np.eye(3))
    scaled = affine.copy()
    scaled[:3] *= factor
    volume = load(save(tmp_path / "a.nii", field(affine), scaled, unit=unit))
    assert volume.spacing == pytest.approx([2, 1.5, 2.5], rel=1e-5)


def test_qform_alone_is_enough_and_none_is_said(tmp_path):
    affine = affine_of(rotation(0.3))
    image = nib.Nifti1Image(field(affine).astype(np.int16), affine)
    image.set_sform(None, code=0)
    image.set_qform(affine, code=1)
    nib.save(image, tmp_path / "q.nii")
    assert load(tmp_path / "q.nii").affine == pytest.approx(affine, abs=1e-3)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "none.nii")
    assert any("orientation" in w for w in load(tmp_path / "none.nii").warnings)


def test_forms_that_disagree_about_lengths(tmp_path):
    affine = affine_of(np.eye(3))
    image = nib.Nifti1Image(field(affine).astype(np.int16), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine @ np.diag([1.2, 1, 1, 1]), code=2)
    nib.save(image, tmp_path / "a.nii")
    refused("BAD_AFFINE", tmp_path / "a.nii")


def test_sheared_is_refused_and_straightened_on_demand(tmp_path):
    axes = np.eye(3)
    axes[1, 2] = 0.2
    affine = affine_of(axes, (2.0, 2.0, 2.0))
    path = save(tmp_path / "a.nii", field(affine), affine)
    assert "degrees" in refused("SHEARED", path)
    volume = load(path, resample=True)
    unit = volume.affine[:3, :3] / volume.spacing
    assert unit.T @ unit == pytest.approx(np.eye(3), abs=1e-9)
    at = np.random.default_rng(0).uniform(0.02, 0.98, (300, 3)) * (np.array(SHAPE) - 1)
    inside = at @ affine[:3, :3].T + affine[:3, 3]
    # The outermost voxels mix with the air beyond them.
    core = inside[np.all((at > 2) & (at < np.array(SHAPE) - 3), axis=1)]
    assert np.abs(sample(volume, volume.hu.astype(float), core) - truth(core)).max() < 1.1


def test_singular(tmp_path):
    affine = affine_of(np.eye(3))
    image = nib.Nifti1Image(field(affine).astype(np.int16), affine)
    header = image.header
    header["qform_code"] = 0
    header["srow_z"] = header["srow_y"]
    image.to_filename(tmp_path / "ok.nii")
    raw = bytearray((tmp_path / "ok.nii").read_bytes())
    raw[312:328] = raw[296:312]  # srow_z := srow_y
    raw[252:254] = b"\0\0"  # qform_code
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    refused("BAD_AFFINE", tmp_path / "a.nii")


def test_four_dimensions(tmp_path):
    affine = affine_of(np.eye(3))
    save(tmp_path / "a.nii", np.stack([field(affine)] * 3, axis=-1), affine)
    assert "20 x 18 x 16 x 3" in refused("NOT_3D", tmp_path / "a.nii")
    volume = load(save(tmp_path / "b.nii", field(affine)[..., None], affine))
    assert volume.shape == SHAPE


@pytest.mark.parametrize("keep", [0.9, 0.1, 0.01])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path, keep, suffix):
    affine = affine_of(np.eye(3))
    path = save(tmp_path / f"a{suffix}", field(affine), affine)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CTError) as caught:
        load(path)
    assert caught.value.code in ("TRUNCATED", "UNREADABLE")


def test_claimed_size_is_checked_before_it_is_read(tmp_path):
    affine = affine_of(np.eye(3))
    path = save(tmp_path / "a.nii", field(affine), affine)
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(bytes(raw))
    refused("TOO_LARGE", tmp_path / "a.nii.gz")


def test_non_finite_and_no_hu(tmp_path):
    affine = affine_of(np.eye(3))
    hu = field(affine)
    broken = hu.copy()
    broken[3, 4, 5] = np.nan
    refused("NON_FINITE", save(tmp_path / "nan.nii", broken, affine, np.float32))
    for name, values in {"unit": hu / 2000 + 0.5, "window": np.clip(hu, -160, 240), "offset": hu + 1024}.items():
        path = save(tmp_path / f"{name}.nii", values, affine, np.float32)
        refused("NOT_HU", path)
        assert load(path, assume_hu=True).shape == SHAPE


def test_fractions_stay_float(tmp_path):
    affine = affine_of(np.eye(3))
    volume = load(save(tmp_path / "a.nii", field(affine) + 0.25, affine, np.float64))
    assert volume.hu.dtype == np.float32
    assert volume.hu[3, 4, 5] == field(affine)[3, 4, 5] + 0.25


def test_padding_below_air_becomes_air(tmp_path):
    affine = affine_of(np.eye(3))
    hu = field(affine)
    hu[:4] = -2048
    volume = load(save(tmp_path / "a.nii", hu, affine))
    assert (volume.hu[:4] == -1024).all()
    assert "lowest -2048" in volume.warnings[0]
