"""Radiances and their gradients, for `endorender.inverse`: what the adjoint integrator is given and gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.errors import UserError
from endorender.render.device import backend, launches, rng
from endorender.render.medium.prepared import Prepared, prepare, refuse_inside
from endorender.render.medium.traits import Traits
from endorender.render.transport.emitters import E, pack_emitters
from endorender.render.transport.environment import pack_environment
from endorender.render.transport.film import Radiance
from endorender.render.transport.world import packed
from endorender.scene.camera import Pinhole
from endorender.scene.scene import GridMedium, Scene

WANTED = ("sigma_t", "air", "albedo", "phase", "lights", "places", "pose", "coat", "sky")
C_PER_VOXEL = 0.03  # c of the estimator of extinction, over the voxel's edge
LINES = 1024  # pixels of a launch, each with a tape


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


def _kernel(scene: Scene, prepared: Prepared, wanted: tuple[str, ...], smooth_pixels: bool) -> tuple[Any, list[Any]]:
    from endorender.render.integrators.adjoint import tracer

    groups, fixed = packed([scene], prepared)
    kernel = tracer(
        prepared.kind,
        scene.surface,
        str(prepared.low.dtype),
        type(scene.phase),
        type(scene.camera),
        groups,
        Traits.of(scene),
        wanted,
        smooth_pixels,
    )
    return kernel, fixed


def _run(
    scene: Scene,
    weights: np.ndarray | None,
    wanted: tuple[str, ...],
    spp: int,
    key: int,
    smooth_pixels: bool,
    ambient: float,
) -> tuple[Radiance, np.ndarray, Prepared]:
    """The picture and the flat array of gradients; see `derivatives` for its layout."""
    from endorender.render.gradients.derivatives import G
    from endorender.render.gradients.tape import TAPE

    if spp < 1:
        raise UserError(f"spp must be at least 1, got {spp}", "INVALID_VALUE")
    backend.ensure()
    refuse(scene, wanted)
    prepared = prepare(scene.medium)
    if prepared.kind == "tissue" and scene.surface == "interface":
        refuse_inside(scene, prepared)
    kernel, fixed = _kernel(scene, prepared, wanted, smooth_pixels)
    columns = 1 + type(scene.phase).FLOATS + 3
    voxels = int(np.prod(prepared.shape))
    rest = 1025 * columns if prepared.kind == "tissue" else 4 * voxels + columns - 4
    slots = rest + pack_emitters([scene], prepared).size + G.SIZE
    if slots >= 1 << 28:
        raise UserError("a grid to be fitted may have up to 400³ voxels", "TOO_LARGE")
    n = scene.camera.width * scene.camera.height
    lines = min(n, LINES) if wanted else 1
    mean, squares = (backend.resident(np.zeros((n, 3), np.float32)) for _ in range(2))
    image_gradient = np.zeros((1, 3)) if weights is None else weights.reshape(n, 3) / spp
    grads = backend.resident(np.zeros(slots if wanted else 1, np.float64))
    length = TAPE if wanted else 1
    book, tape = (
        backend.resident(np.zeros(s, d)) for s, d in (((lines, length), np.int32), ((lines, length, 2), "f4"))
    )
    most_air = C_PER_VOXEL / float(prepared.spacing.mean()) if "air" in wanted else 0.0
    # Of the size of a whole gradient, 2⁻³⁶: a path's share is far above it, and sums stay below 2⁵³ of it.
    whole = max(float(np.abs(image_gradient).sum()) * spp * ambient, 1e-30)
    grain = 2.0 ** (math.ceil(math.log2(whole)) - 36)
    work = [mean, squares, backend.resident(image_gradient.astype(np.float32)), grads, book, tape]

    def launch(p0: int, p1: int, s0: int, s1: int, *counts: Any) -> None:
        kernel(*fixed, *work, rest, most_air, ambient, grain, p0, p1, s0, s1, *counts, scene.max_scatterings, key)

    launches.trace(launch, n, spp, most_pixels=LINES)
    shape = (scene.camera.height, scene.camera.width, 3)
    variance = backend.fetch(squares).reshape(shape) / (max(spp - 1, 1) * spp)
    return Radiance(backend.fetch(mean).reshape(shape), variance, spp), backend.fetch(grads), prepared


def picture(scene: Scene, spp: int, seed: int, frame: int = 0, smooth_pixels: bool = False) -> Radiance:
    """What `radiance` estimates, by the adjoint's own walk.

    smooth_pixels: pixels weigh light by a quadratic B-spline three pixels wide instead of a box.
    """
    return _run(scene, None, (), spp, rng.key(seed, frame), smooth_pixels, 0.0)[0]


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
    found, flat, prepared = _run(
        scene, np.asarray(weights), order, spp, rng.key(seed, frame), smooth_pixels, max(ambient, 1e-12)
    )
    return _unpacked(scene, flat, prepared, found)


def _unpacked(scene: Scene, flat: np.ndarray, prepared: Prepared, found: Radiance) -> Gradient:
    from endorender.render.gradients.derivatives import G

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
