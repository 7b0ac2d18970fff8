"""What a refracting wall costs: time and noise of an endoscope's view of a phantom beside the straight wall.

    python tests/benchmarks/boundary.py

    python tests/benchmarks/boundary.py all

Prints seconds, median relative variance of a path, and the picture's mean, for both walls and the same seed. `all`: of
the refracting wall alone, with every hit on an emitter counted (`refraction.SMALL` = 0), and the mean's standard error.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.dataset import configure
from endorender.dataset.patient import prepare
from endorender.render import init, radiance
from endorender.render.transport import refraction
from endorender.scene import Scene
from endorender.scene.looks import LOOKS

SPP = 64


def view(look: str, size: str = "128x96") -> Scene:
    """The first view of a phantom with the endoscope's lights and the mucosa layer."""
    config = configure(ct=["phantom:1"], size=size, views=1, preset="paper4")
    ready = prepare(config, config.ct[0].alias, None, lambda *_: None)
    return ready.view(0).scene.with_(tissue=LOOKS[look].tissue)


def main() -> None:
    """Both walls under two looks."""
    every = sys.argv[1:] == ["all"]
    if every:
        refraction.SMALL = 0.0
    init("cpu")
    print(
        "look              wall          seconds  rel. variance (median, mean)   mean of red, green, blue  (its error)"
    )
    for look in ("yellow_tan", "mucosa_physical"):
        scene = view(look)
        for wall in ("refracting",) if every else ("straight", "refracting"):
            bent = scene.with_(boundary=wall)
            radiance([bent], 1, 0)
            began = time.process_time()
            image = radiance([bent], SPP, 1)[0]
            seconds = time.process_time() - began
            mean = image.mean.mean(-1)
            relative = SPP * image.variance.mean(-1) / np.maximum(mean, 1e-9) ** 2
            whole = SPP * image.variance.mean() / image.mean.mean() ** 2
            error = np.sqrt(image.variance.sum((0, 1)))[0] / mean.size
            print(
                f"{look:17} {wall:12} {seconds:8.2f}  {np.median(relative):8.2f} {whole:8.2f}"
                f"                {np.round(image.mean.mean((0, 1)), 4)}  ({error:.4f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
