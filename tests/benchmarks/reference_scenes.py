"""`make bench`: endorender beside Mitsuba 3 on the reference scenes, alternately in one run, as ratios.

efficiency = 1 / (relative variance × seconds per path); relative variance = mean over pixels and channels of the
variance of a round's pictures times its samples, over the squared mean of the image: not that of one path, since a
pixel's samples are not independent here. Times are CPU seconds of the whole process, so threads do not matter. Needs
the extra `bench` and a libLLVM that Dr.Jit can load (Debian: libllvm19; DRJIT_LIBLLVM_PATH).
"""

from __future__ import annotations

import glob
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.render import init, radiance
from tests.benchmarks import history
from tests.render.reference import SCENES, Reference, build, environment, grids

ROUNDS = 8
OURS = {"a": 256, "b": 32, "c": 64}  # samples per pixel and round
THEIRS = {"a": 64, "b": 2, "c": 4}


def load_mitsuba(variant: str = "llvm_ad_rgb"):
    """The module, set to differentiable RGB, on the CPU unless the variant says otherwise."""
    if "DRJIT_LIBLLVM_PATH" not in os.environ and (found := glob.glob("/usr/lib/*/libLLVM-19.so*")):
        os.environ["DRJIT_LIBLLVM_PATH"] = found[0]
    try:
        import mitsuba as mi
    except ImportError:
        sys.exit("error: the benchmark needs Mitsuba: pip install 'endorender[bench]'")
    mi.set_variant(variant)
    return mi


def mitsuba_scene(ref: Reference, mi):
    """The scene for Mitsuba."""
    to_world = mi.ScalarTransform4f

    def volume(a):
        a = np.ascontiguousarray(np.moveaxis(a, [0, 1, 2], [2, 1, 0]))  # theirs is [z, y, x]
        grid = mi.VolumeGrid(a if a.ndim == 4 else a[..., None])
        return {"type": "gridvolume", "grid": grid, "filter_type": "trilinear", "wrap_mode": "clamp"}

    sigma, albedo = grids(ref.medium)
    medium = {"phase": {"type": "hg", "g": ref.g}, "has_spectral_extinction": False}
    if ref.medium == "cube":
        medium |= {"type": "homogeneous", "sigma_t": 8.0, "albedo": 0.9}
    else:
        medium |= {"type": "heterogeneous", "sigma_t": volume(sigma), "albedo": volume(albedo)}
    sensor = {
        "type": "perspective",
        "fov": ref.fov,
        "fov_axis": "x",
        "near_clip": 1e-3,
        "far_clip": 100.0,
        "to_world": to_world().look_at(origin=ref.origin, target=ref.target, up=[0, 0, 1]),
        "film": {
            "type": "hdrfilm",
            "width": ref.size,
            "height": ref.size,
            "rfilter": {"type": "box"},
            "pixel_format": "rgb",
            "component_format": "float32",
        },
        "sampler": {"type": "independent", "sample_count": 16},
    }
    scene = {
        "type": "scene",
        "integrator": {"type": "prbvolpath", "max_depth": ref.max_depth, "rr_depth": ref.max_depth},
        "medium": medium,
        "cube": {
            "type": "cube",
            "to_world": to_world().translate([0.5] * 3).scale(0.5),
            "bsdf": {"type": "null"},
            "interior": {"type": "ref", "id": "medium"},
        },
        "sensor": sensor,
    }
    if ref.air_sphere:
        scene["air"] = {
            "type": "sphere",
            "center": ref.origin,
            "radius": ref.air_sphere,
            "bsdf": {"type": "null"},
            "exterior": {"type": "ref", "id": "medium"},
        }
    for n, light in enumerate(ref.lights):
        if light["type"] == "constant":
            made = {"type": "constant", "radiance": {"type": "rgb", "value": list(light["radiance"])}}
        elif light["type"] == "point":
            made = {
                "type": "point",
                "position": list(light["position"]),
                "intensity": {"type": "rgb", "value": list(light["intensity"])},
            }
        else:
            turned = to_world().rotate([1, 0, 0], 90)
            made = {"type": "envmap", "bitmap": mi.Bitmap(environment()), "to_world": turned}
        scene[f"light{n}"] = made
    return mi.load_dict(scene)


def time_mitsuba(scene, mi, spp: int, seed: int, clock=time.process_time) -> tuple[np.ndarray, float]:
    """Image and seconds."""
    began = clock()
    image = np.array(mi.render(scene, spp=spp, seed=seed))
    return image, clock() - began


def compare(ref: Reference, mi, rounds: int = ROUNDS, clock=time.process_time) -> dict:
    """Alternate rounds of both; relative variance from the spread of rounds, of theirs about our mean."""
    kind = ref.name[0]
    ours, theirs = build(ref), mitsuba_scene(ref, mi)
    radiance([ours], 1, 0)
    time_mitsuba(theirs, mi, 1, 0)  # compiles
    our_seconds, their_seconds, our_images, their_images = [], [], [], []
    paths = ref.size**2
    for n in range(rounds):
        began = clock()
        image = radiance([ours], OURS[kind], 1 + n)[0].mean
        our_seconds.append((clock() - began) / (paths * OURS[kind]))
        our_images.append(image)
        image, seconds = time_mitsuba(theirs, mi, THEIRS[kind], 1 + n, clock)
        their_seconds.append(seconds / (paths * THEIRS[kind]))
        their_images.append(image)
    best = np.mean(our_images, 0, dtype=float)
    spread = np.mean([(i.astype(float) - best) ** 2 for i in their_images], 0)
    variance = np.var(our_images, 0, dtype=float, ddof=1)
    own = variance / rounds  # noise of `best` itself
    mean = best.mean()
    our_relative = float(variance.mean() * OURS[kind] / mean**2)
    their_relative = float(((spread - own).mean() * THEIRS[kind]) / mean**2)
    us, them = statistics.median(our_seconds), statistics.median(their_seconds)
    return {
        "scene": ref.name,
        "million_paths_per_cpu_second": 1e-6 / us,
        "mitsuba_million_paths_per_cpu_second": 1e-6 / them,
        "relative_variance": our_relative,
        "mitsuba_relative_variance": their_relative,
        "time_ratio": them / us,
        "efficiency_ratio": them * their_relative / (us * our_relative),
        "mean_ratio": float(np.mean(their_images) / mean),
    }


def main() -> None:
    """Print a table and, given a path, write JSON. --keep: add to history.jsonl."""
    mi = load_mitsuba()
    init("cpu")
    rows = []
    print(f"{'scene':12} {'Mpaths/s':>9} {'Mitsuba':>9} {'rel.var':>8} {'Mitsuba':>8} {'time':>7} {'efficiency':>11}")
    for ref in SCENES:
        row = compare(ref, mi)
        rows.append(row)
        print(
            f"{row['scene']:12} {row['million_paths_per_cpu_second']:9.3f} "
            f"{row['mitsuba_million_paths_per_cpu_second']:9.4f} {row['relative_variance']:8.3f} "
            f"{row['mitsuba_relative_variance']:8.3f} {row['time_ratio']:6.1f}x {row['efficiency_ratio']:10.1f}x"
            f"   (image means agree to {abs(row['mean_ratio'] - 1):.2%})",
            flush=True,
        )
    for row in rows if "--keep" in sys.argv else ():
        figures = {key: row[key] for key in ("time_ratio", "efficiency_ratio", "million_paths_per_cpu_second")}
        history.keep(f"reference scene {row['scene']}", figures)
    for path in (word for word in sys.argv[1:] if word != "--keep"):
        Path(path).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
