"""A dataset of a volume in memory: the frames of its file, which a dataset knows nothing of."""

import json

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
    generate(configure(begun=here, ct=[volume]), here, resume=True)
    for one, other in zip(open_dataset(there).frames, open_dataset(here).frames, strict=True):
        assert one.volume["voxels_sha256"] == other.volume["voxels_sha256"]
        assert {k: f.sha256 for k, f in one.files.items()} == {k: f.sha256 for k, f in other.files.items()}


def test_what_is_no_ct_is_refused():
    with pytest.raises(UserError, match="a Volume"):
        configure(ct=3.5, **OPTIONS)
    with pytest.raises(UserError, match="a Volume"):
        configure(ct=[None], **OPTIONS)
