"""Whether a device does all that this product asks of it: pictures, depths, a preview, gradients, a fit.

Does not load Taichi by itself.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

DEVICES = ("cpu", "cuda", "vulkan", "metal")
SAME = 2e-3  # relative difference below which two values count as equal: a step of half floats is 1e-3
LEAST_EQUAL = 0.97  # share of values: where rounding decides, a path turns another way
LEAST_DENOISED = 0.8  # of the dataset's pictures, whose filter spreads such a path over its neighbours


def probe(timeout: float = 600.0) -> dict[str, str]:
    """For each device `works`, or why it does not. Each runs in a process of its own: a bad driver may crash it."""
    root = str(Path(__file__).parents[1])
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"  # not the working directory, which may hold anything
        "from endorender.errors import UserError\nfrom endorender.trial import whole\n"
        "try:\n    whole(sys.argv[2])\nexcept UserError as error:\n    sys.exit(f'error: {error}')"
    )
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", code, root, name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name in DEVICES
    }
    return {name: _verdict(name, process, timeout) for name, process in started.items()}


def _verdict(device: str, process: subprocess.Popen[str], timeout: float) -> str:
    try:
        _, told = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"does not answer within {timeout:.0f} s"
    if process.returncode == 0:
        return "works"
    if process.returncode < 0:
        return f"crashes (signal {-process.returncode})"
    last = (told.strip().splitlines() or ["no reason given"])[-1]
    return last.removeprefix("error: ").removeprefix(f"device {device!r} ").split(";")[0]


def whole(device: str) -> dict[str, np.ndarray]:
    """Everything once, as small as it gets; by name what came of it. UserError where the device is missing.

    A dataset with all looks, the mucosa layer, all depths, what the wall hides and, where they are installed, the
    denoiser; the viewer's preview; gradients; a fit (with torch).
    """
    from endorender.render.images.devices import try_out

    try_out(device)
    return _dataset(device) | _preview() | _gradients() | _fit()


def compare(device: str) -> dict[str, Any]:
    """`render.images.devices.compare`, and for each part of `whole` the share of values that are equal on the CPU."""
    from endorender.render.images import devices

    theirs = whole(device)  # a device that is missing is said at once
    found = devices.compare(device)  # ends on the CPU
    ours = whole("cpu")
    shares = {f"{name}_equal": equal(ours[name], theirs[name]) for name in ours}
    enough = all(share >= least(part.removesuffix("_equal")) for part, share in shares.items())
    return found | shares | {"agrees": found["agrees"] and enough}


def least(part: str) -> float:
    """Share of values of a part of `whole` that must be equal."""
    return LEAST_DENOISED if part == "radiance" else LEAST_EQUAL


def equal(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of values that are equal but for rounding, and not a number in the same places."""
    scale = np.maximum(np.abs(ours), 1e-2 * np.nanmean(np.abs(ours)))
    return float(((np.abs(ours - theirs) <= SAME * scale) | (np.isnan(ours) & np.isnan(theirs))).mean())


def _dataset(device: str) -> dict[str, np.ndarray]:
    from endorender.dataset import configure, generate, open_dataset

    config = configure(
        ct="sample", preset="paper4", views=1, size="24x18", spp=2, device=device, depth="surface,median,expected",
        denoise=importlib.util.find_spec("pyoidn") is not None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        frames = open_dataset(generate(config, Path(folder, "frames"))).frames
        seen = frames[0].geometry()
        traced = next(f for f in frames if f.spp)
        return {
            "radiance": np.stack([f.radiance() for f in frames]),
            "surface": seen["distance"],
            "normal": seen["normal"],
            "hides": seen["hides"].astype(float),
            "median": traced.depth("median")["distance"],
            "expected": traced.depth("expected")["distance"],
        }


def _preview() -> dict[str, np.ndarray]:
    from endorender.render.images.devices import views
    from endorender.viewer.preview import refined

    return {"preview": list(refined(views()["wall"], lambda: None, most=2))[-1].radiance}


def _gradients() -> dict[str, np.ndarray]:
    from endorender.render.images.devices import views
    from endorender.render.images.gradient import gradient

    scene = views(8)["wall"]
    weights = np.ones((scene.camera.height, scene.camera.width, 3))
    found = gradient(scene, weights, ("sigma_t", "air", "albedo", "lights"), spp=64, seed=1)
    assert found.table is not None
    # What a single path decides otherwise would show in a single entry: sums over stretches of HU.
    return {"gradient": np.concatenate([found.table[:1024].reshape(8, -1).sum(1), found.emitters.sum(0)])}


def _fit() -> dict[str, np.ndarray]:
    if importlib.util.find_spec("torch") is None:
        return {}
    from endorender.inverse import fit
    from endorender.inverse.fit import Plan
    from endorender.render.images.devices import views
    from endorender.scene.response import Response

    scene, response = views(8)["wall"], Response(exposure=4.0)
    photograph = np.full((1, 8, 8, 3), (120, 90, 80), np.uint8)
    plan = Plan(steps=1, first=4, last=4, jacobian=2, repeats=0)
    return fit([scene], photograph, response, ["tissue.albedo"], plan=plan).values
