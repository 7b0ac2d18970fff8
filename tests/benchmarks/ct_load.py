"""How long a large CT takes to load, and how much memory, beside pydicom's bare decoding of the same files.

python tests/benchmarks/ct_load.py [SLICES]: writes 512 x 512 slices (600: 300 MB) into a temporary folder, and reads
them in processes of their own, in turn; prints the medians, and the CPU's seconds, which tell more on a machine that
does other things as well. The third reader is what pydicom takes to make a volume: arrays that stay. Exits with 1 if a
goal is missed: 1.3 times pydicom's time, peak memory 2.2 times the volume.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

TIME_GOAL, MEMORY_GOAL, ROUNDS = 1.3, 2.2, 3
PEAK = """
import json, sys, time
from pathlib import Path
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
"""
BARE = """
import pydicom, pydicom.pixels
files = sorted(Path(sys.argv[1]).iterdir())
pydicom.dcmread(files[0]).pixel_array
before, start, spent = peak(), time.monotonic(), time.process_time()
for file in files:
    kept = pydicom.dcmread(file).pixel_array
"""
STACKED = """
import numpy as np, pydicom, pydicom.pixels
files = sorted(Path(sys.argv[1]).iterdir())
first = pydicom.dcmread(files[0]).pixel_array
before, start, spent = peak(), time.monotonic(), time.process_time()
kept = np.empty((len(files), *first.shape), np.int16)
for plane, file in zip(kept, files):
    plane[:] = pydicom.dcmread(file).pixel_array
"""
OURS = """
import pydicom.pixels, scipy.ndimage
from endorender.ct import load
before, start, spent = peak(), time.monotonic(), time.process_time()
kept = load(sys.argv[1]).hu
"""
SAY = """
seconds, cpu = time.monotonic() - start, time.process_time() - spent
print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": peak() - before, "volume": kept.nbytes}))
"""


def write(folder: Path, count: int) -> None:
    """A plausible patient: noise about tissue and air, with the usual number of header tags."""
    from tests.ct import made

    rng = np.random.default_rng(0)
    row, col = np.meshgrid(np.arange(512) - 256, np.arange(512) - 256, indexing="ij")
    body = np.where(np.hypot(row, col) < 220, 40, -1000)
    uid = "1.2.3.4"
    for n in range(count):
        ds = made.dataset(np.maximum(body + np.rint(rng.normal(0, 10, body.shape)), -1024), uid)
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, n * 0.7], list(made.AXIAL)
        ds.PixelSpacing, ds.SliceThickness, ds.InstanceNumber = [0.7, 0.7], 0.7, n
        block = ds.private_block(0x0029, "SOME VENDOR", create=True)
        for element in range(60):
            block.add_new(element, "LO", "as scanners write")
        ds.save_as(folder / f"{n:04}.dcm", enforce_file_format=True)


def measured(code: str, folder: Path) -> dict[str, float]:
    """One run in a fresh process."""
    command = [sys.executable, "-c", PEAK + code + SAY, str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Measures and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, count)
        measured(BARE, folder)  # warms the disk cache
        runs = {code: [] for code in (BARE, STACKED, OURS)}
        for _ in range(ROUNDS):
            for code, done in runs.items():
                done.append(measured(code, folder))
    ours = runs[OURS]
    theirs, stacked, mine = (statistics.median(r["seconds"] for r in done) for done in runs.values())
    cpu = [statistics.median(r["cpu"] for r in done) for done in runs.values()]
    memory = max(r["bytes"] / r["volume"] for r in ours)
    print(f"{count} slices of 512 x 512: pydicom {theirs:.2f} s, endorender {mine:.2f} s, {mine / theirs:.2f} times")
    print(f"pydicom into a volume {stacked:.2f} s, {mine / stacked:.2f} times")
    print(f"CPU: {cpu[0]:.2f} s, {cpu[1]:.2f} s into a volume, endorender {cpu[2]:.2f} s")
    print(f"peak memory added: {memory:.2f} times the volume of {ours[0]['volume'] / 2**20:.0f} MiB")
    return int(mine > TIME_GOAL * theirs or memory > MEMORY_GOAL)


if __name__ == "__main__":
    sys.exit(main())
