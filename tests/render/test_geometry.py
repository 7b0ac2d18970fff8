"""Depth and normals against analytic spheres, cylinders and planes, in isotropic, anisotropic and oblique grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.render import geometry, synthetic
from endorender.scene import Endoscope, Fisheye, Pinhole, Point, Scene
from tests.render.scenes import THRESHOLD, affine, cube_scene, from_distance, tube_scene
from tests.render.shapes import CENTRE, GRIDS, RADIUS, SHAPES, errors


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("camera", [Pinhole(width=48, height=36, fov=100), Fisheye(width=48, height=36, fov=150)])
def test_depth_and_normal_of_analytic_shapes(grid, shape, camera):
    found = errors(shape, grid, camera)
    assert found.inside.mean() > 0.2
    assert found.seen.mask[found.inside].all()
    assert np.median(found.voxels) < 0.02
    assert np.percentile(found.voxels, 99) < 0.1
    assert np.percentile(found.degrees, 99) < 4
    z_of_ray = camera.unproject(camera.pixels())[..., 2]
    np.testing.assert_allclose(found.seen.z_depth, found.seen.distance * z_of_ray, rtol=1e-5)


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
