"""What compiling kernels without `fast_math` costs, in CPU seconds of the user.

    python tests/benchmarks/fast_math.py [PAIRS]

Each pair renders the same view in two fresh processes of one thread, with and without, in turns of order: four looks
from one set of paths in `interface`, the last of them in `hybrid` and in `volume`. Each kernel is compiled by a picture
of one sample beforehand. Prints the medians and the median, least and most of the pairs' ratios.
"""

from __future__ import annotations

import json
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

SAMPLES = {"four looks": 32, "hybrid": 96, "volume": 128}


def scenes() -> dict[str, list]:
    """A phantom's first view, 96 x 72, with the endoscope's lights; of `interface` with the mucosa layer."""
    from endorender.dataset import configure
    from endorender.dataset.patient import prepare
    from endorender.scene.looks import LOOKS

    config = configure(ct=["phantom:1"], size="96x72", views=1, preset="paper4")
    wall = prepare(config, config.ct[0].alias, None, lambda *_: None).view(0).scene
    looks = [wall.with_(tissue=LOOKS[n].tissue) for n in ("yellow_tan", "pale_pink", "dark_red", "deep_red")]
    other = {surface: [looks[-1].with_(surface=surface, mucosa=None)] for surface in ("hybrid", "volume")}
    return {"four looks": looks, **other}


def child(fast: bool, path: str) -> None:
    """Render all of them and print seconds."""
    from endorender.engine import ti
    from endorender.render import init, radiance

    begin = ti.init
    ti.init = lambda **options: begin(**{**options, "fast_math": fast})
    init("cpu", threads=1)
    assert ti.lang.impl.current_cfg().fast_math == fast
    took = {}
    for name, views in pickle.loads(Path(path).read_bytes()).items():
        radiance(views, 1, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        radiance(views, SAMPLES[name], 1)
        took[name] = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    print(json.dumps(took))


def main(pairs: int) -> None:
    """Print a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scenes")
        path.write_bytes(pickle.dumps(scenes()))
        took: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for n in range(pairs):
            for fast in (True, False) if n % 2 else (False, True):
                words = [sys.executable, __file__, "child", str(int(fast)), str(path)]
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                took[fast].append(json.loads(done.stdout.splitlines()[-1]))
                print(fast, took[fast][-1], file=sys.stderr, flush=True)
    print(f"{pairs} pairs          with  without   ratio (least, most)")
    for name in SAMPLES:
        with_, without = ([row[name] for row in took[fast]] for fast in (True, False))
        ratios = [b / a for a, b in zip(with_, without, strict=True)]
        print(
            f"{name:12} {statistics.median(with_):8.2f} {statistics.median(without):8.2f}"
            f"   {statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2] == "1", sys.argv[3])
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 7)
