"""What `similarity_after` costs in truth and saves in time: an endoscope's view of forward-scattering tissue.

    python tests/benchmarks/similarity.py

Prints, for each number of scatterings, the image's mean over the exact one, the median error of a pixel, and the time
of a path over the exact one's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.render import init, radiance
from tests.render.scenes import tube_scene

SPP = 2048


def main() -> None:
    """Albedo 0.99, 0.98, 0.96, g = 0.9, 10 mm⁻¹: a transport mean free path of 1 mm, in a tube 10 mm wide."""
    init("cpu")
    albedo = [[0.99, 0.98, 0.96]] * 4
    exact = tube_scene("interface", (12, 9), sigma_t=[0, 10, 10, 10], albedo=albedo, phase={"type": "hg", "g": 0.9})
    found = {}
    for n in (None, 0, 1, 3, 10, 30, 100):
        scene = exact.with_(tissue=exact.tissue.model_copy(update={"similarity_after": n}))
        radiance([scene], 1, 0)
        began = time.process_time()
        found[n] = radiance([scene], SPP, 1)[0].mean, time.process_time() - began
    truth, full = found.pop(None)
    print("scatterings  mean of red, green, blue   median pixel   time")
    for n, (image, seconds) in found.items():
        means = image.mean((0, 1)) / truth.mean((0, 1))
        error = np.median(np.abs(image / truth - 1))
        print(f"{n:11}  {means[0]:.3f} {means[1]:.3f} {means[2]:.3f}         {error:10.1%}   {seconds / full:.2f}")


if __name__ == "__main__":
    main()
