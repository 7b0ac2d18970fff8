"""What there are gradients of, and what they do not cover."""

from __future__ import annotations

import numpy as np

from endorender.errors import UserError
from endorender.render.medium.prepared import prepare
from endorender.render.medium.traits import Traits
from endorender.render.transport.emitters import profiles
from endorender.render.transport.environment import pack_environment
from endorender.scene.camera import Pinhole
from endorender.scene.scene import Scene
from endorender.scene.surface import WetGGX, coats

WANTED = ("sigma_t", "air", "albedo", "phase", "lights", "places", "pose", "coat", "sky")


def refuse(scene: Scene, wanted: tuple[str, ...]) -> None:
    """Raise UserError for what the adjoint does not cover."""
    traits = Traits.of(scene)
    covered = {
        "chromatic": "extinction that differs between channels (tint)",
        "similar": "the similarity relation (similarity_after)",
        "graded": "extinction by gradient magnitude",
        "labelled": "tissues by label",
        "layered": "the mucosa layer",
        "refracting": "a wall that refracts (take boundary straight)",
    }
    for trait, what in covered.items():
        if getattr(traits, trait):
            raise UserError(f"gradients do not cover {what}: leave it out of the scene to fit", "NOT_DIFFERENTIABLE")
    if scene.surface != "volume" and traits.coat is not WetGGX:
        raise UserError(
            f"gradients cover the coat wet_ggx, not {coats.name_of(traits.coat)}: take that", "NOT_DIFFERENTIABLE"
        )
    if profiles(scene):
        raise UserError(
            "gradients do not cover a light with a profile of its own: take another (see: list light)",
            "NOT_DIFFERENTIABLE",
        )
    if scene.surface == "hybrid":
        raise UserError(
            "gradients do not cover the surface mode 'hybrid': take 'interface' or 'volume'", "NOT_DIFFERENTIABLE"
        )
    moving = {"pose", "places"} & set(wanted)
    if not moving:
        return
    if scene.surface != "volume":
        raise UserError(
            "a wall that hides light makes jumps that gradients of pose, focal length and positions of lights do not "
            "cover: take the surface mode 'volume'",
            "NOT_DIFFERENTIABLE",
        )
    prepared = prepare(scene.medium)
    corner = np.asarray(prepared.shape) - 1 - 2 * prepared.origin
    placed = [light.emitters(scene.world_from_camera).position for light in scene.lights if hasattr(light, "emitters")]
    points = np.concatenate([*placed, np.asarray(scene.world_from_camera, float)[None, :3, 3]])
    index = prepared.to_grid(points) / prepared.spacing - prepared.origin
    if ((index < 0) | (index > corner)).any():
        raise UserError(
            "gradients of pose, focal length and positions of lights need camera and lights within the volume",
            "NOT_DIFFERENTIABLE",
        )
    if "pose" in wanted and (pack_environment([scene]) is not None or type(scene.camera) is not Pinhole):
        raise UserError(
            "gradients of pose and focal length need a pinhole camera and lights that stand somewhere, no environment",
            "NOT_DIFFERENTIABLE",
        )
