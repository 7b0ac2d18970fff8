"""What fits find of hidden parameters, as a table.

    python tests/benchmarks/recovery.py [EXPERIMENT ...]

Experiments: `one` (each parameter alone), `joint` (all together, 4 views of 64x64), `thin` (extinction), `mitsuba` (a
picture by another renderer), `pose` (from 1 mm and 3 degrees), `search` (from 5 mm and 10 degrees). See
tests/inverse/recoveries.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.inverse import Plan
from tests.inverse import recoveries

# Nearly all samples are for the valley in which albedo, g, roughness and exposure make up for each other.
LARGE = Plan(steps=20, first=48, last=320, jacobian=320, renewed=tuple(range(0, 20, 3)), repeats=1, again=4)
ALL = ("one", "thin", "mitsuba", "joint", "pose", "search")


def told(name: str):
    """Prints each step on stderr."""
    began = time.monotonic()

    def progress(step: int, total: int, loss: float, values: dict) -> None:
        print(f"{name} {step}/{total} loss {loss:.6f} {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    return progress


def shown(name: str, found, rows) -> None:
    """A line for each parameter."""
    print(f"{name}: loss {found.before.loss:.6f} -> {found.after.loss:.6f} {found.stopped}")
    for label, hidden, value, low, high, seen in rows:
        inside = "inside" if low <= hidden <= high else "OUTSIDE"
        verdict = f"{100 * (value / hidden - 1):+6.1f} %  {inside}" if seen else "not observable"
        print(f"  {label:28} hidden {hidden:8.4f}  found {value:8.4f} [{low:.4f}, {high:.4f}]  {verdict}", flush=True)


def run(name: str, seed: int) -> None:
    """One experiment."""
    began = time.monotonic()
    if name == "one":
        for alone in ("response.exposure", "tissue.albedo", "phase.g", "tissue.roughness"):
            plan = Plan(steps=8, repeats=1, again=3)
            found, rows = recoveries.joint([alone], 32, spp=1000, plan=plan, seed=seed, progress=told(alone))
            shown(alone, found, rows)
    elif name in ("pose", "search"):
        far = {"mm": 5.0, "degrees": 10.0, "far": True} if name == "search" else {}
        rows = recoveries.pose(**far, seed=seed, progress=told(name))
        for label, *figures in rows:
            mm, deg, mm1, deg1, mm2, deg2, like = figures
            print(f"  {name} {label}: {mm:.2f} mm {deg:.2f} deg -> {mm1:.2f} mm {deg1:.2f} deg ({like:.3f}) -> "
                  f"{mm2:.3f} mm {deg2:.3f} deg", flush=True)  # fmt: skip
    else:
        made = {"joint": recoveries.joint, "thin": recoveries.thin, "mitsuba": recoveries.by_mitsuba}
        plan = {"joint": LARGE, "thin": replace(LARGE, repeats=2)}.get(name, Plan())
        exact = {"thin": {"spp": 4000}}.get(name, {})
        shown(name, *made[name](plan=plan, seed=seed, progress=told(name), **exact))
    print(f"{name}: {time.monotonic() - began:.0f} s\n", flush=True)


def main() -> None:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="*", default=list(ALL))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for name in asked.experiments:
        run(name, asked.seed)


if __name__ == "__main__":
    main()
