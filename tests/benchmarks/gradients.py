"""Cost and noise of gradients, as ratios from one run.

    python tests/benchmarks/gradients.py [--no-mitsuba] [SCENE ...]

`cost`: CPU seconds of all gradients with their own primal, over those of the forward pass (`radiance`) with as many
samples; medians of rounds. Without and with the further vertex that makes extinction right in air; goals 2.0 and 3.5.
`Mitsuba`: of `prbvolpath`'s backward pass (its own primal too) over ours with that vertex, per path; goal 20 on b.
`noise`: variance of one path's gradient, Mitsuba's over ours, from the spread of rounds; of extinction also the sum
of the variances of single voxels, by their extinction. `efficiency`: that times the ratio of seconds per path; goal 20.
Mitsuba has no estimate of what air would scatter in, so its variance in empty voxels is that of another quantity.
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
from tests.benchmarks.gradient_references import arrays, sums
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


def groups(sigma_t: np.ndarray) -> dict[str, np.ndarray]:
    """Voxels by their extinction."""
    share = sigma_t / sigma_t.max()
    return {
        "empty": share == 0,
        "thin": (share > 0) & (share < 0.3),
        "ramp": (share >= 0.3) & (share <= 0.7),
        "dense": dense(sigma_t),
    }


def noise(name: str, mi, dr) -> None:
    """Print Mitsuba's seconds and noise beside ours, from rounds that alternate."""
    ref, scene = reference(name), build(reference(name))
    samples = {"ours": SPP[name[0]], "theirs": THEIRS[name[0]]}
    ambient = float(radiance([scene], 4, 0)[0].mean.mean())
    wanted = ("sigma_t", "air", "albedo", "phase")

    def ours(spp: int, n: int) -> dict[str, np.ndarray]:
        g = gradient(scene, weights(ref.size), wanted, spp, n, ambient=ambient)
        assert g.sigma_t is not None and g.albedo is not None and g.phase is not None  # noqa: PT018
        return {"sigma_t": g.sigma_t, "g": g.phase, "albedo": g.albedo}

    calls = {"ours": ours, "theirs": lambda spp, n: arrays(ref, mi, dr, spp, n)}
    spent: dict[str, list[float]] = {who: [] for who in calls}
    found: dict[str, list[dict[str, np.ndarray]]] = {who: [] for who in calls}
    for call in calls.values():
        call(1, 0)  # compiles
    for n in range(2 * ROUNDS):
        for who, call in calls.items():
            began = time.process_time()
            found[who].append(call(samples[who], 1 + n))
            spent[who].append((time.process_time() - began) / (samples[who] * ref.size**2))
    seconds_ratio = statistics.median(spent["theirs"]) / statistics.median(spent["ours"])
    print(f"{name:12} Mitsuba's backward over ours, per path: {seconds_ratio:.1f}x")
    per_path = samples["theirs"] / samples["ours"]
    mine, other = ([sums(ref, f) for f in found[who]] for who in ("ours", "theirs"))
    for key in mine[0]:
        a, b = (np.array([r[key] for r in rounds]) for rounds in (mine, other))
        ratio = b.var(ddof=1) / a.var(ddof=1) * per_path
        print(f"{name:12} {key}: Mitsuba's variance of one path over ours {ratio:.2g}, efficiency "
              f"{ratio * seconds_ratio:.3g}x (means {a.mean():.4g}, {b.mean():.4g})", flush=True)  # fmt: skip
    if ref.medium == "cube":
        return
    variances = [np.var([f["sigma_t"] for f in found[who]], 0, dtype=float) for who in ("ours", "theirs")]
    for group, voxels in groups(grids(ref.medium)[0]).items():
        a, b = (v[voxels].sum() for v in variances)
        print(f"{name:12} sigma_t of {group} voxels, each by itself: Mitsuba's variance of one path over ours "
              f"{b / a * per_path:.2g}, efficiency {b / a * per_path * seconds_ratio:.3g}x", flush=True)  # fmt: skip


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
            noise(name, mi, dr)


if __name__ == "__main__":
    main()
