"""What the page draws lies where the anatomy lies."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from endorender.ct import Volume
from endorender.ct.anatomy.lumen import WALL_HU, measured
from endorender.dataset import open_dataset
from endorender.scene import Fisheye, Pinhole
from endorender.viewer.shapes import FILLED, cloud, opening, overview, wall
from tests.dataset import sphere

RADIUS, PITCH, SHARP = 9.0, 0.7, 0.6  # mm


def hollow(mirrored=False, neighbour=True):
    """A ball of air in tissue on an oblique grid, another one behind a septum of 2 mm, and the first one's lumen."""
    n = 56
    affine = np.eye(4)
    turn = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix() * ([-1, 1, 1] if mirrored else [1, 1, 1])
    affine[:3, :3] = turn * PITCH
    affine[:3, 3] = (30, -20, 7)
    index = np.moveaxis(np.indices((n, n, n)), 0, -1)
    centre = np.array([20.0, 27.3, 27.8])
    off = np.linalg.norm(index - centre, axis=-1) * PITCH - RADIUS
    beside = np.linalg.norm(index - (centre + (2 + 2 * RADIUS) / PITCH * np.array([1, 0, 0])), axis=-1) * PITCH - RADIUS
    hu = -1000 / (1 + np.exp((np.minimum(off, beside) if neighbour else off) / SHARP))
    volume = Volume(hu.astype(np.float32), affine)
    own = (hu < WALL_HU) & (off < 0.5)
    return volume, measured(volume, (slice(None),) * 3, own, WALL_HU, 1, (1.0,)), volume.to_world(centre)


def off_the_wall(volume, vertices):
    """(V,) voxels from points to the iso-surface of the trilinear field, by its slope."""
    at = volume.to_voxel(vertices.astype(float))

    def value(p):
        return map_coordinates(volume.hu.astype(float), p.T, order=1)

    slope = np.stack([value(at + e) - value(at - e) for e in 0.5 * np.eye(3)], -1)
    return np.abs(value(at) - WALL_HU) / np.linalg.norm(slope, axis=-1)


@pytest.mark.parametrize("most", [250_000, 3_000, 700])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_mesh_lies_on_the_wall_and_faces_away_from_the_lumen(most, mirrored):
    volume, lumen, centre = hollow(mirrored)
    mesh = wall(volume, lumen, most)
    assert 100 < len(mesh.faces) <= most
    assert off_the_wall(volume, mesh.vertices).max() < 0.02
    # The neighbour begins 2 mm farther on: nothing of it is drawn.
    distance = np.linalg.norm(mesh.vertices - centre, axis=1)
    true = RADIUS + SHARP * np.log((1000 + WALL_HU) / -WALL_HU)
    assert np.abs(distance - true).max() < 0.15 * PITCH
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", normal, (a + b + c) / 3 - centre) > 0).all()
    # Closed: every edge belongs to two triangles, once in each direction.
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    assert {tuple(e) for e in edges.tolist()} == {(e[1], e[0]) for e in edges.tolist()}


@pytest.mark.parametrize("camera", ["pinhole:fov=80", "fisheye:fov=150"])
def test_points_of_a_frame_lie_where_the_true_ones_do(tmp_path, camera):
    for frame in open_dataset(sphere.make(tmp_path / "data", camera=camera, patients=1)).frames[:3]:
        true = sphere.truth(frame)
        points, where = cloud(frame)
        assert np.array_equal(where, frame.geometry()["mask"])
        assert np.abs(points - true[where]).max() < 1e-4
        fewer, some = cloud(frame, 5)
        assert len(fewer) == some.sum() < len(points) / 16
        assert np.abs(fewer - true[some]).max() < 1e-4


def test_pyramids_open_as_their_cameras_do():
    fov, aspect = opening(Pinhole(width=320, height=240, fov=100))
    across = 2 * np.arctan(np.tan(fov / 2) * aspect)
    assert np.degrees(across) == pytest.approx(100, abs=1e-6)
    assert aspect == pytest.approx(4 / 3)
    wide, _ = opening(Fisheye(width=320, height=320, fov=200))
    assert np.degrees(wide) == pytest.approx(130)


def test_the_first_viewpoint_sees_all_and_stands_upright():
    rng = np.random.default_rng(0)
    for spread in np.array([[80, 10, 10], [10, 80, 10], [10, 10, 120], [50, 50, 50]]):
        points = rng.normal(size=(1000, 3)).clip(-2, 2) * spread + 30
        position, middle = overview(points)
        forward = (middle - position) / np.linalg.norm(middle - position)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        local = (points - position) @ np.stack([right, np.cross(right, forward), forward]).T
        assert (local[:, 2] > 0).all()
        tangent = np.abs(local[:, :2] / local[:, 2:]).max(0)
        assert tangent.max() == pytest.approx(FILLED, rel=1e-6)
        assert position[1] > middle[1], "from the front"
