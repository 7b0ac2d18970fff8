"""What the experiments share: how much is made, and how it is rendered, trained and judged, resumably."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.layouts import open_data
from endorender.errors import UserError
from endorender.registry import Model
from training.augment import Augment
from training.files import SUMMARY, Progress, fingerprint, read_csv, read_json, write_json

if TYPE_CHECKING:
    from training.compare import Section

Stage = Callable[[str], AbstractContextManager[Progress]]  # a title -> that stage's progress
LOOKS = ("yellow_tan", "pale_pink", "dark_red", "deep_red")
EXPERIMENT = "experiment.json"
GIVEN = "given dataset"  # how the titles of data begin that is no part of the protocol
LEAD = "median"  # the protocol whose abs_rel decides
# Each counts up when docs/protocol.md changes what is done, beyond the numbers in PRESETS.
PROTOCOL = {"adapt": 3, "data": 3, "variety": 3}  # the fingerprint knows no name: one number, one meaning


class Preset(Model):
    """How much an experiment makes.

    people: patients in train, val and test. views, cinematic_views: per patient, for plain images and for
    the four looks. size, spp: of the frames. steps, further_steps: of training on plain images, and after it.
    rate, rates: peak learning rate at first; those tried afterwards, the same for every arm. batch: images
    in a step. seeds: repetitions. counts: numbers of training images of `data`, each half of the next.
    conditions, variety_views, unseen_views: of `variety`: K; views of a training patient at K = 1; views of
    it that are not trained on.
    """

    people: tuple[int, int, int]
    views: int = Field(ge=1)
    cinematic_views: int = Field(ge=1)
    size: str
    spp: int = Field(ge=1)
    model: dict[str, Any] = Field({"type": "unet"})
    steps: int = Field(ge=1)
    further_steps: int = Field(ge=1)
    rate: float = Field(2e-3, gt=0)
    rates: tuple[float, ...]
    batch: int = Field(8, ge=1)
    seeds: int = Field(ge=1)
    counts: tuple[int, ...]
    conditions: tuple[int, ...]
    variety_views: int = Field(ge=1)
    unseen_views: int = Field(ge=1)
    augment: Augment = Augment(rotation=15.0)


PRESETS = {
    "tiny": Preset(
        people=(2, 1, 2), views=4, cinematic_views=1, size="48x32", spp=2, steps=20, further_steps=8, rates=(1e-3,),
        model={"type": "unet", "width": 8, "levels": 2}, batch=4, seeds=2, counts=(4, 8), conditions=(1, 2, 4),
        variety_views=4, unseen_views=1,
    ),
    "small": Preset(
        people=(8, 2, 8), views=40, cinematic_views=10, size="128x96", spp=16, steps=400, further_steps=200,
        rates=(5e-4, 2e-3, 5e-3), seeds=3, counts=(40, 80, 160, 320), conditions=(1, 2, 3, 4), variety_views=24,
        unseen_views=6,
    ),
    "paper": Preset(
        people=(40, 5, 15), views=200, cinematic_views=50, size="320x240", spp=128, steps=20_000, further_steps=5_000,
        model={"type": "unet", "width": 32, "levels": 5}, rates=(5e-4, 1e-3, 2e-3), batch=16, seeds=5,
        counts=(500, 1000, 2000, 4000, 8000), conditions=(1, 2, 3, 4), variety_views=120, unseen_views=20,
    ),
}  # fmt: skip


def protocol_fingerprint(experiment: str, preset: str) -> str:
    """Of everything that an experiment is told; docs/protocol.md states it, every result carries it."""
    return fingerprint({"protocol": PROTOCOL[experiment], "preset": PRESETS[preset].model_dump(mode="json")})


@dataclass
class Answer:
    """claims: sentences with their figures. tables: name -> (header, rows). figures: name -> matplotlib Figure."""

    claims: list[str] = field(default_factory=list)
    tables: dict[str, tuple[Sequence[str], list[list[Any]]]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """An experiment's folder and what works in it. foreign: datasets that are judged on too, never trained on."""

    out: Path
    name: str
    preset: Preset
    cts: tuple[str, ...]
    foreign: tuple[str, ...]
    stage: Stage
    device: str

    def patients(self) -> dict[str, list[dict[str, str]]]:
        """{ct, alias} of train, val and test: phantoms, or the CTs that were given, in their order."""
        train, val, test = self.preset.people
        if self.cts:
            test = max(1, len(self.cts) * test // (train + val + test))
            val = max(1, len(self.cts) * val // (train + val + test))
            train = len(self.cts) - val - test
        cts = self.cts or tuple(f"phantom:{seed}" for seed in range(1, train + val + test + 1))
        named = [{"ct": ct, "alias": f"p{n:03d}"} for n, ct in enumerate(cts, 1)]
        return {"train": named[:train], "val": named[train : train + val], "test": named[train + val :]}

    def render(self, name: str, patients: Sequence[dict[str, str]], views: int, **values: Any) -> list[Any]:
        """Frames of OUT/data/NAME, rendered as far as they are missing."""
        values |= {"size": self.preset.size, "spp": self.preset.spp, "denoise": True, "device": self.device}
        config = configure(ct=list(patients), views=views, **values)
        with self.stage(f"render {name}") as progress:
            return open_dataset(generate(config, self.out / "data" / name, resume=True, progress=progress)).frames

    def train(self, name: str, data: Any, start: Path | None = None, **values: Any) -> Path:
        """OUT/runs/NAME, trained as far as it is not; what all runs have in common is set here."""
        from training.trainer import train

        p = self.preset
        steps = values.get("steps", p.steps)
        common = {"batch": p.batch, "augment": p.augment, "validate_every": max(1, steps // 10), "workers": 0}
        model = {} if start else {"model": p.model}
        with self.stage(f"train {name}") as progress:
            return train(
                {"steps": steps, **common, **model, **values}, self.out / "runs" / name, data, start, True, progress,
                say=lambda text: None,
            )  # fmt: skip

    def tuned(self, name: str, data: Any, start: Path, **values: Any) -> float:
        """The learning rate, of the preset's, whose run ends with the least validation error; tried with one seed."""
        if len(self.preset.rates) == 1:
            return self.preset.rates[0]
        errors = {}
        for rate in self.preset.rates:
            run = self.train(f"{name}-rate-{rate:g}", data, start, learning_rate=rate, **values)
            errors[rate] = float(log_of(run)[-1]["val_abs_rel_median"])
        return min(errors, key=lambda rate: errors[rate])

    def evaluate(self, run: Path, frames: Sequence[Any], title: str, label: str) -> Path:
        """OUT/evaluations/TITLE/RUN; a finished evaluation stays as it is."""
        from training.data import FrameSet
        from training.evaluate import evaluate

        folder = self.out / "evaluations" / "".join(c if c.isalnum() else "-" for c in title) / run.name
        if not (folder / SUMMARY).is_file():
            with self.stage(f"evaluate {run.name} on {title}") as progress:
                evaluate(
                    run, FrameSet(test=frames), folder, split=None, label=label, title=title, progress=progress,
                )  # fmt: skip
        return folder

    def section(self, frames: Sequence[Any], title: str, arms: Mapping[str, Sequence[Path]]) -> Section:
        """Every arm's runs judged on the frames. arms: label -> runs."""
        from training.compare import load_evaluation, sections

        folders = [self.evaluate(run, frames, title, label) for label, runs in arms.items() for run in runs]
        return sections([load_evaluation(folder) for folder in folders])[0]

    def foreign_frames(self) -> dict[str, list[Any]]:
        """Title -> frames, of the datasets that were given by path; named by what they hold, in whatever order."""
        from training.checkpoint import data_identity

        found = [open_data(path).frames for path in self.foreign]
        return {f"{GIVEN} {data_identity(frames)[:8]}": frames for frames in found}


def log_of(run: Path) -> list[dict[str, str]]:
    """Rows of a run's log.csv."""
    return read_csv(run / "log.csv")


def begin(study: Study, preset: str) -> dict[str, Any]:
    """Writes OUT/experiment.json, or refuses a folder that holds something else or another experiment.

    Datasets to judge on may be added to a finished experiment: nothing is trained on them, and the arms are fixed.
    """
    from training.files import versions

    info: dict[str, Any] = {
        "experiment": study.name,
        "preset": preset,
        "protocol": protocol_fingerprint(study.name, preset),
        "parameters": study.preset.model_dump(mode="json"),
        "patients": {
            split: [p["ct"] if p["ct"].startswith("phantom:") or p["ct"] == "sample" else "file" for p in people]
            for split, people in study.patients().items()
        },
        "foreign_datasets": len(study.foreign),
    }
    if not all(info["patients"].values()):
        raise UserError("an experiment needs three patients or more: give --ct at least three times, or not at all")
    path = study.out / EXPERIMENT
    if path.is_file():
        old = read_json(path, "an experiment")
        if any(old.get(k) != info[k] for k in info if k != "foreign_datasets"):
            raise UserError(
                f"{study.out} holds another experiment ({old.get('experiment')}, preset {old.get('preset')}, protocol "
                f"{old.get('protocol')}): choose another output folder",
                "CONFIGURATION_CHANGED",
            )
    elif study.out.exists() and (not study.out.is_dir() or any(study.out.iterdir())):
        raise UserError(f"{study.out} is not empty: choose another output folder", "EXISTS")
    study.out.mkdir(parents=True, exist_ok=True)
    write_json(path, info | {"versions": versions()})
    return info
