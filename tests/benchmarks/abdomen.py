"""What a whole abdomen costs before anything is rendered: CPU and memory of `inspect` and of a patient made ready.

python tests/benchmarks/abdomen.py [--rounds N] [--size I J K] [TREE ...]: writes a made abdomen (512 x 330 x 422, a
colon of two litres with pools of tagged fluid, a stomach, bowel, lungs, a table, room air) as NIfTI into a temporary
folder. Reads it in processes of their own, in turn from this tree and from the others named (checkouts of earlier
commits, say); prints medians of CPU seconds and peak memory beside the int16 volume, and what they found otherwise.
Exits with 1 if this tree's peak is above 8 times the volume, or its time above a third of another's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[2]
sys.path.insert(0, str(HERE))
TIME_GOAL, MEMORY_GOAL = 1 / 3, 8.0
HEAD = """
import hashlib, json, sys, time
sys.path.insert(0, sys.argv[1])
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
import scipy.ndimage, scipy.sparse.csgraph, scipy.interpolate, skimage.segmentation, nibabel, endorender.ct
"""
INSPECT = """
from cli.inspect import inspected
start, spent = time.monotonic(), time.process_time()
facts = inspected(sys.argv[2], None, None, None, 13.0, None, False, False, None)
facts.pop("warnings", None)
told = {"lumens": facts.get("lumens"), "gaps": facts.get("gaps"), "fluid": facts.get("tagged_fluid")}
"""
READY = """
from endorender.dataset import configure
from endorender.dataset.patient import prepare
config = configure(ct=sys.argv[2], views=20, preset="paper4")
start, spent = time.monotonic(), time.process_time()
ready = prepare(config, "p001", None, lambda share, text: None)
told = {"hu": hashlib.sha256(ready.scene.medium.hu.tobytes()).hexdigest(),
        "inside": hashlib.sha256(ready.inside.tobytes()).hexdigest(),
        "poses": hashlib.sha256(ready.poses.tobytes()).hexdigest()}
"""
SAY = """
print(json.dumps({"seconds": time.monotonic() - start, "cpu": time.process_time() - spent, "peak": peak(),
                  "told": told}))
"""


def measured(code: str, tree: Path, file: Path) -> dict:
    """One run in a fresh process."""
    command = [sys.executable, "-c", HEAD + code + SAY, str(tree), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tree)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Measures and prints."""
    options = argparse.ArgumentParser()
    options.add_argument("trees", nargs="*", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--size", type=int, nargs=3, default=(512, 330, 422))
    given = options.parse_args()
    from tests.ct.bodies import body

    trees = [HERE, *(t.resolve() for t in given.trees)]
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        import nibabel as nib

        file = Path(name) / "abdomen.nii"
        made = body(tuple(given.size), tuple(0.75 * n for n in given.size), level=-20.0, width=27.0).volume
        nib.save(nib.Nifti1Image(made.hu, made.affine), file)
        volume = made.hu.nbytes
        del made
        for title, code in (("inspect", INSPECT), ("a patient made ready", READY)):
            runs: dict[Path, list[dict]] = {tree: [] for tree in trees}
            for _ in range(given.rounds):
                for tree, done in runs.items():
                    done.append(measured(code, tree, file))
            cpu = {tree: statistics.median(r["cpu"] for r in done) for tree, done in runs.items()}
            for tree, done in runs.items():
                memory = max(r["peak"] for r in done) / volume
                told = "" if tree == HERE else f", this tree {cpu[HERE] / cpu[tree]:.2f} times as long"
                same = [k for k, v in done[0]["told"].items() if v != runs[HERE][0]["told"][k]]
                told += f", other {', '.join(same)}" if same else ""
                which = "this tree" if tree == HERE else tree.name
                print(f"{title}, {which}: {cpu[tree]:.1f} s of CPU, peak {memory:.1f} times the volume{told}")
                missed += tree != HERE and cpu[HERE] > TIME_GOAL * cpu[tree]
                missed += tree == HERE and memory > MEMORY_GOAL
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
