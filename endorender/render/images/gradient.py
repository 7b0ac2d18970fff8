"""Radiances and their gradients, for `endorender.inverse`: what the adjoint integrator is given and gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from endorender.render.device import rng
from endorender.render.gradients.coverage import WANTED, refuse
from endorender.render.gradients.derivatives import G
from endorender.render.images.rendering import radiance, ready
from endorender.render.integrators import Adjoint
from endorender.render.integrators.adjoint import run
from endorender.render.medium.prepared import Prepared
from endorender.render.transport.emitters import E, pack_emitters
from endorender.render.transport.film import Radiance
from endorender.scene.scene import GridMedium, Scene


@dataclass(frozen=True)
class Gradient:
    """Of one number that depends on a picture, by what the kernels are given; float64.

    Of a tissue, table: (1025, 1 + P + 3) sigma_t, floats of the phase, albedo. Of a GridMedium, sigma_t: (I, J, K),
    albedo: (I, J, K, 3), phase: (P,). emitters: laid out like `pack_emitters`, grid frame. roughness, specular, focal
    (of its logarithm): numbers. sky: (3,) of a factor on the environment. shift, turn: (3,) of the camera along the
    world's axes and about those through its lens, with the lights that it carries if "places" are wanted. picture: the
    adjoint's own samples of the picture.
    """

    table: np.ndarray | None
    sigma_t: np.ndarray | None
    albedo: np.ndarray | None
    phase: np.ndarray | None
    emitters: np.ndarray
    roughness: float
    specular: float
    sky: np.ndarray
    shift: np.ndarray
    turn: np.ndarray
    focal: float
    picture: Radiance


def picture(scene: Scene, spp: int, seed: int, frame: int = 0, smooth_pixels: bool = False) -> Radiance:
    """What `radiance` estimates, by the adjoint's own walk.

    smooth_pixels: pixels weigh light by a quadratic B-spline three pixels wide instead of a box.
    """
    return radiance([scene], spp, seed, frame, integrator=Adjoint(smooth_pixels=smooth_pixels))[0]


def gradient(
    scene: Scene,
    weights: np.ndarray,
    wanted: tuple[str, ...],
    spp: int,
    seed: int,
    frame: int = 0,
    smooth_pixels: bool = False,
    ambient: float | None = None,
) -> Gradient:
    """Gradient of Σ weights × picture. weights: (H, W, 3). wanted: of WANTED.

    ambient: radiance to expect in the scene, which guides sampling in air and says how finely sums are kept; None: from
    a quick look.
    """
    if unknown := set(wanted) - set(WANTED):
        raise ValueError(f"no gradient of {min(unknown)}")
    if "pose" in wanted and not smooth_pixels:
        raise ValueError("the gradient of a pose needs smooth pixels")
    if ambient is None:
        ambient = float(picture(scene, 1, seed, frame, smooth_pixels).mean.mean())
    order = tuple(w for w in WANTED if w in wanted)
    prepared = ready(scene, spp)
    refuse(scene, order)
    key, ambient = rng.key(seed, frame), max(ambient, 1e-12)
    found, flat = run(scene, prepared, np.asarray(weights), order, spp, key, smooth_pixels, ambient)
    return _unpacked(scene, flat, prepared, found)


def _unpacked(scene: Scene, flat: np.ndarray, prepared: Prepared, found: Radiance) -> Gradient:
    columns = 1 + type(scene.phase).FLOATS + 3
    table = sigma_t = albedo = phase = None
    at = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return flat[at - int(np.prod(shape)) : at].reshape(shape)

    if isinstance(scene.medium, GridMedium):
        sigma_t, albedo = _unpadded(take(*prepared.shape)), _unpadded(take(*prepared.shape, 3))
        phase = take(columns - 4)
    else:
        table = take(1025, columns)
    once = flat[len(flat) - G.SIZE :]
    emitters = flat[at : len(flat) - G.SIZE].reshape(-1, E.COLOUR + 3)
    carried = _carried(scene, prepared, emitters)
    shift, turn = ((once[g : g + 3] + c) @ prepared.rotation.T for g, c in zip((G.SHIFT, G.TURN), carried))
    return Gradient(
        table,
        sigma_t,
        albedo,
        phase,
        emitters,
        float(once[G.ROUGHNESS]),
        float(once[G.SPECULAR]),
        once[G.SKY : G.SKY + 3],
        shift,
        turn * np.sign(np.linalg.det(prepared.rotation)),  # an axial vector
        float(once[G.FOCAL]),
        found,
    )


def _carried(scene: Scene, prepared: Prepared, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a shift and a turn of the camera get through the lights that move with it. by: gradient of the emitters."""
    shift, turn = np.zeros(3), np.zeros(3)
    emitters = pack_emitters([scene], prepared).astype(float)
    lens = prepared.to_grid(np.asarray(scene.world_from_camera, float)[:3, 3])
    at = 0
    for light in scene.lights:
        if not hasattr(light, "emitters"):
            continue
        n = len(light.emitters(scene.world_from_camera).position)
        if getattr(light, "attached", "camera") == "camera":
            for row, g in zip(emitters[at : at + n], by[at : at + n]):
                shift += g[E.POSITION : E.POSITION + 3]
                turn += np.cross(row[E.POSITION : E.POSITION + 3] - lens, g[E.POSITION : E.POSITION + 3])
                turn += sum(np.cross(row[c : c + 3], g[c : c + 3]) for c in (E.AXIS, E.U, E.V))
        at += n
    return shift, turn


def _unpadded(a: np.ndarray) -> np.ndarray:
    """What the padding by edge values got goes back to the edge."""
    for axis in range(3):
        b = np.moveaxis(a, axis, 0).copy()
        b[1] += b[0]
        b[-2] += b[-1]
        a = np.moveaxis(b[1:-1], 0, axis)
    return np.ascontiguousarray(a)
