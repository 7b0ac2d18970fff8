"""Reference scenes on which endorender and Mitsuba 3 are compared; numpy only, closed form, no random numbers.

World: the unit cube [0, 1]³, +z up, one unit taken as a millimetre. `a`: a homogeneous cube under constant and point
light. `b`: a camera with its light inside a colon of 128³ voxels, sigma_t up to 200. `c`: that colon cut open, seen
from outside under a constant or an HDR environment. The medium ends without reflection; `max_depth` D allows D - 1
scatterings, as in Mitsuba.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

SIGMA_MAX = 200.0


@dataclass(frozen=True)
class Reference:
    """One scene: what both renderers build theirs from."""

    name: str
    g: float
    origin: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float
    size: int
    max_depth: int
    medium: str  # "cube", "colon" or "cut"
    lights: tuple[dict[str, Any], ...]
    air_sphere: float = 0.0  # Mitsuba's prbvolpath starts every path in vacuum: air carved around the camera


def _axis(x):
    """(y, z) of the colon's centreline at x."""
    return 0.5 + 0.13 * np.sin(1.8 * np.pi * x), 0.5 + 0.08 * np.sin(1.2 * np.pi * x + 1.0)


def _smooth(t):
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3 - 2 * t)


@functools.cache
def colon(cut: bool, n: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """sigma_t (n, n, n) and albedo (n, n, n, 3), indexed [x, y, z], float32."""
    c = (np.arange(n) + 0.5) / n
    x, y, z = np.meshgrid(c, c, c, indexing="ij")
    cy, cz = _axis(x)
    radial, angle = np.hypot(y - cy, z - cz), np.arctan2(z - cz, y - cy)
    fold = (0.5 + 0.5 * np.cos(14 * np.pi * x)) ** 4
    radius = 0.17 * (1 - 0.38 * fold * (0.75 + 0.25 * np.cos(3 * angle)))
    depth = np.maximum(radial - radius, np.maximum(0.05 - x, x - 0.95))  # > 0 in tissue
    ripple = (
        np.sin(37 * x + 3 * np.sin(17 * y))
        + np.sin(41 * y + 2.5 * np.sin(19 * z))
        + np.sin(43 * z + 3 * np.sin(23 * x))
    )
    layers = 1.0 - 0.55 * _smooth((depth - 0.03) / 0.02) - 0.30 * _smooth((depth - 0.06) / 0.02)
    sigma = _smooth(depth / 0.016) * layers * (0.95 + 0.05 * ripple / 3)
    if cut:
        sigma = sigma * _smooth((0.10 - depth) / 0.016)
        sigma = np.where((z > cz) & (y < cy) & (x > 0.25) & (x < 0.80), 0.0, sigma)
    network = (
        np.sin(29 * x + 4 * np.sin(9 * y)) + np.sin(31 * y + 4 * np.sin(11 * z)) + np.sin(27 * z + 4 * np.sin(13 * x))
    )
    vessel = (np.exp(-((network / 0.25) ** 2)) * (1 - _smooth((depth - 0.03) / 0.02)))[..., None]
    fat = _smooth((depth - 0.05) / 0.02)[..., None]
    albedo = np.array([0.96, 0.80, 0.74]) * (1 - fat) + np.array([0.98, 0.95, 0.80]) * fat
    albedo = albedo * (1 - vessel) + np.array([0.85, 0.35, 0.35]) * vessel
    return (SIGMA_MAX * sigma).astype(np.float32), albedo.astype(np.float32)


@functools.cache
def environment(h: int = 32, w: int = 64) -> np.ndarray:
    """(h, w, 3) HDR map: sky, key and fill light. Filled at texel centres, u from +y towards +x."""
    v, u = np.meshgrid((np.arange(h) + 0.5) / h * np.pi, (np.arange(w) + 0.5) / w * 2 * np.pi, indexing="ij")
    d = np.stack([np.sin(u) * np.sin(v), np.cos(u) * np.sin(v), np.cos(v)], -1)
    out = 0.15 + 0.25 * (0.5 + 0.5 * d[..., 2:3]) * np.array([0.8, 0.9, 1.0])
    for axis, sharpness, colour in (((-0.4, -0.7, 0.6), 40, (14, 13, 12)), ((0.9, -0.2, 0.3), 25, (1.5, 2, 3))):
        a = np.array(axis) / np.linalg.norm(axis)
        out = out + np.exp(sharpness * (d @ a - 1))[..., None] * np.array(colour)
    return out.astype(np.float32)


def _in_colon(x):
    cy, cz = _axis(x)
    return (x, float(cy), float(cz))


def _cube(g: float) -> Reference:
    lights = (
        {"type": "constant", "radiance": (0.5,) * 3},
        {"type": "point", "position": (0.5, -0.7, 1.9), "intensity": (6.0,) * 3},
    )
    return Reference(f"a_g{g:+.1f}", g, (2.6, -1.7, 1.6), (0.5,) * 3, 32.0, 64, 128, "cube", lights)


SCENES = [
    _cube(-0.5),
    _cube(0.0),
    _cube(0.9),
    Reference(
        "b_g0.0", 0.0, _in_colon(0.12), _in_colon(0.50), 100.0, 48, 32, "colon",
        ({"type": "point", "position": _in_colon(0.12), "intensity": (0.05,) * 3},), 0.03,
    ),
    Reference(
        "c_hdr_g0.0", 0.0, (0.25, -1.45, 1.75), (0.5,) * 3, 38.0, 64, 32, "cut", ({"type": "environment"},)
    ),
]  # fmt: skip


def grids(medium: str) -> tuple[np.ndarray, np.ndarray]:
    """sigma_t and albedo, [x, y, z]."""
    if medium == "cube":
        return np.full((4,) * 3, 8.0, np.float32), np.full((4,) * 3 + (3,), 0.9, np.float32)
    return colon(medium == "cut")


def build(ref: Reference) -> Any:
    """The scene for endorender."""
    from endorender.scene import Constant, EnvironmentMap, GridMedium, HenyeyGreenstein, Pinhole, Point, Scene

    sigma, albedo = grids(ref.medium)
    pitch = 1 / sigma.shape[0]
    affine = np.diag([pitch, pitch, pitch, 1.0])
    affine[:3, 3] = pitch / 2
    made: list[Any] = []
    for light in ref.lights:
        if light["type"] == "constant":
            made.append(Constant(radiance=light["radiance"]))
        elif light["type"] == "point":
            made.append(Point(position=light["position"], intensity=light["intensity"], attached="world"))
        else:
            # Mitsuba reads a map as we do but from +y towards +x, its first column there.
            made.append(EnvironmentMap(pixels=environment().tolist(), rotation=-90))
    forward = np.subtract(ref.target, ref.origin) / np.linalg.norm(np.subtract(ref.target, ref.origin))
    right = np.cross(forward, (0, 0, 1)) / np.linalg.norm(np.cross(forward, (0, 0, 1)))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = ref.origin
    return Scene(
        GridMedium(sigma, albedo, affine, HenyeyGreenstein(g=ref.g)),
        Pinhole(width=ref.size, height=ref.size, fov=ref.fov),
        pose,
        tuple(made),
        surface="volume",
        max_scatterings=ref.max_depth - 1,
    )


@dataclass(frozen=True)
class Dielectric:
    """A half space of scatterers behind a smooth dielectric plane, lit by a disk that hides nothing; mm.

    Seen from -z. The disk's mirror image lies outside the picture.
    """

    front: float = 10.3
    ior: float = 1.4
    sigma_t: float = 3.0
    albedo: tuple[float, float, float] = (0.95, 0.85, 0.6)
    g: float = 0.5
    light: tuple[float, float, float] = (8.5, 7.0, 6.3)
    radius: float = 1.5
    intensity: tuple[float, float, float] = (50.0, 50.0, 50.0)
    origin: tuple[float, float, float] = (9.5, 8.0, 5.3)
    target: tuple[float, float, float] = (11.5, 11.5, 10.3)
    fov: float = 40.0
    size: int = 12


DIELECTRIC = Dielectric()
