"""Makes the network that ships (training/shipped), from its pictures to its card; goes on where it was interrupted.

    python docs/make_shipped.py OUT [NAME=DATASET ...]

OUT gets the frames (some gigabytes), the runs and their evaluations. DATASET: a further test set of the card, for
example cycles=simcol3d@DIR (docs/foreign.md); it may show nobody that is trained on. Nothing of the card is typed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cli.progress import stages
from endorender.dataset import configure, generate
from endorender.dataset.variation import SCOPES, WANDERING
from training.evaluate import evaluate
from training.experiments import experiment
from training.presets import GREY_TO_RED, RESPONSE, SHAPE, UNVARIED
from training.shipping import card, ship
from training.trainer import train

# Frames by name: what `endorender render` takes; and those of the experiment `adapt` in `small`. No experiment judges
# on what is trained on here; phantoms to train on and to judge on are apart, and nothing was chosen on the latter.
LENSES: dict[str, Any] = {"size": "120x96", "camera": {"choice": SCOPES}, "trajectory": WANDERING}
FRAMES: dict[str, dict[str, Any]] = {
    "plain": {"preset": "synthetic", "ct": ["phantom:1301..1420"], "views": 40, **LENSES},
    "cinematic": {"preset": "training", "ct": ["phantom:1001..1030"], "views": 30},
    "phantoms": {"preset": "paper4", "ct": ["phantom:1151..1162"], "views": 5, "size": "120x96", "spp": 12,
                 "denoise": True, "camera": {"type": "pinhole", "fov": 100}},
    "airway": {"preset": "paper4", "ct": ["sample"], "views": 20, "size": "120x96", "spp": 12, "denoise": True},
}  # fmt: skip
# Plain and path-traced pictures together, from the first step on: of path-traced ones alone there are too few.
AUGMENT: dict[str, Any] = {**UNVARIED, "mirror": 0.5, "rotation": 15.0, "zoom": [1.0, 1.5],
                           "response": RESPONSE | {"white_balance": GREY_TO_RED}}  # fmt: skip
TRAINED_ON = ["plain", "cinematic", "study/data/plain", "study/data/learn"]
RUN: dict[str, Any] = {"model": {"type": "unet"}, "steps": 26_000, "batch": 8, "loss": SHAPE, "ema": 0.999,
                       "workers": 0, "validate_every": 4000, "augment": AUGMENT}  # fmt: skip
TESTS = {"phantoms": "phantoms in four looks, and plain", "airway": "airway in four looks, and plain"}


def make(out: Path, others: dict[str, str]) -> None:
    """Frames, runs, evaluations, the folder that ships."""
    judged = []
    with stages() as stage:
        experiment("adapt", out / "study", "small", stage, until="render")
        for name, values in FRAMES.items():
            with stage(f"render {name}") as progress:
                generate(configure(**values), out / name, True, None, progress)
        with stage("train") as progress:
            run = train(RUN, out / "run", [str(out / each) for each in TRAINED_ON], None, True, progress)
        for name, test in {**{name: str(out / name) for name in TESTS}, **others}.items():
            judged.append(out / "evaluations" / name)
            if not judged[-1].exists():
                with stage(f"evaluate on {name}") as progress:
                    evaluate(run, test, judged[-1], ("median", "metric"), None, title=TESTS.get(name, name),
                             progress=progress)  # fmt: skip
    ship(run, judged)
    print(card())


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("=" in other for other in sys.argv[2:]):
        sys.exit(__doc__)
    make(Path(sys.argv[1]), dict(other.split("=", 1) for other in sys.argv[2:]))
