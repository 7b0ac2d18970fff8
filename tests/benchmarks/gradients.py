"""Cost and noise of gradients, as ratios from one run.

    python tests/benchmarks/gradients.py [--no-mitsuba] [SCENE ...]

`cost`: CPU seconds of all gradients with their own primal, over those of the forward pass (`radiance`) with as many
samples; medians of rounds. Without and with the further vertex that makes extinction right in air; goals 2.0 and 3.5.
`Mitsuba`: of `prbvolpath`'s backward pass (its own primal too) over ours with that vertex, per path; goal 20 on b.
`noise`: variance of one path's gradient, Mitsuba's over ours, each from the spread of rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.render import init, radiance
from endorender.render.images.gradient import gradient
from tests.benchmarks.goals import tube, tube_scene
from tests.benchmarks.gradient_references import backward
from tests.benchmarks.reference_scenes import load_mitsuba
from tests.render.gradients import dense, reference, weights
from tests.render.reference import build, grids

ALL = ("sigma_t", "albedo", "phase", "lights", "sky", "coat")
SPP = {"a": 512, "b": 128, "c": 256, "t": 64}
THEIRS = {"a": 256, "b": 16, "c": 32}
ROUNDS = 5


def seconds(call: Callable[[int], object]) -> list[float]:
    """CPU seconds of a call after one that compiles."""
    call(0)
    out = []
    for n in range(ROUNDS):
        began = time.process_time()
        call(1 + n)
        out.append(time.process_time() - began)
    return out


def scene_of(name: str):
    """(scene, wanted): a reference scene, or a tube of tissue without or with a coat."""
    if name.startswith("tube"):
        surface = name.removeprefix("tube_")
        return tube_scene(tube(64), surface, 16), tuple(w for w in ALL if w != "coat" or surface == "interface")
    return build(reference(name)), tuple(w for w in ALL if w != "coat")


def cost(name: str) -> tuple[float, float, float]:
    """Seconds of gradients per path with the further vertex, and both ratios."""
    scene, wanted = scene_of(name)
    w, spp = weights(scene.camera.height), SPP[name[0]]
    forward = seconds(lambda n: radiance([scene], spp, n))
    ambient = float(radiance([scene], 4, 0)[0].mean.mean())
    plain = seconds(lambda n: gradient(scene, w, wanted, spp, n, ambient=ambient))
    with_air = seconds(lambda n: gradient(scene, w, ("air", *wanted), spp, n, ambient=ambient))
    base, one, two = map(statistics.median, (forward, plain, with_air))
    return two / (spp * w.shape[0] * w.shape[1]), one / base, two / base


def noise(name: str, mi, dr, per_path: float) -> None:
    """Print Mitsuba's seconds and noise beside ours."""
    ref, scene = reference(name), build(reference(name))
    inside = dense(grids(ref.medium)[0])
    paths, spp = ref.size**2, THEIRS[name[0]]
    backward(ref, mi, dr, 1, 0)
    rounds, spent = [], []
    for n in range(2 * ROUNDS):
        began = time.process_time()
        rounds.append(backward(ref, mi, dr, spp, 1 + n))
        spent.append(time.process_time() - began)
    print(
        f"{name:12} Mitsuba's backward over ours, per path: {statistics.median(spent) / (spp * paths) / per_path:.1f}x"
    )

    def ours(n: int) -> dict[str, float]:
        g = gradient(scene, weights(ref.size), ("sigma_t", "air", "albedo", "phase"), SPP[name[0]], n)
        names = ("sigma_t", "g", "albedo") if ref.medium == "cube" else ("dense sigma_t", "g", "albedo r", "albedo g")
        assert g.sigma_t is not None and g.albedo is not None and g.phase is not None  # noqa: PT018
        total = g.sigma_t.sum() if ref.medium == "cube" else g.sigma_t[inside].sum()
        albedo = [g.albedo.sum()] if ref.medium == "cube" else g.albedo.sum((0, 1, 2))[:2]
        return dict(zip(names, (total, g.phase[0], *albedo)))

    own = [ours(n) for n in range(2 * ROUNDS)]
    for key in own[0]:
        mine, other = (np.array([r[key] for r in rs]) for rs in (own, rounds))
        ratio = other.var(ddof=1) * spp / (mine.var(ddof=1) * SPP[name[0]])
        print(f"{name:12} noise per path of {key}: Mitsuba's variance over ours {ratio:.2g} (means {mine.mean():.4g}, "
              f"{other.mean():.4g})", flush=True)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", default=["b_g0.0", "c_hdr_g0.0", "tube_volume", "tube_interface"])
    parser.add_argument("--no-mitsuba", action="store_true")
    asked = parser.parse_args()
    init("cpu", threads=1)
    mi = dr = None
    if not asked.no_mitsuba:
        mi = load_mitsuba()
        import drjit

        dr = drjit
        dr.set_thread_count(1)
    for name in asked.scenes:
        per_path, plain, with_air = cost(name)
        print(
            f"{name:16} gradients over forward: {plain:.2f}x, {with_air:.2f}x with extinction in air "
            f"({1e6 * per_path:.1f} µs a path)",
            flush=True,
        )
        if mi and name[:2] in ("a_", "b_", "c_"):
            noise(name, mi, dr, per_path)


if __name__ == "__main__":
    main()
