"""Lumens and views of phantoms beside the shipped CT: the table of docs/anatomy.md.

python -m tests.benchmarks.depth_range [PHANTOMS] [VIEWS]
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np

from endorender.ct import open_ct, prepare
from endorender.dataset import configure
from tests.ct import family

SHOWN = ("paper4", "randomized", "training")  # presets, as they fly


def main() -> None:
    """Print the 10th, 50th and 90th percentiles of everything."""
    people, views = (int(a) for a in (*sys.argv[1:3], *("12", "25")[len(sys.argv) - 1 :]))
    found: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for ct in ("sample", *(f"phantom:{n + 1}" for n in range(people))):
        ready, who = prepare(open_ct(ct)), ct.split(":")[0]
        wall = family.walls(ready)
        deep, apart = family.folds(wall, 1.0)
        found[who, "radius, mm"].append(family.radii(wall, 1.0))
        found[who, "folds, part of the radius"].append(deep)
        found[who, "folds apart, mm"].append(apart)
        for preset in SHOWN:
            config = configure(preset=preset, ct=ct, views=views, size="40x32")
            ratio, near, middle = family.views(ready, config, "p001" if ct == "sample" else f"p{ct}").T
            for what, values in (("p95 / median", ratio), ("nearest, mm", near), ("median, mm", middle)):
                found[who, f"{preset}: {what}"].append(values)
    for (who, what), values in found.items():
        print(f"{who:8s} {what:28s} {np.percentile(np.concatenate(values), [10, 50, 90]).round(2)}")


if __name__ == "__main__":
    main()
