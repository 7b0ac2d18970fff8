"""Whether a device computes what the CPU computes: one small kernel, then two small views beside the CPU's."""

from typing import Any

import numpy as np

from endorender.ct.volume import Volume
from endorender.engine import ti
from endorender.errors import UserError
from endorender.render.depth.exact import geometry
from endorender.render.device import backend, rng
from endorender.render.images.rendering import radiance
from endorender.render.transport.film import Radiance
from endorender.scene.scene import GridMedium, Scene

SAME = 1e-4  # relative difference below which two pixels count as equal
# Devices round sines and logarithms differently, and now and then a path that is on the edge turns another way.
LEAST_EQUAL = 0.99
LARGEST_Z, LARGEST_RMS_Z = 4.0, 1.15


def try_out(device: str) -> None:
    """Run one small kernel on a device. UserError where it is missing or counts wrongly."""
    numbers = random_bits(device)
    # From the algorithm's definition, in Python's whole numbers.
    mask = (1 << 64) - 1
    first = rng.mix_host((rng.mix_host(rng.key(3, 1) ^ 7)) & mask)
    expected = (rng.mix_host((first + rng.GAMMA) & mask) >> 40) * 2.0**-24
    if numbers[7, 0] != np.float32(expected):
        raise UserError(f"device {device!r} counts wrongly with 64-bit numbers: it cannot be used", "NO_DEVICE")


def random_bits(device: str) -> np.ndarray:
    """(64, 16) float32: the renderer's random numbers as this device makes them."""
    backend.init(device)
    start, rand = rng.start, rng.rand

    @ti.kernel
    def draw(key: ti.u64, out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            state = start(key, i, 0)
            for j in range(out.shape[1]):
                out[i, j] = rand(state)

    held = backend.resident(np.zeros((64, 16), np.float32))
    draw(rng.key(3, 1), held)
    return backend.fetch(held)


def views(size: int = 16) -> dict[str, Scene]:
    """Two small scenes that between them use every part of the kernels: a wall with its coat, and a grid of optics."""
    from endorender.scene import Constant, Endoscope, HenyeyGreenstein, Pinhole, Point, Tissue

    camera = Pinhole(width=size, height=size, fov=90)
    x, y, z = np.meshgrid(*(np.arange(24.0) - 11.5,) * 3, indexing="ij")
    distance = np.maximum(np.hypot(x - 2 * np.sin(z / 6), y) - 5 - np.cos(z), np.abs(z) - 10)
    volume = Volume(np.clip(-550 + 400 * distance, -1000, 40).astype(np.int16), np.eye(4))
    lens = np.eye(4)
    lens[:3, 3] = (10.5, 11.5, 4.0)
    guides = ((1.5, 0.0, 0.0), (-1.5, 0.0, 0.0))
    tissue = Tissue(sigma_t=(0, 1.5, 1.5, 1.5), albedo=((0.9, 0.6, 0.4),) * 4)
    wall = Scene(volume, camera, lens, (Endoscope(guides=guides, intensity=100.0),), tissue, max_scatterings=64)
    sigma_t = np.random.default_rng(0).uniform(0, 8, (6, 6, 6)).astype(np.float32)
    albedo = np.random.default_rng(1).uniform(0.4, 0.9, (6, 6, 6, 3)).astype(np.float32)
    outside = np.eye(4)
    outside[:3, 3] = (3.0, 3.0, -3.0)
    lit = (Constant(radiance=(0.5, 0.6, 0.7)), Point(position=(12, 12, -6), intensity=(90,) * 3, attached="world"))
    medium = GridMedium(sigma_t, albedo, np.eye(4), HenyeyGreenstein(g=0.5))
    return {"wall": wall, "grid": Scene(medium, camera, outside, lit, surface="volume", max_scatterings=64)}


def compare(device: str, spp: int = 48) -> dict[str, Any]:
    """Render the same views on the CPU and on a device, and say how far they agree.

    Per view: `equal`, the share of values within 1e-4 with the same random numbers; with others `z`, the largest
    z-score of the image means, and `rms_z` over the pixels. `random_numbers`: whether they are the same to the bit;
    `depth`: the largest difference, mm; `agrees`: the verdict.
    """
    made = []
    for name in (device, "cpu"):  # a device that is missing is said at once
        bits = random_bits(name)
        images = {n: [radiance([s], spp, seed)[0] for seed in (1, 2)] for n, s in views().items()}
        made.append((bits, images, geometry(views()["wall"]).distance))
    (their_bits, theirs, their_depth), (bits, ours, depth) = made
    found: dict[str, Any] = {
        "device": device,
        "random_numbers": bool((bits == their_bits).all()),
        "depth": float(np.nanmax(np.abs(depth - their_depth))),
    }
    agrees = found["random_numbers"] and found["depth"] < 1e-3
    for name in ours:
        a, b = ours[name][0].mean, theirs[name][0].mean
        found[f"{name}_equal"] = float((np.abs(a - b) <= SAME * np.maximum(np.abs(a), a.mean() * 1e-3)).mean())
        found[f"{name}_z"], found[f"{name}_rms_z"] = z_scores(ours[name][0], theirs[name][1])
        agrees &= found[f"{name}_equal"] >= LEAST_EQUAL
        agrees &= found[f"{name}_z"] < LARGEST_Z and found[f"{name}_rms_z"] < LARGEST_RMS_Z
    return found | {"agrees": bool(agrees)}


def z_scores(a: Radiance, b: Radiance) -> tuple[float, float]:
    """Of two images' difference: the largest z-score over the channels of the means, and the rms over the pixels."""
    difference, variance = a.mean.astype(float) - b.mean, a.variance.astype(float) + b.variance
    lit = variance > 0
    means = difference.mean((0, 1)) / (np.sqrt(variance.sum((0, 1))) / a.mean[..., 0].size)
    return float(np.abs(means).max()), float(np.sqrt((difference[lit] ** 2 / variance[lit]).mean()))
