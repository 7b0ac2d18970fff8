"""`make bench`, second part: endorender beside itself and beside plain C, as ratios from one run.

    python tests/benchmarks/goals.py [ROW ...] [--json FILE] [--keep]

Rows: vertices, threads, looks, volume, frame. `frame` takes about a quarter of an hour for its reference. Needs a C
compiler (`cc`) for `vertices`. Times are medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.ct import phantoms, prepare
from endorender.ct.volume import Volume
from endorender.render import denoise, guides, in_parts, init, radiance
from endorender.render.medium.majorants import bounds
from endorender.render.medium.prepared import prepare as prepare_medium
from endorender.scene import LOOKS, Endoscope, HenyeyGreenstein, Pinhole, Point, Scene, Tissue
from endorender.scene.trajectory import poses
from tests.benchmarks import history

ROUNDS = 3
HERE = Path(__file__).parent


def tube(n: int = 128) -> Volume:
    """A bent, folded, noisy tube along the third axis of an n³ volume of 128 mm edge."""
    pitch = 128 / n
    x, y, z = (a * pitch for a in np.meshgrid(*[np.arange(n, dtype=np.float32)] * 3, indexing="ij", sparse=True))
    dx, dy = x - 64 - 20 * np.sin(2 * np.pi * z / 170), y - 64 - 14 * np.cos(2 * np.pi * z / 140)
    radius = 14 + 4 * np.abs(np.sin(0.2 * z)) + 1.5 * np.cos(5 * np.arctan2(dy, dx) + 0.3 * z)
    depth = np.hypot(dx, dy) - radius
    hu = -1000 + 1040 / (1 + np.exp(-2 * depth))
    hu = np.where(depth > 0.5, hu + np.random.default_rng(0).normal(0, 15, hu.shape), hu)
    return Volume(np.round(hu).astype(np.int16), np.diag([pitch, pitch, pitch, 1.0]))


def tube_scene(volume: Volume, surface: str = "volume", size: int = 128) -> Scene:
    """A look down the tube, lit from the lens."""
    tissue = Tissue(
        hu=(-700, -100, 100, 1500),
        sigma_t=(0, 2.4, 2.7, 3.0),
        albedo=((0.9, 0.7, 0.6), (0.93, 0.78, 0.7), (0.95, 0.82, 0.74), (0.97, 0.9, 0.85)),
        phase=HenyeyGreenstein(g=0.7),
    )
    pose = np.eye(4)
    pose[:3, 3] = 64 + 20 * np.sin(2 * np.pi * 16 / 170), 64 + 14 * np.cos(2 * np.pi * 16 / 140), 16
    light = Point(intensity=(1000.0,) * 3) if surface == "volume" else Endoscope()
    return Scene(volume, Pinhole(width=size, height=size, fov=90), pose, (light,), tissue, surface=surface)


def endoscope_view(width: int, height: int, number: int = 2) -> Scene:
    """A view of the first phantom colon."""
    ready = prepare(phantoms.colon(1))
    pose = poses(ready.volume, ready.lumen, ready.path, 8, 0)[number]
    return Scene(
        ready.volume, Pinhole(width=width, height=height), pose, (Endoscope(),), threshold=ready.lumen.threshold
    )


def timed(scenes: list[Scene], *args, **values) -> tuple[float, list]:
    """CPU seconds of `radiance`, and what it made."""
    began = time.process_time()
    made = radiance(scenes, *args, **values)
    return time.process_time() - began, made


def vertices() -> dict:
    """Vertices per second over those of plain C: both draw the same paths, so paths per second tell."""
    spp, thin = 8, 0.8
    volume = tube()
    scene = tube_scene(volume)
    table = np.delete(scene.tissue.table(), 1, axis=1)  # without the phase parameter
    most = np.abs(bounds(prepare_medium(volume), scene.tissue, "volume", scene.threshold)[..., 0])
    data = volume.hu.tobytes() + np.ascontiguousarray(most).tobytes() + table.tobytes()
    data += scene.world_from_camera[:3, 3].astype(np.float32).tobytes()
    radiance([scene], 1, 0, integrator={"type": "volpath", "roulette": thin})
    ours, theirs, means = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ceiling"
        flags = ["-O3", "-march=native", "-ffast-math"]
        subprocess.run(["cc", *flags, str(HERE / "ceiling.c"), "-lm", "-o", str(program)], check=True)
        for n in range(ROUNDS):
            seconds, made = timed([scene], spp, n, integrator={"type": "volpath", "roulette": thin})
            ours.append(seconds / (128 * 128 * spp))
            words = [str(program), "128", "4", "128", str(spp), str(thin)]
            out = subprocess.run(words, input=data, capture_output=True, check=True).stdout.split()
            theirs.append(float(out[0]))
            means.append(float(made[0].mean.mean()) / float(out[2]))
    ratio = statistics.median(theirs) / statistics.median(ours)
    return {"vertices per second over C": ratio, "image mean over C": statistics.mean(means), "per path": float(out[1])}


def threads() -> dict:
    """Wall time of one thread over that of two, each in a process of its own."""
    code = (
        "import sys, time; sys.path[:0] = [sys.argv[2], sys.argv[3]]; from goals import *\n"
        "init('cpu', threads=int(sys.argv[1])); s = endoscope_view(96, 72); radiance([s], 1, 0)\n"
        "t = time.perf_counter(); radiance([s], 24, 1); print(time.perf_counter() - t)"
    )
    times: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(ROUNDS):
        for count, found in times.items():
            words = [sys.executable, "-c", code, count, str(HERE), str(HERE.parents[1])]
            found.append(float(subprocess.run(words, capture_output=True, check=True, text=True).stdout))
    return {"two threads over one": statistics.median(times["1"]) / statistics.median(times["2"])}


def looks() -> dict:
    """Cost of four looks from one path over that of four single renders, at equal noise."""
    scene = endoscope_view(96, 72)
    scenes = [scene.with_(tissue=LOOKS[n].tissue) for n in ("yellow_tan", "pale_pink", "dark_red", "deep_red")]
    for group in [scenes, *[[s] for s in scenes]]:
        radiance(group, 1, 0)
    together, alone, noise = [], [], []
    for n in range(ROUNDS):
        seconds, made = timed(scenes, 16, n)
        single = [timed([s], 16, n) for s in scenes]
        together.append(seconds)
        alone.append(sum(t for t, _ in single))
        noise.append([float(a.variance.mean() / b[0].variance.mean()) for a, (_, b) in zip(made, single)])
    ratio = statistics.median(together) / statistics.median(alone)
    variance = float(np.median(np.mean(noise, 1)))
    return {"cost of four looks over four renders": ratio * variance, "time": ratio, "variance": variance}


def volume() -> dict:
    """The same anatomy in 512³ voxels over 128³: time of a frame, and memory over that of the int16 volume."""
    scenes = {n: tube_scene(tube(n), "interface", 64) for n in (128, 512)}
    times: dict[int, list[float]] = {128: [], 512: []}
    for s in scenes.values():
        radiance([s], 1, 0)
    for k in range(ROUNDS):
        for n, s in scenes.items():
            times[n].append(timed([s], 16, k)[0])
    scene = scenes[512]
    held = prepare_medium(scene.medium)
    grid = bounds(held, scene.tissue, scene.surface, scene.threshold)
    memory = sum(a.nbytes for a in (held.field, held.smooth.values, held.low, held.high, held.albedo, grid))
    return {
        "time of a frame, 512³ over 128³": statistics.median(times[512]) / statistics.median(times[128]),
        "memory over the int16 volume": memory / scene.medium.hu.astype(np.int16).nbytes,
    }


def frame() -> dict:
    """Wall time, warm, of the 256×256 endoscope frame that reaches 35 dB against 4096 samples, denoised.

    The reference covers a band of 48 rows through the middle, which the error is taken over.
    """
    scene = endoscope_view(256, 256)
    rows = slice(104, 152)
    k = scene.camera.K
    band = Pinhole(width=256, height=48, fx=k[0, 0], fy=k[1, 1], cx=k[0, 2], cy=k[1, 2] - rows.start)
    truth = radiance([scene.with_(camera=band)], 4096, 99)[0].mean
    response = LOOKS["pale_pink"].response.resolve(truth)
    guide = guides([scene])[0]
    for spp in (2, 4, 8, 16, 32, 64, 128):
        denoise(in_parts([scene], 1, 0)[0][0].mean, guide)  # warm
        began = time.perf_counter()
        light, mirrored = in_parts([scene], spp, 1)[0]
        image = denoise(light.mean, guides([scene])[0], mirrored)
        wall = time.perf_counter() - began
        error = (response.apply(image)[rows].astype(float) - response.apply(truth).astype(float)) / 255
        decibel = float(-10 * np.log10(np.mean(error**2)))
        print(f"  {spp} samples: {decibel:.1f} dB in {wall:.1f} s", flush=True)
        if decibel >= 35:
            break
    return {"seconds to 35 dB": wall, "samples": spp, "decibel": decibel}


ROWS = {f.__name__: f for f in (vertices, threads, looks, volume, frame)}


def main() -> None:
    """Print each row, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="add the rows to history.jsonl")
    asked = parser.parse_args()
    init("cpu")
    found = {}
    for name in asked.rows or ROWS:
        found[name] = ROWS[name]()
        print(f"{name:10}", "; ".join(f"{k}: {v:.3g}" for k, v in found[name].items()), flush=True)
        if asked.keep:
            history.keep(f"goals {name}", found[name])
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
