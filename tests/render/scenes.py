"""Small scenes for the renderer's tests: a bent tube of tissue around an air lumen, and a cube of scatterers."""

import functools

import numpy as np

from endorender.ct.volume import Volume
from endorender.scene import Endoscope, GridMedium, HenyeyGreenstein, Pinhole, Point, Scene, Tissue

AIR, WALL, THRESHOLD = -1000.0, 40.0, -550.0


def affine(spacing, rotation=None, translation=(0.0, 0.0, 0.0)):
    """(4, 4) world_from_voxel."""
    out = np.eye(4)
    out[:3, :3] = (np.eye(3) if rotation is None else rotation) * np.asarray(spacing)
    out[:3, 3] = translation
    return out


def from_distance(signed_distance, shape, matrix, slope=400.0):
    """Volume whose HU ramp through the threshold at zero signed distance (mm; > 0 in tissue)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ matrix[:3, :3].T + matrix[:3, 3]
    hu = np.clip(THRESHOLD + slope * signed_distance(world), AIR, WALL)
    return Volume(np.round(hu).astype(np.int16), matrix)


@functools.cache
def tube():
    """A closed bent tube of radius about 5 mm with two folds, along +z, 1 mm voxels."""

    def signed(p):
        x, y, z = np.moveaxis(p, -1, 0)
        r = 5 - 1.2 * np.exp(-((z - 14) ** 2) / 2) - 1.2 * np.exp(-((z - 22) ** 2) / 2)
        radial = np.hypot(x - 12 - 2 * np.sin(z / 9), y - 12) - r
        return np.maximum(radial, np.maximum(4 - z, z - 30))

    return from_distance(signed, (24, 24, 36), affine((1.0, 1.0, 1.0)))


def tube_scene(surface="interface", size=(12, 8), lights=None, **tissue):
    """A look down the tube from its near end."""
    pose = affine((1.0, 1.0, 1.0), translation=(13.2, 12.0, 8.0))
    camera = Pinhole(width=size[0], height=size[1], fov=90)
    lights = lights or (Endoscope(guides=((1.5, 0.0, 0.0), (-1.5, 0.0, 0.0)), radius=0.6, intensity=100.0),)
    return Scene(tube(), camera, pose, lights, Tissue(**tissue), THRESHOLD, surface)


def cube_scene(sigma_t, albedo, lights, g=0.0, size=8, pose=None, fov=30.0, n=4, edge=1.0, phase=None, **changes):
    """A homogeneous or given grid in the cube [0, edge]³ mm, seen from -z by default."""
    sigma_t = np.broadcast_to(np.asarray(sigma_t, np.float32), (n, n, n)) if np.ndim(sigma_t) < 3 else sigma_t
    n = sigma_t.shape[0]
    pitch = edge / n
    grid = np.tile(np.asarray(albedo, np.float32) * np.ones(3, np.float32), (n, n, n, 1))
    medium = GridMedium(
        np.ascontiguousarray(sigma_t, np.float32),
        grid,
        affine([pitch] * 3, translation=[pitch / 2] * 3),
        phase or HenyeyGreenstein(g=g),
    )
    pose = affine((1.0, 1.0, 1.0), translation=(edge / 2, edge / 2, -2 * edge)) if pose is None else pose
    return Scene(medium, Pinhole(width=size, height=size, fov=fov), pose, tuple(lights), surface="volume", **changes)


__all__ = ["THRESHOLD", "Point", "affine", "cube_scene", "from_distance", "tube", "tube_scene"]
