"""Volumes that other libraries hold: the same voxels in the same place as from a file, and nothing else taken over."""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from endorender.ct import Volume, load, open_ct
from endorender.ct.resample import isotropic
from endorender.errors import UserError
from tests.dataset.tubes import tube

# Turned about the head's axis, mirrored, of unequal pitch and out of centre: whatever goes astray shows.
AFFINE = np.array([[-0.6, 0.4, 0, 12], [0.8, 0.3, 0, -7], [0, 0, -1.5, 30], [0, 0, 0, 1.0]])
HU = np.random.default_rng(3).integers(-1024, 1500, (5, 6, 7)).astype(np.int16)


@pytest.fixture
def file(tmp_path):
    nibabel.save(nibabel.Nifti1Image(HU, AFFINE), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def same(one, other):
    np.testing.assert_array_equal(one.hu, other.hu)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    assert one.hu.dtype == other.hu.dtype
    assert one.hu.flags.c_contiguous


def test_an_array_with_its_affine_or_spacing():
    same(Volume.from_array(HU.astype(np.int64), AFFINE), Volume(HU, AFFINE))
    assert Volume.from_array(HU.astype(float) + 0.5, AFFINE).hu.dtype == np.float32
    even = Volume.from_array(HU.tolist(), spacing=(0.5, 0.6, 2))
    assert even.to_world(np.array([2, 2, 2.0])).tolist() == [1.0, 1.2, 4.0]


def test_an_affine_of_whole_numbers_is_resampled_and_cropped_as_any():
    whole = Volume.from_array(HU, np.diag([1, 1, 3, 1]))
    same(isotropic(whole, 0.5), isotropic(Volume.from_array(HU, np.diag([1.0, 1, 3, 1])), 0.5))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hu": [[1, 2], [3]]}, "hu is nothing that numpy takes"),
        ({"hu": np.full((3, 3, 3), 1e300)}, "finite"),
        ({"hu": np.full((3, 3, 3), np.nan)}, "finite"),
        ({"hu": HU > 0}, "whole or real numbers"),
        ({"hu": np.ma.masked_less(HU, -900)}, "masked"),
        ({"spacing": ("a", 1, 1)}, "three positive"),
        ({"spacing": (1, [2], 3)}, "nothing that numpy takes"),
        ({"spacing": (1, -1, 1)}, "three positive"),
    ],
)
def test_what_is_no_volume_is_refused(values, said):
    with pytest.raises(UserError, match=said):
        Volume.from_array(**{"hu": HU, "spacing": (1, 1, 1)} | values)


def test_a_tensor_of_a_network_is_taken_as_it_is():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(HU.astype(np.float32)).requires_grad_()
    same(Volume.from_array(tensor, torch.from_numpy(AFFINE)), Volume(HU.astype(np.float32), AFFINE))
    same(Volume.from_torchio(SimpleNamespace(data=tensor, affine=AFFINE)), Volume(HU.astype(np.float32), AFFINE))
    with pytest.raises(UserError, match="BFloat16"):
        Volume.from_array(tensor.to(torch.bfloat16), AFFINE)


def test_an_image_of_simpleitk(file):
    sitk = pytest.importorskip("SimpleITK")
    same(Volume.from_sitk(sitk.ReadImage(str(file))), load(file))


def test_tensors_with_an_affine(file):
    torch = pytest.importorskip("torch")

    class Meta(torch.Tensor):  # what MONAI's MetaTensor is
        affine = torch.from_numpy(AFFINE)

    channels = torch.from_numpy(HU)[None].to(torch.float32)
    there = Volume(HU.astype(np.float32), AFFINE)
    same(Volume.from_monai(channels.as_subclass(Meta)), there)
    same(Volume.from_monai(channels[0].as_subclass(Meta)), there)
    same(Volume.from_torchio(SimpleNamespace(data=channels, affine=AFFINE)), there)
    with pytest.raises(UserError, match="no data or no affine"):
        Volume.from_torchio(channels)
    with pytest.raises(UserError, match=r"\(I, J, K\)"):  # two channels are no CT
        Volume.from_torchio(SimpleNamespace(data=torch.cat([channels, channels]), affine=AFFINE))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give affine"),
        ({"affine": AFFINE, "spacing": (1, 1, 1)}, "give affine"),
        ({"spacing": (1, 0, 1)}, "three positive numbers"),
        ({"spacing": 1.0}, "three positive numbers"),
        ({"affine": AFFINE @ np.diag([0.01, 0.01, 0.01, 1])}, "is it in millimetres"),
    ],
)
def test_what_places_it_nowhere_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        Volume.from_array(HU, **given)


def test_a_volume_is_opened_as_it_is(tmp_path):
    path = tube(tmp_path / "ct.nii.gz")
    read = open_ct(path)
    there = open_ct(Volume.from_array(np.asfortranarray(read.hu), read.affine))
    same(there, read)
    with pytest.raises(UserError, match="a volume in memory"):
        open_ct(read, series="2")
