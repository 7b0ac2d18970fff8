"""First pixel from a cold start: `endorender render` on the shipped scan, and where its time goes.

Prints the best of three runs with a warm kernel cache, in wall-clock and CPU seconds of the stages (the CT is read in
a process of its own, whose CPU seconds are not in them). Goal: 5 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = """
import json, sys, time
began = time.perf_counter()
stages, last = {}, [began, time.process_time()]

def stage(name):
    now = time.perf_counter(), time.process_time()
    stages[name] = [now[0] - last[0], now[1] - last[1]]
    last[:] = now

from endorender.dataset import background, configure, generate, view, work
config = configure(ct="sample", views=1, size="320x240", spp=1, preset="paper4")
stage("import and configure")
warm_up, wait, shots = work.warm_up, background.Background.result, view._geometry
view_begun = []

def ready(*args):
    stage("start Taichi")
    warm_up(*args)
    stage("read and compile kernels")
    from endorender.render.device import backend, launches
    trace = launches.trace

    def first(launch, *args):
        def one(*pixels):
            launch(*pixels)
            backend.wait()
            if "first pixel" not in stages:
                stage("first pixel")
        trace(one, *args)

    launches.trace = first

def waited(*args):
    out = wait(*args)
    stage("wait for the CT, its lumen and a way")
    view_begun.append(True)
    return out

def geometry(*args):
    if view_begun:
        stage("geometry and the mucosa")
    return shots(*args)

work.warm_up, background.Background.result, view._geometry = ready, waited, geometry
generate(config, sys.argv[1])
stage("the rest")
print(json.dumps(stages))
"""


def main() -> None:
    """Run three times and print a table."""
    best: dict[str, list[float]] = {}
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", RUN, str(Path(folder) / "data")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        stages = json.loads(done.stdout.splitlines()[-1])
        if not best or sum(t[0] for t in stages.values()) < sum(t[0] for t in best.values()):
            best = stages
    print(f"{'stage':40} {'wall s':>8} {'CPU s':>8}")
    for name, (wall, cpu) in best.items():
        print(f"{name:40} {wall:8.2f} {cpu:8.2f}")
    names = list(best)
    until = [best[n] for n in names[: names.index("first pixel") + 1]]
    print(f"{'to the first pixel':40} {sum(t[0] for t in until):8.2f} {sum(t[1] for t in until):8.2f}")


if __name__ == "__main__":
    main()
