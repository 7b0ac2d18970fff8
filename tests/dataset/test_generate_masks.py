"""Datasets of a part of the scan: labels with tissues of their own, an organ's mask, regions, fluid taken out."""

import hashlib

import numpy as np
import pytest

from endorender.dataset import configure, generate, open_dataset
from endorender.errors import Notice, UserError
from tests.dataset.made import contents
from tests.dataset.tubes import configuration, tube


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp("MUELLER_HANS") / "ct.nii.gz")


@pytest.fixture(scope="module")
def mask(ct):
    """The upper half of the tube's surroundings carries label 2."""
    import nibabel

    scan = nibabel.load(ct)
    labels = np.zeros(scan.shape, np.uint8)
    labels[:, 22:] = 2
    path = ct.parent / "MUELLER_mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, scan.affine), path)
    return path


BLUE = {"type": "custom", "albedo": [[0.1, 0.2, 0.9]] * 4}


def test_labels_change_the_light_and_nothing_else(ct, mask, tmp_path):
    values = {"labels": str(mask), "label_tissue": {2: BLUE}}
    root = generate(configuration(ct, views=1, **values), tmp_path / "out")
    labelled, plain = open_dataset(root), open_dataset(generate(configuration(ct, views=1), tmp_path / "plain"))
    digest = hashlib.sha256(mask.read_bytes()).hexdigest()
    for frame, other in zip(labelled.frames, plain.frames, strict=True):
        shape, same = frame.geometry(), other.geometry()
        assert all(shape[k].tobytes() == same[k].tobytes() for k in ("z_depth", "distance", "normal", "mask"))
        assert set(np.unique(shape["tissue"])) == {0, 2}
        assert not same["tissue"].any()
        assert frame.volume == {**other.volume, "labels_sha256": digest}
        if frame.variation == "synthetic":
            assert frame.files["image"].sha256 == other.files["image"].sha256
            assert "label_tissues" not in frame.scene
        else:
            assert len(frame.traced_with) == 4
            assert frame.scene["label_tissues"]["2"]["albedo"] == BLUE["albedo"]
            assert (frame.radiance()[..., 2] > frame.radiance()[..., 0]).mean() > 0.2
            assert (other.radiance()[..., 2] > other.radiance()[..., 0]).mean() < 0.05
    assert not [name for name, text in contents(root).items() if b"MUELLER" in text]
    # It goes on with the mask given again, and with no other.
    before = contents(root)
    (root / labelled.frames[1].files["image"].path).unlink()
    flags = {"ct": [str(ct)], "labels": (str(mask),)}
    generate(configure(begun=root, **flags), root, resume=True)
    assert contents(root) == before
    with pytest.raises(UserError, match="masks again with --labels"):
        configure(begun=root, ct=[str(ct)])
    import nibabel

    image = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), tmp_path / "other.nii.gz")
    (root / labelled.frames[1].files["image"].path).unlink()
    with pytest.raises(UserError, match="mask of p001 is not the one"):
        generate(configure(begun=root, ct=[str(ct)], labels=(str(tmp_path / "other.nii.gz"),)), root, resume=True)


def test_a_label_that_no_voxel_carries_is_said(ct, mask, tmp_path):
    config = configuration(ct, views=1, preset="synthetic", labels=str(mask), label_tissue={2: BLUE, 7: "deep_red"})
    with pytest.warns(Notice, match="carries label 7"):
        generate(config, tmp_path / "out")


def test_tagged_fluid_is_taken_out_where_it_is_asked_for(tmp_path):
    import nibabel

    from tests.ct.test_cleanse import colon

    wet = colon(-3.0)
    path = tmp_path / "wet.nii.gz"
    nibabel.save(nibabel.Nifti1Image(wet.hu, wet.affine), path)
    frames = {}
    for cleanse in (False, True):
        config = configuration(path, views=1, preset="synthetic", cleanse=cleanse)
        frames[cleanse] = open_dataset(generate(config, tmp_path / str(cleanse))).frames[0]
    assert "cleansed_ml" not in frames[False].volume["meta"]
    # The tube's lower part, a third of its cross-section, belongs to the lumen again.
    assert frames[True].volume["meta"]["cleansed_ml"] > 5
    assert frames[True].volume["ct_sha256"] == frames[False].volume["ct_sha256"]


@pytest.fixture
def two(tmp_path):
    """Two tubes side by side, of 13 and 8 mm radius, and a mask of many organs: 20 round the smaller, 6 the other."""
    import nibabel

    x, y, z = np.meshgrid(*map(np.arange, (70, 44, 64)), indexing="ij")
    tubes = np.minimum(np.hypot(x - 20, y - 22) - 13, np.hypot(x - 54, y - 22) - 8)
    hu = -1000 + 1040 * np.clip(0.5 + np.maximum(tubes, np.abs(z - 32) - 28), 0, 1)
    organs = np.where(x > 40, 20, 6).astype(np.uint8)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])  # which is resampled
    nibabel.save(nibabel.Nifti1Image(np.rint(hu[:, :, ::2]).astype(np.int16), affine), tmp_path / "MUELLER.nii.gz")
    nibabel.save(nibabel.Nifti1Image(organs[:, :, ::2], affine), tmp_path / "MUELLER_organs.nii.gz")
    return tmp_path / "MUELLER.nii.gz", tmp_path / "MUELLER_organs.nii.gz"


def across(root):
    """i of each camera: below 37 lies the larger tube."""
    return np.array([np.array(frame.world_from_camera)[0, 3] for frame in open_dataset(root).frames])


def test_a_mask_of_the_organ_says_where_to_fly(two, tmp_path):
    ct, organs = two
    options = {"views": 2, "preset": "synthetic"}
    assert (across(generate(configuration(ct, **options), tmp_path / "plain")) < 37).all()
    config = configuration(ct, label=f"{organs}:20", **options)
    assert config.public()["ct"][0]["label"] == [20]
    root = generate(config, tmp_path / "out")
    assert (across(root) > 37).all()
    digest = hashlib.sha256(organs.read_bytes()).hexdigest()
    assert all(frame.volume["label_sha256"] == digest for frame in open_dataset(root).frames)
    assert not [name for name, text in contents(root).items() if b"MUELLER" in text]
    # The same lumen by its number, with the mask and without: they are counted alike.
    by_number = generate(configuration(ct, region=2, **options), tmp_path / "number")
    np.testing.assert_array_equal(across(by_number), across(root))
    with pytest.raises(UserError, match="no region 1; the lumens are 2:"):
        generate(configuration(ct, label=f"{organs}:20", region=1, **options), tmp_path / "none")
    # It goes on with the mask given again, and with no other and no other label.
    before = contents(root)
    (root / open_dataset(root).frames[1].files["image"].path).unlink()
    again = {"begun": root, "ct": [str(ct)]}
    with pytest.raises(UserError, match="masks again with --label,"):
        configure(**again)
    with pytest.raises(UserError, match="begun with another configuration"):
        generate(configure(**again, label=(f"{organs}:6",)), root, resume=True)
    other = organs.with_name("other.nii.gz")
    import nibabel

    image = nibabel.load(organs)
    nibabel.save(nibabel.Nifti1Image(np.full(image.shape, 20, np.uint8), image.affine), other)
    with pytest.raises(UserError, match="mask of p001 is not the one"):
        generate(configure(**again, label=(f"{other}:20",)), root, resume=True)
    generate(configure(**again, label=(f"{organs}:20",)), root, resume=True)
    assert contents(root) == before


def test_several_regions_are_flown_as_one_patient(two, tmp_path):
    ct, _ = two
    root = generate(configuration(ct, views=5, preset="synthetic", region="2,1"), tmp_path / "out")
    flown = across(root)
    assert list(flown > 37) == sorted(flown > 37, reverse=True)
    assert 1 <= (flown > 37).sum() <= 4
    assert {frame.patient for frame in open_dataset(root).frames} == {"p001"}
    assert open_dataset(root).info["configuration"]["ct"][0]["region"] is None
    assert open_dataset(root).info["configuration"]["region"] == [2, 1]
    assert generate(configure(begun=root, ct=[str(ct)]), root, resume=True) == root
