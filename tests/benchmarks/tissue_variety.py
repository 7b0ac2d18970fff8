"""Plain pictures or path-traced ones of many tissues, after the same plain training: which helps on foreign pictures?

    python tests/benchmarks/tissue_variety.py OUT --start RUN --data DATASET --test NAME=DATASET [--test ...]

RUN: a network trained on plain pictures. DATASET: of the preset `training`, each view in a tissue of its own and plain.
The response is drawn at load in both arms, plain pictures get the tints of tissue too, viewpoints and steps are equal.
What `adapt` asks (docs/protocol.md), but for tissue: there the path-traced arm has three looks. With `--beside` the
second arm has the plain pictures too, and both draw white balance as plain ones need it. Prints less abs_rel of the
path-traced arm with its interval over seeds and patients. Finished runs are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from training import statistics
from training.compare import load_evaluation
from training.evaluate import evaluate
from training.presets import GREY_TO_RED, LEAD, RESPONSE, SHAPE, TINTS, UNVARIED
from training.trainer import train

COMMON: dict[str, Any] = {"batch": 8, "loss": SHAPE, "ema": 0.999, "workers": 0, "learning_rate": 7e-4,
                          "validate_every": 100_000}  # fmt: skip
VARIED = {**UNVARIED, "mirror": 0.5, "rotation": 15.0, "zoom": [1.0, 1.5]}
GREY = RESPONSE | {"white_balance": TINTS}
WIDE = RESPONSE | {"white_balance": GREY_TO_RED}
Arms = dict[str, tuple[list[str] | None, dict[str, Any]]]  # variations and response
INSTEAD: Arms = {"plain": (["synthetic"], GREY), "path-traced": (["randomized"], RESPONSE)}
BESIDE: Arms = {"plain": (["synthetic"], WIDE), "both": (None, WIDE)}


def errors(run: Path, test: str, title: str) -> Any:
    """The run's evaluation on a test set, made if need be."""
    out = run.with_name(f"{run.name}-on-{title}")
    if not out.exists():
        evaluate(run, test, out, (LEAD,), None, title=title)
    return load_evaluation(out)


def main() -> None:
    """Train what is missing, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--data", required=True, action="append")
    parser.add_argument("--test", action="append", required=True, metavar="NAME=DATASET")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--beside", action="store_true")
    asked = parser.parse_args()
    arms = BESIDE if asked.beside else INSTEAD
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    units: dict[str, list[str]] = {}
    for seed in range(asked.seeds):
        for arm, (variations, response) in arms.items():
            config = {"seed": seed, "steps": asked.steps, "augment": {**VARIED, "response": response}}
            if variations:
                config["variations"] = variations
            run = train(COMMON | config, asked.out / f"{arm}-{seed}", asked.data, asked.start, True)
            for name, test in (given.split("=", 1) for given in asked.test):
                judged = errors(run, test, name)
                found.setdefault((arm, name), []).append(np.array(judged.values(LEAD, "abs_rel")))
                units[name] = [row["patient"] for row in judged.frames if row["protocol"] == LEAD]
    for name, patients in units.items():
        plain, traced = (np.array(found[arm, name]) for arm in arms)
        gain = statistics.reduction(plain, traced, patients)
        told = ", ".join(f"{before:.3f} -> {after:.3f}" for before, after in zip(plain.mean(1), traced.mean(1)))
        print(f"{name}: {statistics.in_words(gain)}; by seed {told}")


if __name__ == "__main__":
    main()
