"""The mucosa layer on the device: what share vessels and blood have at a collision, how the film tilts the coat.

The layer is two arrays in the grid frame. `capsules`: (2 + M, 8) float32, two rows of parameters, then the vessels of
`vessels.hashed`. `buckets`: their hash.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from endorender.ct.volume import Volume
from endorender.engine import ti
from endorender.render.device import backend, launches
from endorender.render.device.cache import kernels, per_object
from endorender.render.medium import vessels
from endorender.render.medium.grid import Grid
from endorender.render.medium.prepared import prepare
from endorender.scene.mucosa import Mucosa
from endorender.scene.scene import Scene

vec2, vec3, vec4, ivec3 = ti.math.vec2, ti.math.vec3, ti.math.vec4, ti.math.ivec3
HEAD = 2  # rows of parameters before the vessels
GROWN = ("seed", "vessels", "territory", "capillary", "trunk", "depth")  # what the trees depend on
GUIDE_MM = (0.08, 0.2, 0.35)  # depths below the wall over which its albedo averages the layer
VALUE_RMS, SLOPE_RMS = 0.1911, 0.7052  # of `noise`: value, and length of its slope across a plane
POINTS = 1 << 15  # of a launch: a few µs each
STEEPEST = 0.45  # slope of the film over the cosine of incidence: below 1/2 no mirror ray goes below the surface


def layer(scene: Scene) -> tuple[Any, Any]:
    """(capsules, buckets) of a scene where kernels want them; dummies without a layer."""
    if scene.mucosa is None:
        return backend.resident(np.zeros((HEAD, 8), np.float32)), backend.resident(np.zeros(1, np.int32))
    return _layer(scene.medium, scene.mucosa, scene.threshold)


@per_object
def _layer(medium: Volume, mucosa: Mucosa, threshold: float) -> tuple[Any, Any]:
    m = mucosa
    capsules, buckets = _grown(medium, Mucosa(**{name: getattr(m, name) for name in GROWN}), threshold)
    head = np.zeros((HEAD, 8), np.float32)
    head[0] = (
        *(m.vessel_strength, m.redness, m.mottling, 1 / m.mottling_scale),
        *(m.follicles, 1 / m.follicle_scale, m.film, 1 / m.film_scale),
    )
    head[1, 0] = m.seed % (1 << 24)
    return backend.resident(np.concatenate([head, capsules])), backend.resident(buckets)


@per_object
def _grown(medium: Volume, mucosa: Mucosa, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Vessels of a volume, grown once while it lives: seconds for a large colon."""
    prepared = prepare(medium)
    field = Grid(prepared.host, prepared.spacing)
    smooth = prepared.smooth._replace(values=backend.fetch(prepared.smooth.values))
    return vessels.hashed(vessels.grow(field, smooth, threshold, mucosa))


@kernels
def device() -> SimpleNamespace:
    """Taichi functions `noise`, `shares`, `tilt`."""

    @ti.func
    def gradient(i, j, k, seed):
        """A vector in [-1, 1]³ for a lattice point, by the finaliser of MurmurHash3 over its coordinates."""
        h = ti.cast(i, ti.u32) * ti.u32(0x8DA6B343) + ti.cast(j, ti.u32) * ti.u32(0xD8163841)
        h = (h + ti.cast(k, ti.u32) * ti.u32(0xCB1AB31F)) ^ (ti.cast(seed, ti.u32) * ti.u32(0x9E3779B1))
        h = (h ^ (h >> ti.u32(16))) * ti.u32(0x85EBCA6B)
        h = (h ^ (h >> ti.u32(13))) * ti.u32(0xC2B2AE35)
        h = h ^ (h >> ti.u32(16))
        ten = ti.u32(1023)
        return vec3(h & ten, (h >> ti.u32(10)) & ten, (h >> ti.u32(20)) & ten) / 511.5 - 1.0

    @ti.func
    def noise(p, seed):
        """Gradient noise (Perlin 1985, quintic fade of 2002) at p: (∇x, ∇y, ∇z, value), lattice of edge 1."""
        base = ti.floor(p)
        f = p - base
        at = ti.cast(base, ti.i32)
        u = f * f * f * (f * (f * 6.0 - 15.0) + 10.0)
        du = 30.0 * f * f * (f * (f - 2.0) + 1.0)
        out = vec4(0.0)
        for corner in range(8):  # a loop: one hash in the machine code instead of eight
            e = ivec3(corner & 1, (corner >> 1) & 1, corner >> 2)
            w = ti.select(e == 1, u, 1.0 - u)
            dw = ti.select(e == 1, du, -du)
            g = gradient(at.x + e.x, at.y + e.y, at.z + e.z, seed)
            v = g.dot(f - e)
            weight = w.x * w.y * w.z
            slope = weight * g + v * vec3(dw.x * w.y * w.z, w.x * dw.y * w.z, w.x * w.y * dw.z)
            out += vec4(slope, weight * v)
        return out

    @ti.func
    def vessel(capsules: ti.template(), buckets: ti.template(), x):
        """0 outside vessels, 1 inside, smooth across their walls."""
        c = ti.cast(ti.floor(x / ti.static(vessels.CELL)), ti.i32)
        # The first list begins behind all offsets, which gives away how many there are.
        h = ((c.x * 73856093) ^ (c.y * 19349663) ^ (c.z * 83492791)) & (buckets[0] - 2)
        most = 0.0
        for n in range(buckets[h], buckets[h + 1]):
            row = ti.static(HEAD) + buckets[n]
            a = vec3(capsules[row, 0], capsules[row, 1], capsules[row, 2])
            b = vec3(capsules[row, 4], capsules[row, 5], capsules[row, 6])
            along = b - a
            s = ti.math.clamp((x - a).dot(along) / ti.max(along.norm_sqr(), 1e-12), 0.0, 1.0)
            r = ti.math.mix(capsules[row, 3], capsules[row, 7], s)
            fade = ti.static(vessels.EDGE) * r + ti.static(vessels.LEAST_EDGE)
            most = ti.max(most, ti.math.smoothstep(r + fade, r - fade, (x - a - s * along).norm()))
        return most

    @ti.func
    def shares(capsules: ti.template(), buckets: ti.template(), x):
        """What vessels, and outside of them blood-rich mucosa, contribute to the albedo at x, 0..1 each."""
        seed = ti.cast(capsules[1, 0], ti.i32)
        red = capsules[0, 1]
        for octave in range(3):
            # Two octaves of patches, one of follicles; each its own lattice, so that none shows.
            scale = capsules[0, 3] * ti.select(octave == 0, 1.0, 2.6)
            strength = capsules[0, 2] * ti.select(octave == 0, 0.85, 0.5)
            if octave == 2:
                scale, strength = capsules[0, 5], capsules[0, 4]
            if strength > 0.0:
                red += strength / ti.static(VALUE_RMS) * noise(x * scale + 17.3 * octave, seed + octave).w
        inside = 0.0
        if buckets[0] > 1:
            inside = capsules[0, 0] * vessel(capsules, buckets, x)
        return vec2(inside, ti.math.clamp(red, 0.0, 1.0))

    @ti.func
    def tilt(capsules: ti.template(), x, d, n):
        """Normal of the film at x of the wall with normal n, for a ray along d: n tilted by the film's waves.

        The tilt is cut where the mirror ray would go below the surface (after STEEPEST).
        """
        seed = ti.cast(capsules[1, 0], ti.i32)
        slope = vec3(0.0)
        if capsules[0, 6] > 0.0:
            for octave in range(2):
                scale = capsules[0, 7] * ti.select(octave == 0, 1.0, 2.7)
                strength = capsules[0, 6] * ti.select(octave == 0, 0.8, 0.6) / ti.static(SLOPE_RMS)
                g = noise(x * scale + 5.7 * octave, seed + 7 + octave)
                slope += strength * vec3(g.x, g.y, g.z)
            slope -= n * n.dot(slope)
            slope *= ti.min(1.0, ti.static(STEEPEST) * ti.abs(n.dot(d)) / ti.max(slope.norm(), 1e-9))
        return (n - slope).normalized()

    return SimpleNamespace(noise=noise, vessel=vessel, shares=shares, tilt=tilt)


@kernels
def _shares_at() -> Any:
    functions = device()

    @ti.kernel
    def shares_at(
        capsules: ti.types.ndarray(),
        buckets: ti.types.ndarray(),
        points: ti.types.ndarray(),
        out: ti.types.ndarray(),
        first: ti.i32,
        last: ti.i32,
    ):
        for i in range(first, last):
            at = vec3(points[i, 0], points[i, 1], points[i, 2])
            share = functions.shares(capsules, buckets, at)
            out[i, 0], out[i, 1] = share.x, share.y

    return shares_at


def shares(scene: Scene, points: np.ndarray) -> np.ndarray:
    """(N, 3) points, grid frame -> (N, 2) shares of vessels and of blood-rich mucosa."""
    backend.ensure()
    out = backend.resident(np.zeros((len(points), 2), np.float32))
    given = (*layer(scene), backend.resident(np.ascontiguousarray(points, np.float32)), out)
    for part in launches.parts(len(points), POINTS):
        _shares_at()(*given, *part)
        backend.wait()
    return backend.fetch(out)


def below(scene: Scene, points: np.ndarray, normals: np.ndarray, depths: Sequence[float]) -> np.ndarray:
    """(D, N, 2) `shares` at D depths (mm) below points of the wall. points, normals: (N, 3), grid frame."""
    return np.stack([shares(scene, np.nan_to_num(points - depth * normals)) for depth in depths])


def tinted(albedo: np.ndarray, rich: np.ndarray, vessel: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Albedo (N, 3) of tissue behind the wall with the layer in it, averaged over depth.

    rich, vessel: (N, 3) albedo of blood-rich mucosa and inside vessels there. layer: from `below`.
    """
    total = np.zeros_like(albedo)
    for share in layer:
        red = albedo + share[:, 1:] * (rich - albedo)
        total += red + share[:, :1] * (vessel - red)
    return np.asarray(total / len(layer))
