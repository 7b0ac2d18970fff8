"""A dataset as torch code of others reads it."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from endorender.dataset import open_dataset
from endorender.dataset.layouts import export
from endorender.errors import UserError
from tests.dataset.sphere import make, same_points
from training.views import torch_frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(make(tmp_path_factory.mktemp("view") / "frames"))


def test_items_are_the_frames_depth_at_their_place_in_the_world(data):
    view = torch_frames(data.root, split="val", variations=["red"])
    frames = data.select(split="val", variations=["red"])
    assert len(view) == len(frames) == 3
    for item, frame in zip((view[n] for n in range(len(view))), frames):
        assert item["id"] == frame.id
        np.testing.assert_array_equal((item["image"] * 255).round().numpy(), frame.image().transpose(2, 0, 1))
        z, k, pose = item["z_depth"][0].double(), item["K"].double(), item["world_from_camera"].double()
        v, u = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in z.shape), indexing="ij")
        rays = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.linalg.inv(k).T
        points = (z[..., None] * rays) @ pose[:3, :3].T + pose[:3, 3]
        points[~item["mask"][0]] = torch.nan
        assert same_points(points.numpy(), frame) < 1e-3


def test_a_loader_of_torch_stacks_them(data):
    loader = DataLoader(torch_frames(data, cache_mb=0), batch_size=6, num_workers=0)
    batches = list(loader)
    assert [len(b["id"]) for b in batches] == [6, 6, 6]
    shapes = {key: tuple(value.shape) for key, value in batches[0].items() if key != "id"}
    assert shapes == {
        "image": (6, 3, 24, 32),
        "z_depth": (6, 1, 24, 32),
        "mask": (6, 1, 24, 32),
        "K": (6, 3, 3),
        "world_from_camera": (6, 4, 4),
    }
    assert [name for b in batches for name in b["id"]] == [f.id for f in data.frames]


def test_other_peoples_layouts_too_and_without_poses_they_are_nan(data, tmp_path):
    out = export(data, "simcol3d", tmp_path / "out", variations=["red"])
    first = torch_frames(f"simcol3d@{out}")[0]
    frame = data.select(patients=["p001"], variations=["red"])[0]
    np.testing.assert_allclose(first["world_from_camera"], np.array(frame.world_from_camera), atol=1e-4)
    for poses in out.rglob("Saved*.txt"):
        poses.unlink()
    without = torch_frames(f"simcol3d@{out}")[0]
    assert without["world_from_camera"].isnan().all()
    assert torch.equal(without["z_depth"], first["z_depth"])


def test_a_name_that_no_frame_has_is_told(data):
    with pytest.raises(UserError, match="no variation of the dataset is called 'green'"):
        torch_frames(data, variations=["green"])
