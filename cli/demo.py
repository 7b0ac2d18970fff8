"""`endorender demo`: from CT to a fine-tuned depth network and its report.

The networks learn on phantoms and are judged on a phantom patient they never saw. The shipped airway is another
organ, with other folds and other depths: it is rendered and predicted too, and reported apart.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli import _completing as completing


@click.command("demo")
@click.option("--out", default="demo", type=click.Path(), show_default=True, help="Folder for everything it makes.")
@click.option("--size", default="small", type=click.Choice(["tiny", "small"]), show_default=True, help="How much.")
@click.option(
    "--device",
    metavar="NAME",
    help="What renders: auto, cpu, cuda, vulkan or metal (see: doctor).  [cpu]",
    shell_complete=completing.words(*completing.DEVICES),
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="Continue what is in the folder.")
def command(out: str, size: str, resume: bool, device: str | None) -> None:
    """Render phantom colons and a real airway, train on plain images, fine-tune on cinematic ones, judge, report.

    Small takes some minutes on two cores, tiny about two. Interrupted, the same command continues.

    Example: endorender demo --size tiny --out demo
    """
    from pathlib import Path

    from cli.progress import stages

    with stages() as stage:
        made = demo(Path(out), SIZES[size], resume, stage, device or "cpu")
    click.echo("\n".join(f"{name}: {path}" for name, path in made.items()))


Progress = Callable[[float, int, str], None]
Stage = Callable[[str], AbstractContextManager[Progress]]  # a title -> that stage's progress
LOOKS = ("yellow_tan", "pale_pink", "dark_red", "deep_red")


@dataclass(frozen=True)
class Size:
    """How much is made. people: phantoms; the last is the test patient, the one before it validates."""

    people: int
    plain_views: int
    cinematic_views: int
    airway_views: int
    size: str
    spp: int
    steps: int
    fine_tuning_steps: int
    hero: str
    hero_spp: int


SIZES = {
    "tiny": Size(3, 6, 1, 1, "64x48", 4, 30, 10, "128x96", 8),
    "small": Size(6, 40, 5, 4, "128x96", 16, 400, 150, "640x480", 16),
}


def demo(out: Path, size: Size, resume: bool, stage: Stage, device: str = "cpu") -> dict[str, Path]:
    """Make everything below `out` and return what to look at first, by name. device: what renders."""
    people = [f"phantom:{seed}" for seed in range(1, size.people + 1)]
    aliases = [f"p{n:03d}" for n in range(1, size.people + 1)]
    splits = {"train": aliases[:-2], "val": aliases[-2:-1], "test": aliases[-1:]}
    common: dict[str, Any] = {"size": size.size, "spp": size.spp, "denoise": True, "device": device}
    plain = _render(
        out, "plain", resume, stage, ct=people, preset="synthetic", views=size.plain_views, splits=splits, **common
    )
    common["preset"] = "paper4"
    cinematic = _render(out, "cinematic", resume, stage, ct=people, views=size.cinematic_views, splits=splits, **common)
    sample = [{"ct": "sample", "alias": "airway"}]
    airway = _render(
        out, "airway", resume, stage, ct=sample, views=size.airway_views, splits={"test": ["airway"]}, **common
    )
    runs = _train(out, size, resume, stage, plain, cinematic)
    evaluations = _evaluate(out, stage, runs, {"phantom never seen": cinematic, "real airway": airway})
    with stage("report"):
        page = _report(out, evaluations)
    hero = _hero(out, size, resume, stage, device)
    return {
        "report": page,
        "cinematic frames": cinematic / "contact_sheet.png",
        "real airway": airway / "contact_sheet.png",
        "plain frames": plain / "contact_sheet.png",
        "one large picture": hero,
    }


def _render(out: Path, name: str, resume: bool, stage: Stage, **values: Any) -> Path:
    from endorender.dataset import configure, generate

    with stage(f"render {name}") as progress:
        return generate(configure(**values), out / name, resume, progress=progress)


def _train(out: Path, size: Size, resume: bool, stage: Stage, plain: Path, cinematic: Path) -> dict[str, Path]:
    """Plain training, then the same further steps on plain images (the baseline) and on the four looks.

    Without those further steps the baseline would be judged after less training than the others.
    """
    from training.trainer import train

    def run(name: str, data: Path, start: Path | None, **values: Any) -> Path:
        with stage(f"train {name}") as progress:
            return train(values, out / "runs" / name, data, start, resume, progress, say=lambda text: None)

    base = run("plain", plain, None, variations=["synthetic"], steps=size.steps)
    more = {"steps": size.fine_tuning_steps, "learning_rate": 5e-4}
    tuned: dict[str, Any] = {"variations": LOOKS, "steps": size.fine_tuning_steps}
    return {
        "plain images only": run("plain-further", plain, base, variations=["synthetic"], **more),
        "last layer fine-tuned": run("last-layer", cinematic, base, fine_tune="last-layer", **tuned),
        "all layers fine-tuned": run("full", cinematic, base, learning_rate=5e-4, **tuned),
    }


def _evaluate(out: Path, stage: Stage, runs: dict[str, Path], data: dict[str, Path]) -> list[Path]:
    """Every network on every test set. A finished evaluation stays as it is."""
    from training.evaluate import evaluate

    found = []
    for title, dataset in data.items():
        for label, run in runs.items():
            folder = out / "evaluations" / dataset.name / run.name
            if not (folder / "summary.json").is_file():
                with stage(f"evaluate {run.name} on {dataset.name}") as progress:
                    evaluate(run, dataset, folder, variations=LOOKS, label=label, title=title, progress=progress)
            found.append(folder)
    return found


def _report(out: Path, evaluations: list[Path]) -> Path:
    from training.report import report

    return report(evaluations, out / "report")


def _hero(out: Path, size: Size, resume: bool, stage: Stage, device: str) -> Path:
    """One large view of the first phantom."""
    from endorender.dataset import open_dataset

    values = {"ct": ["phantom:1"], "views": 1, "size": size.hero, "spp": size.hero_spp, "denoise": True}
    folder = _render(out, "large", resume, stage, **values, device=device)
    return open_dataset(folder).frames[0].path("image")
