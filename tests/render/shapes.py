"""Spheres, cylinders and planes whose depth is known, and how far the renderer's geometry is from it."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from endorender.render import geometry
from endorender.render.depth.exact import Geometry
from endorender.scene import Endoscope, Scene
from tests.render.scenes import THRESHOLD, affine, from_distance

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


@dataclass(frozen=True)
class Errors:
    """inside: (H, W) pixels whose hit lies well inside the grid; the others hold one value for each of these.

    voxels: distance from the true surface along its normal, in voxels of the finest axis. degrees: of the normal.
    """

    seen: Geometry
    inside: np.ndarray
    voxels: np.ndarray
    degrees: np.ndarray


def errors(shape, grid, camera):
    """What a camera inside one of SHAPES on one of GRIDS gets wrong."""
    solve, signed = SHAPES[shape]
    matrix = GRIDS[grid].copy()
    n = (75, 74, 64) if grid == "fine" else (56, 56, 48)
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ (np.array(n) / 2)
    volume = from_distance(lambda p: signed(p - CENTRE), n, matrix)
    pose = affine([1.0] * 3, Rotation.from_euler("xyz", [1.2, 0.4, 2.0]).as_matrix(), CENTRE + [2, -3, 1])
    seen = geometry(Scene(volume, camera, pose, (Endoscope(),), threshold=THRESHOLD))
    d = camera.unproject(camera.pixels()) @ pose[:3, :3].T
    t, normal = solve(pose[:3, 3] - CENTRE, d)
    # The cylinder and the plane go on beyond the grid.
    index = volume.to_voxel(pose[:3, 3] + np.where(np.isfinite(t), t, 0)[..., None] * d)
    inside = np.isfinite(t) & ((index > 1.5) & (index < np.array(n) - 2.5)).all(-1)
    along_normal = (seen.distance - t)[inside] * np.abs((d * normal).sum(-1))[inside] / volume.spacing.min()
    turned = ((seen.normal @ pose[:3, :3].T) * normal).sum(-1)[inside]
    return Errors(seen, inside, np.abs(along_normal), np.degrees(np.arccos(np.clip(turned, -1, 1))))
