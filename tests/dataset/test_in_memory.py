"""A dataset of a volume in memory: the frames of its file, which a dataset knows nothing of."""

import json

import numpy as np
import pytest

from endorender.ct import Volume, open_ct
from endorender.dataset import configure, generate, open_dataset
from endorender.errors import UserError
from tests.dataset.tubes import tube

OPTIONS = {"views": 2, "size": "16x12", "spp": 1, "preset": "synthetic"}


def test_frames_are_those_of_the_file_and_a_run_goes_on_with_the_volume_alone(tmp_path):
    path = tube(tmp_path / "ct.nii.gz")
    read = open_ct(str(path))
    volume = Volume.from_array(read.hu, read.affine)
    config = configure(ct=volume, **OPTIONS)
    there, here = generate(configure(ct=str(path), **OPTIONS), tmp_path / "file"), tmp_path / "memory"
    generate(config, here, only="p001/0001/synthetic")
    assert json.loads((here / "dataset.json").read_text())["configuration"]["ct"][0]["source"] == "memory"
    with pytest.raises(UserError, match="give the CTs again"):
        configure(begun=here)
    with pytest.raises(UserError, match="is not the one its finished frames"):
        generate(configure(ct=Volume.from_array(read.hu + 1, read.affine), **OPTIONS), here, resume=True)
    generate(configure(begun=here, ct=volume), here, resume=True)
    for one, other in zip(open_dataset(there).frames, open_dataset(here).frames, strict=True):
        assert one.volume["voxels_sha256"] == other.volume["voxels_sha256"]
        assert {k: f.sha256 for k, f in one.files.items()} == {k: f.sha256 for k, f in other.files.items()}


def test_what_is_no_ct_is_refused():
    with pytest.raises(UserError, match="a Volume"):
        configure(ct=3.5, **OPTIONS)
    with pytest.raises(UserError, match="a Volume"):
        configure(ct=[None], **OPTIONS)
    for ct in (np.zeros((4, 4, 4)), [np.zeros((4, 4, 4))], {"ct": np.zeros((4, 4, 4))}):  # where does it lie?
        with pytest.raises(UserError, match="Volume"):
            configure(ct=ct, **OPTIONS)


def test_poses_of_a_volume_alone_are_not_lost(tmp_path):
    """As they are for a path: a volume is one CT, in a list or not."""
    poses = np.tile(np.eye(4), (3, 1, 1))
    (tmp_path / "poses.json").write_text(
        json.dumps({"frames": [{"transform_matrix": pose.tolist()} for pose in poses]})
    )
    volume = Volume.from_array(np.full((4, 4, 4), -1000), spacing=(1, 1, 1))
    for ct in (volume, [volume]):
        config = configure(ct=ct, poses=str(tmp_path / "poses.json"), size="16x12", preset="synthetic")
        assert len(config.ct[0].poses) == config.views == 3


@pytest.mark.parametrize(("asked", "code"), [({"series": "2"}, "NO_SERIES"), ({"phase": 0}, "NO_PHASE")])
def test_a_volume_has_one_series_and_one_phase_which_is_not_the_zeroth(asked, code, tmp_path):
    volume = Volume.from_array(np.full((4, 4, 4), -1000), spacing=(1, 1, 1))
    with pytest.raises(UserError) as said:
        generate(configure(ct={"ct": volume, **asked}, **OPTIONS), tmp_path / "data")
    assert said.value.code == code
