"""Optical flow and occlusion, against scenes that are known in closed form; and the check that uses them."""

import itertools
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.ct.volume import Volume
from endorender.dataset import configure, flow, generate, open_dataset
from endorender.dataset.consistency import check_geometry, reproject
from endorender.dataset.writer import row
from endorender.errors import UserError
from endorender.render import geometry
from endorender.render.depth.visibility import hidden
from endorender.scene import Endoscope, Scene, cameras
from tests.dataset.sphere import BALL, BALL_AT, hit, make, poses
from tests.dataset.tubes import tube

CAMERAS = [
    "pinhole:fov=80",
    "fisheye:fov=150,k1=-0.02",
    "brown_conrady:fov=75,k1=-0.2,k2=0.03,p1=0.001",
    "scaramuzza:mask=octagon",
    "thin_lens:fov=70",
]


def build(spec, width=40, height=32):
    from endorender.dataset.spec import parse_spec

    return cameras.build({**parse_spec(spec), "width": width, "height": height})


@pytest.mark.parametrize("spec", CAMERAS)
def test_flow_lands_on_the_pixel_whose_ray_meets_the_same_point(spec):
    """The other way round: along the ray of the pixel at which the flow ends lies the point where it began."""
    camera, (one, two) = build(spec), poses(2, seed=4)
    directions = camera.unproject(camera.pixels()) @ one[:3, :3].T
    distance = hit(one[:3, 3], directions)[0]
    points = one[:3, 3] + distance[..., None] * directions
    found = flow.optical_flow(distance, camera, one, camera, two)
    ends = camera.pixels() + found
    inside = flow.in_picture(ends, camera)
    assert inside.mean() > 0.5
    rays = camera.unproject(ends[inside]) @ two[:3, :3].T
    towards = points[inside] - two[:3, 3]
    off = np.linalg.norm(np.cross(rays, towards), axis=-1)
    assert off.max() < 1e-3  # mm
    assert ((rays * towards).sum(-1) > 0).all()


def test_flow_of_a_pinhole_by_its_formula():
    camera, (one, two) = build("pinhole:fov=80"), poses(2, seed=1)
    distance, _ = hit(one[:3, 3], camera.unproject(camera.pixels()) @ one[:3, :3].T)
    found = flow.optical_flow(distance, camera, one, camera, two)
    f = 20 / np.tan(np.radians(40))
    v, u = np.mgrid[:32, :40]
    ray = np.stack([(u - 19.5) / f, (v - 15.5) / f, np.ones((32, 40))], -1)
    x = (ray / np.linalg.norm(ray, axis=-1, keepdims=True) * distance[..., None]) @ one[:3, :3].T + one[:3, 3]
    y = (x - two[:3, 3]) @ two[:3, :3]
    expected = np.stack([f * y[..., 0] / y[..., 2] + 19.5 - u, f * y[..., 1] / y[..., 2] + 15.5 - v], -1)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found).max() > 1
    np.testing.assert_allclose(flow.optical_flow(distance, camera, one, camera, one), 0, atol=1e-9)


def hollow():
    """The hollow of tests/dataset/sphere.py, half as large, with its ball, as a CT of 0.5 mm."""
    at = np.stack(np.meshgrid(*[np.arange(72) * 0.5 - 17.75] * 3, indexing="ij"), -1)
    depth = np.maximum(np.linalg.norm(at, axis=-1) - 15, BALL / 2 - np.linalg.norm(at - BALL_AT / 2, axis=-1))
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -17.75
    return Volume(np.clip(depth * 400 - 550, -1000, 100).astype(np.int16), affine)


@pytest.mark.parametrize("spec", ["pinhole:fov=80", "fisheye:fov=150"])
def test_occlusion_is_what_the_ball_hides(spec):
    camera = build(spec)
    one, two = np.eye(4), np.eye(4)
    two[:3, 3] = (-3.0, 1.0, 2.0)
    scene = Scene(hollow(), camera, one, (Endoscope(),), threshold=-550.0)
    after = scene.with_(world_from_camera=two)
    seen = geometry(scene)
    found = flow.channels(scene, after, seen)
    # In closed form, at twice the size: sphere.py's hollow has a radius of 30.
    directions = camera.unproject(camera.pixels())
    distance = hit(np.zeros(3), directions)[0] / 2
    assert (np.abs(seen.distance - distance) > 0.1).mean() < 0.02  # along the ball's edge it is one or the other
    points = distance[..., None] * directions
    to = points - two[:3, 3]
    reach = np.linalg.norm(to, axis=-1)
    met = hit(2 * two[:3, 3], to / reach[..., None])[0] / 2
    blocked = met < reach - 0.1
    uv = camera.project(to)
    out = ~((uv > -0.5).all(-1) & (uv < (39.5, 31.5)).all(-1))
    expected = blocked | out
    assert blocked.sum() > 8
    wrong = (found["occlusion.V"] > 0.5) != expected
    # The voxels' ball is not quite round: along its edge and that of the picture pixels may differ.
    assert wrong.sum() <= 0.25 * blocked.sum()
    same = ~expected & ~wrong
    off = np.abs(np.stack([found["flow.U"], found["flow.V"]], -1) - (uv - camera.pixels()))[same]
    assert np.median(off) < 0.02
    assert np.array_equal(hidden(scene, points[None]), np.zeros((1, 32, 40), bool))


def test_the_end_of_a_trajectory_has_no_flow():
    camera = build("pinhole:fov=80", 16, 12)
    scene = Scene(hollow(), camera, np.eye(4), (Endoscope(),), threshold=-550.0)
    assert all(np.isnan(c).all() for c in flow.channels(scene, None, geometry(scene)).values())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    ct = tube(folder / "ct.nii.gz")
    config = configure(ct=str(ct), views=6, size="24x18", spp=1, preset="synthetic", trajectory={"roll": 2})
    return generate(config, folder / "data")


def test_a_dataset_holds_flow_that_leads_to_the_next_view(rendered):
    frames = open_dataset(rendered).frames
    for one, two in itertools.pairwise(frames):
        found = one.flow()
        assert found["flow"].shape == (18, 24, 2)
        camera = cameras.build(one.camera)
        g = one.geometry()
        expected = flow.optical_flow(
            g["distance"].astype(float), camera, one.world_from_camera, camera, two.world_from_camera
        )
        np.testing.assert_allclose(found["flow"], expected, atol=1e-3)
        # What is not occluded lands in the picture, on the surface that the next view sees there.
        residual, landed, _ = reproject(one, two)
        seen = ~found["occlusion"]
        assert landed[seen].all()
        assert seen.any()
        assert np.median(np.abs(residual[seen])) < 0.05
    last = frames[-1].flow()
    assert np.isnan(last["flow"]).all()
    assert last["occlusion"].all()


def test_check_geometry_of_sound_data(rendered, tmp_path):
    found = check_geometry(open_dataset(rendered))
    assert found["ok"]
    assert found["patients"]["p001"]["pairs"] == 5
    assert found["patients"]["p001"]["depth_mm"]["median"] < 0.05
    done = CliRunner().invoke(main, ["check-geometry", str(rendered)])
    assert done.exit_code == 0, done.output
    assert "fit together" in done.stdout


def test_check_geometry_follows_colours_that_belong_to_places(tmp_path):
    found = check_geometry(open_dataset(make(tmp_path / "data", patients=1, size="64x48")))["patients"]["p001"]
    assert found["depth_mm"]["median"] < 0.01
    assert found["overlap"] > 0.8
    assert found["photometric"]["red"] < 1.5
    assert found["still"]["red"] > 2 * found["photometric"]["red"]


def test_check_geometry_sees_a_rendered_pose_that_was_moved(rendered, tmp_path):
    shutil.copytree(rendered, tmp_path / "data")
    frames = open_dataset(rendered).frames
    frames[2] = frames[2].model_copy(update=shifted(frames[2]))
    (tmp_path / "data" / "manifest.jsonl").write_text("".join(map(row, frames)))
    found = check_geometry(open_dataset(tmp_path / "data"))["patients"]["p001"]["depth_mm"]
    sound = check_geometry(open_dataset(rendered))["patients"]["p001"]["depth_mm"]
    assert found["p95"] > 10 * sound["p95"]


def shifted(frame):
    pose = np.array(frame.world_from_camera)
    pose[:3, 3] += pose[:3, 0] * 2.0
    return {"world_from_camera": tuple(map(tuple, pose.tolist()))}


def flipped(frame):
    pose = np.array(frame.world_from_camera) @ np.diag([1, -1, -1, 1])  # OpenGL's axes
    return {"world_from_camera": tuple(map(tuple, pose.tolist()))}


def test_a_camera_that_is_another_shows_in_the_colours(tmp_path):
    root = make(tmp_path / "data", patients=1, names=("plain",))
    frames = open_dataset(root).frames
    wrong = [f.model_copy(update={"camera": {**f.camera, "fov": 60.0}}) if n != 1 else f for n, f in enumerate(frames)]
    (root / "manifest.jsonl").write_text("".join(map(row, wrong)))
    found = check_geometry(open_dataset(root))["patients"]["p001"]
    assert found["photometric"]["plain"] > 1.5 * found["still"]["plain"]


@pytest.mark.parametrize("fault", [shifted, flipped])
def test_check_geometry_sees_poses_and_cameras_that_do_not_fit(tmp_path, fault):
    root = make(tmp_path / "data", patients=1, names=("plain",))
    frames = open_dataset(root).frames
    wrong = [f.model_copy(update=fault(f)) if n != 1 or fault is flipped else f for n, f in enumerate(frames)]
    (root / "manifest.jsonl").write_text("".join(map(row, wrong)))
    done = CliRunner().invoke(main, ["check-geometry", "--json", str(root)])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["ok"] is False


def test_a_single_view_has_no_neighbour(tmp_path):
    with pytest.raises(UserError, match="two views in a row"):
        check_geometry(open_dataset(make(tmp_path / "data", patients=1, views=1)))


def test_views_that_see_nothing_of_each_other_are_no_fault(tmp_path):
    config = configure(ct=str(tube(tmp_path / "ct.nii.gz")), views=2, size="12x9", spp=1, preset="synthetic")
    root = generate(config, tmp_path / "data")
    with pytest.raises(UserError) as error:
        check_geometry(open_dataset(root))
    assert error.value.code == "NO_OVERLAP"
