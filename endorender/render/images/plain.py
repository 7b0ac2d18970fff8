"""The plain renderer: grey, textureless, lit from the lens with inverse square. Pure numpy on exact geometry."""

from __future__ import annotations

import numpy as np

from endorender.render.depth.exact import Geometry
from endorender.scene.light import Kind
from endorender.scene.scene import Scene


def synthetic(scene: Scene, geometry: Geometry, albedo: float = 0.7) -> np.ndarray:
    """(H, W, 3) float32 linear radiance of a Lambertian wall under the scene's emitters, without shadows.

    The forward model of Mahmood et al. 2018: L = albedo / π · Σ I(θ) cos θᵢ / r². Light colours are ignored, area
    lights shine from their centre.
    """
    rays = scene.camera.unproject(scene.camera.pixels())
    points = rays * np.nan_to_num(geometry.distance)[..., None]
    normals = np.nan_to_num(geometry.normal)
    image = np.zeros(geometry.mask.shape)
    camera_from_world = np.linalg.inv(scene.world_from_camera)
    for light in scene.lights:
        if not hasattr(light, "emitters"):
            continue
        e = light.emitters(scene.world_from_camera)
        positions = e.position @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        axes = e.axis @ camera_from_world[:3, :3].T
        for position, axis, intensity in zip(positions, axes, e.intensity.mean(1)):
            away = np.broadcast_to(-axis, points.shape) if e.kind == Kind.DIRECTIONAL else position - points
            r2 = np.maximum((away**2).sum(-1), 1e-6)
            to_light = away / np.sqrt(r2)[..., None]
            image += intensity * e.beam(-to_light @ axis) * np.maximum((normals * to_light).sum(-1), 0) / r2
    image = np.where(geometry.mask, image * scene.camera.falloff(rays) * albedo / np.pi, 0)
    return np.repeat(image[..., None], 3, -1).astype(np.float32)
