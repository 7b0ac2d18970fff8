"""Diffuse reflectance of a deep, isotropically scattering layer behind a wall, and the albedo that has it.

Chandrasekhar (Radiative Transfer, 1960): what a half space sends out along μ of the light that enters along μ' is
a/2 H(μ) H(μ') μ' / (μ + μ'). A wall that reflects from within sends a part r(μ) of it back in: a linear system over the
directions. Light falls straight down; the coat's own reflection is not part of the diffuse reflectance.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# open: no wall. straight: light passes undeviated, what the coat reflects is lost. refracting: Snell's law, and what is
# reflected from within goes back in.
Wall = Literal["open", "straight", "refracting"]


def fresnel(cos: float | Float[np.ndarray, "*n"], ior: float) -> Float[np.ndarray, "*n"]:
    """Unpolarised reflectance of a dielectric from outside, by the cosine of incidence."""
    inside = np.sqrt(np.maximum(0, 1 - (1 - cos**2) / ior**2))
    parallel = (ior * cos - inside) / (ior * cos + inside)
    across = (cos - ior * inside) / (cos + ior * inside)
    return np.asarray(0.5 * (parallel**2 + across**2))


def from_within(cos: float | Float[np.ndarray, "*n"], ior: float, specular: float = 1.0) -> Float[np.ndarray, "*n"]:
    """Reflectance of the wall from within: that from outside along the same ray, all beyond the critical angle."""
    outside2 = 1 - ior**2 * (1 - cos**2)
    out = np.sqrt(np.maximum(outside2, 0))
    return np.asarray(np.where(outside2 <= 0, 1.0, specular * fresnel(out, ior)))


def _gauss(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights over [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * (x + 1), 0.5 * w


@functools.cache
def _h_function() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """sqrt(1 - albedo) (N,), H at Gauss's nodes (N, M), by iteration; the nodes and their weights."""
    mu, weight = _gauss(32)
    root = np.linspace(1, 0.002, 500)[:, None]
    albedo = 1 - root**2
    h = np.ones((len(root), len(mu)))
    kernel = weight * mu / (mu[:, None] + mu)
    for _ in range(400):
        h = 0.5 * h + 0.5 / (root + 0.5 * albedo * (h @ kernel.T))
    return root[:, 0], h, mu, weight


@functools.lru_cache(maxsize=64)
def _table(wall: Wall, ior: float, specular: float) -> tuple[np.ndarray, np.ndarray]:
    """(albedo, reflectance), both rising."""
    if ior == 1:
        wall = "open"
    root, h, nodes, weights = _h_function()
    albedo = 1 - root**2
    critical = float(np.sqrt(1 - 1 / ior**2)) if wall == "refracting" else 0.0
    a, w = _gauss(20)
    # Closer nodes just above the critical angle, where the reflectance falls like a root.
    mu = np.concatenate([critical * a, critical + (1 - critical) * a**2, [1.0]])
    weight = np.concatenate([critical * w, (1 - critical) * 2 * a * w, [0.0]])
    at = 1 / (root[:, None] + 0.5 * albedo[:, None] * (h @ (weights * nodes / (mu[:, None] + nodes)).T))
    half = 0.5 * albedo[:, None]
    out = half * at * at[:, -1:] / (mu + 1)  # of light that falls straight down, over all azimuths
    lost = np.zeros_like(mu) if wall == "open" else specular * fresnel(mu, ior)
    if wall == "refracting":
        lost = from_within(mu, ior, specular)
        back = half[..., None] * at[:, :, None] * at[:, None, :] / (mu[:, None] + mu) * (mu * weight * lost)
        out = np.linalg.solve(np.eye(len(mu)) - back, out[..., None])[..., 0]
    enters = 1.0 if wall == "open" else 1 - specular * float(fresnel(np.array(1.0), ior))
    return albedo, enters * (out @ (weight * mu * (1 - lost)))


def reflectance(
    albedo: float | Float[np.ndarray, "*n"], wall: Wall = "open", ior: float = 1.0, specular: float = 1.0
) -> Float[np.ndarray, "*n"]:
    """Diffuse reflectance of a deep layer of (reduced) albedo.

    specular: weight of the coat's reflection below the critical angle.
    """
    a, r = _table(wall, ior, specular)
    return np.asarray(np.interp(albedo, a, r))


def albedo_of(
    reflected: float | Float[np.ndarray, "*n"], wall: Wall = "open", ior: float = 1.0, specular: float = 1.0
) -> Float[np.ndarray, "*n"]:
    """Inverse of `reflectance`; a layer that no albedo makes so bright has the highest one, 0.999996."""
    a, r = _table(wall, ior, specular)
    return np.asarray(np.interp(reflected, r, a))
