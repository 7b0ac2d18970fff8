"""`make gpu`: what a card does with endorender, beside Mitsuba on the same card, written into docs/devices.md.

    python tests/benchmarks/gpu.py [--device cuda|metal|vulkan|cpu] [--size 512] [--rounds 5] [--page FILE]

A section of the page is headed by the card's name and replaced by a later run on the same one. Times are wall times of
whole calls, after one that compiles, and medians of rounds; of Mitsuba (`cuda_ad_rgb`, the extra `bench`) alternating
with ours. Registers of a thread and lanes of a pixel are tried first and told; the best is what the rest is measured
with, and what to put into `device/launches.py` and `device/backend.py` if it is another than stands there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.engine import ti
from endorender.render import denoise, guides, in_parts, init, radiance
from endorender.render.device import launches
from tests.benchmarks.goals import endoscope_view
from tests.benchmarks.reference_scenes import compare, load_mitsuba
from tests.render.reference import SCENES, build

PAGE = Path(__file__).parents[2] / "docs/devices.md"
LANES = (1 << 16, 1 << 18, 1 << 20)  # threads asked for
REGISTERS = (0, 64, 96, 128)  # of a thread at most; 0: as many as the compiler likes
SPP = {"a": 256, "b": 64, "c": 64}


def card(device: str) -> str:
    """Its name, or the processor's."""
    if device == "cuda" and (tool := shutil.which("nvidia-smi")):
        asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        name, driver = (
            subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(",")
        )
        return f"{name.strip()} (driver {driver.strip()})"
    return f"{device} ({platform.system()} {platform.machine()}, {os.cpu_count()} cores)"


def timed(scene: Any, spp: int, seed: int) -> tuple[float, float]:
    """Wall seconds of a picture, and those that kernels took of them."""
    ti.profiler.clear_kernel_profiler_info()
    began = time.perf_counter()
    radiance([scene], spp, seed)
    wall = time.perf_counter() - began
    ti.sync()
    return wall, ti.profiler.get_kernel_profiler_total_time()


def paths_per_second(name: str, size: int, rounds: int) -> dict[str, float]:
    """Million paths per second of a reference scene, and the share of that time in which kernels run."""
    ref = dataclasses.replace(next(r for r in SCENES if r.name == name), size=size)
    scene, spp = build(ref), SPP[name[0]]
    radiance([scene], 1, 0)
    found = [timed(scene, spp, n) for n in range(rounds)]
    seconds = statistics.median(wall for wall, _ in found)
    return {"rate": 1e-6 * size * size * spp / seconds, "busy": statistics.median(k / w for w, k in found)}


def tuned(device: str, size: int, rounds: int) -> list[dict[str, Any]]:
    """Rates of scene b by threads and registers; leaves the best of them set."""
    rows: list[dict[str, Any]] = []
    for registers in REGISTERS if device == "cuda" else (0,):
        for threads in LANES if device != "cpu" else (launches.THREADS,):
            init(device, registers=registers, profile=True)
            launches.THREADS = threads
            row = paths_per_second("b_g0.0", size, rounds)
            rows.append({"threads": threads, "registers": registers, **row})
    best = max(rows, key=lambda row: row["rate"])
    launches.THREADS = best["threads"]
    init(device, registers=best["registers"], profile=True)
    return rows


def frames(size: int, rounds: int) -> dict[str, float]:
    """Denoised 256² endoscope frames of 16 samples per second, and the shares of tracing and of the filter."""
    scene = endoscope_view(size, size)
    shares: dict[str, list[float]] = {"frame": [], "traced": [], "denoised": []}
    for n in range(rounds + 1):  # the first compiles
        began = time.perf_counter()
        light, mirrored = in_parts([scene], 16, n)[0]
        lean_on = guides([scene])[0]
        traced = time.perf_counter()
        denoise(light.mean, lean_on, mirrored)
        ended = time.perf_counter()
        for name, seconds in zip(shares, (ended - began, traced - began, ended - traced)):
            shares[name].append(seconds)
    whole, traced_s, denoised_s = (statistics.median(times[1:]) for times in shares.values())
    return {"rate": 1 / whole, "traced": traced_s / whole, "denoised": denoised_s / whole}


def beside_mitsuba(device: str, size: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of `reference_scenes.compare` on the card; empty where Mitsuba is not there for it."""
    variant = {"cuda": "cuda_ad_rgb", "cpu": "llvm_ad_rgb"}.get(device)
    if variant is None:
        return []
    try:
        mi = load_mitsuba(variant)
    except SystemExit as error:
        print(error)
        return []
    larger = [dataclasses.replace(ref, size=size) for ref in SCENES]
    return [compare(ref, mi, rounds=rounds, clock=time.perf_counter) for ref in larger]


def section(name: str, found: dict[str, Any]) -> str:
    """The page's part about one card."""
    agreed = found["agrees"]
    shares = [agreed[key] for key in agreed if key.endswith("_equal")]
    out = [f"## {name}", ""]
    out += [
        f"Measured by `make gpu DEVICE={found['device']}` with {found['engine']}; pictures of {found['size']}², "
        f"medians of {found['rounds']} rounds of wall time.",
        "",
        f"- Computes what the processor does: {'yes' if agreed['agrees'] else '**no**'} (random numbers "
        f"{'equal' if agreed['random_numbers'] else 'differ'}, depth within {agreed['depth']:.1e} mm, least share of "
        f"equal values {min(shares):.3f}).",
        f"- 256² frames of 16 samples, denoised: {found['frames']['rate']:.2f} a second "
        f"({found['frames']['traced']:.0%} traced, {found['frames']['denoised']:.0%} filtered on the processor).",
        "",
        "| scene | million paths/s | share of the time in kernels |",
        "| --- | --- | --- |",
    ]
    out += [f"| {scene} | {row['rate']:.3g} | {row['busy']:.2f} |" for scene, row in found["paths"].items()]
    out += ["", "| threads asked for | registers at most | million paths/s, scene b |", "| --- | --- | --- |"]
    out += [f"| {r['threads']} | {r['registers'] or 'free'} | {r['rate']:.3g} |" for r in found["tuned"]]
    if found["mitsuba"]:
        out += ["", "| scene | paths per second over Mitsuba's | efficiency over Mitsuba's |", "| --- | --- | --- |"]
        out += [f"| {r['scene']} | {r['time_ratio']:.1f} | {r['efficiency_ratio']:.1f} |" for r in found["mitsuba"]]
    else:
        out += ["", "Mitsuba is not there for this device."]
    return "\n".join(out) + "\n"


def put(page: Path, name: str, text: str) -> None:
    """The section into the page, in the place of one of the same name or at its end."""
    whole = page.read_text(encoding="utf-8").rstrip() + "\n"
    old = re.search(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", whole, re.M | re.S)
    whole = whole[: old.start()] + text + "\n" + whole[old.end() :] if old else f"{whole}\n{text}"
    page.write_text(whole.rstrip() + "\n", encoding="utf-8")


def agreement(device: str) -> dict[str, Any]:
    """What `endorender doctor --device` finds, in a process of its own."""
    words = [sys.executable, "-m", "endorender", "doctor", "--json", "--device", device]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if not done.stdout:
        sys.exit(done.stderr.strip() or "error: the doctor says nothing")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    device, size, rounds = asked.device, asked.size, asked.rounds
    init(device)  # a device that is missing is said at once
    found: dict[str, Any] = {"device": device, "size": size, "rounds": rounds, "engine": f"Taichi {ti.__version__}"}
    found["agrees"] = agreement(device)
    found["tuned"] = tuned(device, size, rounds)
    found["paths"] = {ref.name: paths_per_second(ref.name, size, rounds) for ref in SCENES}
    found["frames"] = frames(256 if size >= 256 else size, rounds)
    found["mitsuba"] = beside_mitsuba(device, size, rounds)
    text = section(card(device), found)
    print(text)
    put(asked.page, card(device), text)


if __name__ == "__main__":
    main()
