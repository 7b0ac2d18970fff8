"""Depth and normals against analytic spheres, cylinders and planes, in isotropic, anisotropic and oblique grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.render import geometry, synthetic
from endorender.scene import Endoscope, Fisheye, Pinhole, Point, Scene
from tests.render.scenes import THRESHOLD, affine, cube_scene, from_distance, tube_scene

CENTRE = np.array([12.0, -7.0, 30.0])
GRIDS = {
    "isotropic": affine([0.8] * 3),
    "anisotropic": affine([0.7, 0.8, 1.2]),
    "oblique": affine([0.8] * 3, Rotation.from_euler("xyz", [0.3, 0.5, -0.2]).as_matrix()),
    "flipped": affine([-0.8, -0.8, 0.8]),
    "fine": affine([0.5, 0.5, 0.6]),  # its blurred field, for the normals, is kept at half the resolution
}
RADIUS = 14.0  # at least 16 voxels of 0.8 mm, less of the coarsest axis


def sphere(o, d):
    b = d @ o
    t = -b + np.sqrt(b**2 - (o @ o - RADIUS**2))
    return t, -(o + t[..., None] * d) / RADIUS


def cylinder(o, d):
    o2, d2 = o[:2], d[..., :2]
    a, b = (d2**2).sum(-1), d2 @ o2
    t = (-b + np.sqrt(b**2 - a * (o2 @ o2 - RADIUS**2))) / a
    p = o2 + t[..., None] * d2
    return t, np.concatenate([-p / RADIUS, np.zeros((*t.shape, 1))], -1)


def plane(o, d):
    t = (RADIUS / 2 - o[1]) / d[..., 1]
    return np.where(t > 0, t, np.inf), np.broadcast_to([0.0, -1.0, 0.0], d.shape)


SHAPES = {
    "sphere": (sphere, lambda p: np.linalg.norm(p, axis=-1) - RADIUS),
    "cylinder": (cylinder, lambda p: np.linalg.norm(p[..., :2], axis=-1) - RADIUS),
    "plane": (plane, lambda p: p[..., 1] - RADIUS / 2),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("camera", [Pinhole(width=48, height=36, fov=100), Fisheye(width=48, height=36, fov=150)])
def test_depth_and_normal_of_analytic_shapes(grid, shape, camera):
    solve, signed = SHAPES[shape]
    matrix = GRIDS[grid].copy()
    n = (75, 74, 64) if grid == "fine" else (56, 56, 48)
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ (np.array(n) / 2)
    volume = from_distance(lambda p: signed(p - CENTRE), n, matrix)
    pose = affine([1.0] * 3, Rotation.from_euler("xyz", [1.2, 0.4, 2.0]).as_matrix(), CENTRE + [2, -3, 1])
    seen = geometry(Scene(volume, camera, pose, (Endoscope(),), threshold=THRESHOLD))
    d = camera.unproject(camera.pixels()) @ pose[:3, :3].T
    t, normal = solve(pose[:3, 3] - CENTRE, d)
    # Only hits well inside the grid: the cylinder and the plane go on beyond it.
    index = volume.to_voxel(pose[:3, 3] + np.where(np.isfinite(t), t, 0)[..., None] * d)
    inside = np.isfinite(t) & ((index > 1.5) & (index < np.array(n) - 2.5)).all(-1)
    assert inside.mean() > 0.2
    assert seen.mask[inside].all()
    along_normal = (seen.distance - t)[inside] * np.abs((d * normal).sum(-1))[inside] / volume.spacing.min()
    assert np.median(np.abs(along_normal)) < 0.02
    assert np.percentile(np.abs(along_normal), 99) < 0.1
    angle = np.degrees(np.arccos(np.clip(((seen.normal @ pose[:3, :3].T) * normal).sum(-1)[inside], -1, 1)))
    assert np.percentile(angle, 99) < 4
    np.testing.assert_allclose(seen.z_depth, seen.distance * camera.unproject(camera.pixels())[..., 2], rtol=1e-5)


def test_rays_that_meet_nothing_are_nan_and_masked():
    volume = from_distance(lambda p: p[..., 2] - 10, (24, 24, 24), affine([1.0] * 3))
    pose = affine([1.0] * 3, Rotation.from_euler("y", np.pi / 2).as_matrix(), (12, 12, 5))
    seen = geometry(Scene(volume, Pinhole(width=9, height=9, fov=90), pose, (Endoscope(),), threshold=THRESHOLD))
    assert not seen.mask.all()
    assert seen.mask.any()
    for layer in (seen.z_depth, seen.distance, seen.normal[..., 0]):
        assert np.isnan(layer[~seen.mask]).all()
        assert np.isfinite(layer[seen.mask]).all()


def test_geometry_does_not_depend_on_optics():
    scene = tube_scene()
    dim = tube_scene("hybrid", sigma_t=[0, 0.1, 0.1, 0.1], wall_hu=100)
    assert geometry(scene).distance.tobytes() == geometry(dim).distance.tobytes()


def test_a_grid_medium_has_no_geometry():
    with pytest.raises(UserError, match="no wall"):
        geometry(cube_scene(1.0, 0.5, [Point()]))


def test_the_plain_renderer_is_lambert_with_inverse_square():
    """A point at the centre of a sphere lights it evenly: albedo / π · I / r²."""
    matrix = affine([0.8] * 3, translation=CENTRE - 0.8 * 24)
    volume = from_distance(lambda p: np.linalg.norm(p - CENTRE, axis=-1) - RADIUS, (48, 48, 48), matrix)
    scene = Scene(
        volume,
        Pinhole(width=16, height=12, fov=80),
        affine([1.0] * 3, translation=CENTRE),
        (Point(intensity=(50.0, 50.0, 50.0)),),
        threshold=THRESHOLD,
    )
    image = synthetic(scene, geometry(scene), albedo=0.7)
    np.testing.assert_allclose(image, 0.7 / np.pi * 50 / RADIUS**2, rtol=0.01)
    nearer = scene.with_(world_from_camera=affine([1.0] * 3, translation=CENTRE + [0, 0, 7]))
    middle = synthetic(nearer, geometry(nearer), albedo=0.7)[5:7, 7:9].mean()
    assert abs(middle / image.mean() - 4) < 0.1
