"""An experiment's folder: what it renders, trains and judges, each only when something that is missing needs it.

OUT/experiment.json              what was asked for, and the protocol's fingerprint
OUT/data/NAME                    rendered frames; large, needed only while networks are trained or judged on them
OUT/runs/SETTING/NAME            networks, without optimiser once they are finished
OUT/errors/TEST/SETTING-NAME.json   what each network errs on each test
OUT/tables, OUT/figures, OUT/index.html   the answer, made of OUT/errors alone

So a folder may be begun on one machine and go on on another: all but OUT/data is small, and parts that were made side
by side (other seeds, other settings) are put together by copying them into one folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.layouts import open_data
from endorender.errors import UserError
from endorender.outputs import PART, held
from training.curves import ERROR
from training.files import Progress, read_csv, read_json, versions, write_json
from training.kept import Errors, judge
from training.presets import CAMERA, FLIGHT, GREY_TO_RED, TINTS, Preset, Setting, protocol_fingerprint

Stage = Callable[[str], AbstractContextManager[Progress]]  # a title -> that stage's progress
Key = tuple[Any, ...]  # of an arm: its setting first
Tints = Literal["", "tissue", "grey to red"]
WHITE_BALANCE: dict[Tints, list[Any] | None] = {"": None, "tissue": TINTS, "grey to red": GREY_TO_RED}
EXPERIMENT, RUNS, ERRORS = "experiment.json", "runs", "errors"
# Of each group, so that it has phantoms of no other whatever its size.
PHANTOMS = {"train": 21_000, "val": 22_000, "test": 23_000, "first fold": 25_000, "second fold": 26_000}
PHANTOMS |= {"plain alone": 27_000, "own tissues": 29_000, "unseen": 30_000}
GIVEN = "foreign "  # how the titles of tests begin that are no part of the protocol


@dataclass
class Answer:
    """claims: sentences with their figures. tables: name -> (header, rows). figures: name -> matplotlib Figure."""

    claims: list[str] = field(default_factory=list)
    tables: dict[str, tuple[Sequence[str], list[list[Any]]]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


class Rendered(NamedTuple):
    """A dataset of an experiment. values: further keys of its configuration."""

    name: str
    patients: tuple[dict[str, str], ...]
    views: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Network:
    """How a network comes about.

    name: of the arm, and what else tells it from the setting's others. images: one of the plan's sets; viewpoints: so
    many of them, drawn by the seed. rates: one, or those to choose from. start: whose weights it begins from.
    drawn: the response is, with the white balance of `tints`. mean_of: it is not trained, its weights are the mean of
    these.
    """

    setting: str
    name: str
    seed: int
    images: str = ""
    steps: int = 0
    rates: tuple[float, ...] = ()
    viewpoints: int | None = None
    start: Network | None = None
    fine_tune: str = "full"
    drawn: bool = False
    tints: Tints = ""
    mean_of: tuple[Network, ...] = ()

    def of_seed(self, seed: int) -> Network:
        """The same of another repetition."""
        start = self.start and self.start.of_seed(seed)
        return replace(self, seed=seed, start=start, mean_of=tuple(n.of_seed(seed) for n in self.mean_of))

    def folder(self, rate: float | None = None) -> str:
        """Of the run, below OUT/runs; without a rate what its errors are called by."""
        tried = f"-rate-{rate:g}" if rate is not None and len(self.rates) > 1 else ""
        return f"{self.setting}/{self.name}{tried}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """An experiment, described. datasets: what it renders. images: what networks are trained on, by name. tests: title
    -> frames. networks: the arms by key, of the first seed. sizes: how
    many frames a test has, where it is known beforehand. answer: of the errors (arm, test). seen: tests may show
    patients that were trained on."""

    datasets: tuple[Rendered, ...]
    images: Mapping[str, Callable[[], Any]]
    tests: Mapping[str, Callable[[], Sequence[Any]]]
    networks: Mapping[Key, Network]
    sizes: Mapping[str, int]
    answer: Callable[[Mapping[tuple[Key, str], Errors]], Answer]
    seen: bool = False


@dataclass(frozen=True)
class Study:
    """An experiment's folder and what works in it. data: where rendered frames lie. foreign: name -> dataset that is
    judged on too, never trained on. settings, seeds: which part of the work is done. workers: that render."""

    out: Path
    name: str
    preset: Preset
    data: Path
    stage: Stage
    cts: tuple[str, ...] = ()
    foreign: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    workers: int | None = None
    opened: dict[str, list[Any]] = field(default_factory=dict)

    def settings(self) -> dict[str, Setting]:
        """The experiment's settings by name."""
        return self.preset.settings_of(self.name)

    def patients(self) -> dict[str, list[dict[str, str]]]:
        """{ct, alias} of train, val and test, or of both folds: phantoms, or the CTs given, in their order."""
        sizes = dict(zip(("train", "val", "test"), self.preset.people))
        if self.name == "variety":
            sizes = dict.fromkeys(("first fold", "second fold"), self.preset.fold)
        if mix := self.preset.mix:
            sizes = {"own tissues": mix.tissues[0], "val": sizes["val"], "unseen": mix.tests[0]}
        if self.cts:
            whole = sum(sizes.values())
            shares = {name: max(1, len(self.cts) * size // whole) for name, size in list(sizes.items())[1:]}
            sizes = {next(iter(sizes)): len(self.cts) - sum(shares.values()), **shares}
        given = iter(self.cts)
        found: dict[str, list[dict[str, str]]] = {}
        for name, size in sizes.items():
            number = sum(map(len, found.values()))
            found[name] = [
                {"ct": next(given, f"phantom:{PHANTOMS[name] + n}"), "alias": f"p{number + n:03d}"}
                for n in range(1, size + 1)
            ]
        return found

    def configuration(self, dataset: Rendered) -> Any:
        """Of a dataset, as `endorender render` takes it."""
        values: dict[str, Any] = {
            "preset": "paper4",
            "size": self.preset.size,
            "spp": self.preset.spp,
            "denoise": True,
            "device": self.device,
        }
        values |= {"camera": CAMERA, "trajectory": FLIGHT} | dataset.values
        return configure(**values, ct=list(dataset.patients), views=dataset.views)

    def frames(self, dataset: Rendered) -> list[Any]:
        """The dataset's frames, rendered as far as they are missing."""
        if dataset.name not in self.opened:
            with self.stage(f"render {dataset.name}") as progress:
                folder = generate(
                    self.configuration(dataset), self.data / dataset.name, True, None, progress, workers=self.workers
                )
            frames = open_dataset(folder).frames
            self.opened[dataset.name] = sorted(frames, key=lambda f: (f.patient, f.view, f.variation))
        return self.opened[dataset.name]

    def given(self, name: str) -> Sequence[Any]:
        """Frames of a dataset that was given by path."""
        if name not in self.foreign:
            raise UserError(
                f"networks are still to be judged on the dataset {name}: give it, as --foreign {name}=DIR", "NOT_FOUND"
            )
        return open_data(self.foreign[name]).frames

    def table(self, network: Network, test: str) -> Path:
        """Where the network's errors on a test are kept."""
        words = "".join(c if c.isalnum() else "-" for c in test)
        return self.out / ERRORS / words / f"{network.folder().replace('/', '-')}.json"

    def judge(self, network: Network, test: str, plan: Plan) -> None:
        """Keeps the network's errors on a test, unless they are kept."""
        path = self.table(network, test)
        if path.is_file():
            return
        frames, run = plan.tests[test](), self.run(network, plan)
        with _alone(path):
            if not path.is_file():
                with self.stage(f"evaluate {network.folder()} on {test}") as progress:
                    judge(run, frames, test, network.name, not plan.seen, path, progress)

    def run(self, network: Network, plan: Plan) -> Path:
        """The network's folder, trained as far as it is not."""
        if network.mean_of:
            return self._averaged(network, plan)
        return self._trained(network, self._rate(network, plan), plan)

    def _rate(self, network: Network, plan: Plan) -> float:
        """Of the learning rates, the one whose run with the first seed ends with the least validation error."""
        if len(network.rates) == 1:
            return network.rates[0]
        first, errors = network.of_seed(0), {}
        for rate in network.rates:
            folder = self.out / RUNS / first.folder(rate)
            run = folder if finished(folder) else self._trained(first, rate, plan)
            errors[rate] = float(log_of(run)[-1][ERROR])
        return min(errors, key=lambda rate: errors[rate])

    def _trained(self, network: Network, rate: float, plan: Plan) -> Path:
        from training.checkpoint import CHECKPOINT, WEIGHTS
        from training.trainer import train

        folder, setting = self.out / RUNS / network.folder(rate), self.settings()[network.setting]
        if finished(folder) and (folder / WEIGHTS).is_file():
            return folder
        start = self.run(network.start, plan) if network.start else None
        images = plan.images[network.images]()
        config = {
            **({} if start else {"model": setting.model}),
            "steps": network.steps, "batch": setting.batch, "loss": setting.loss,
            "augment": setting.augmented(network.drawn, WHITE_BALANCE[network.tints]),
            "learning_rate": rate, "fine_tune": network.fine_tune, "images": network.viewpoints, "seed": network.seed,
            "validate_every": max(1, network.steps // 20), "workers": 0,
            "device": "cpu" if self.device == "vulkan" else self.device,  # torch trains on none
        }  # fmt: skip
        with _alone(folder):
            if not (finished(folder) and (folder / WEIGHTS).is_file()):
                with self.stage(f"train {network.folder(rate)}") as progress:
                    train(config, folder, images, start, True, progress, say=lambda text: None)
                (folder / CHECKPOINT).unlink(missing_ok=True)  # three times the weights, and of no more use
        return folder

    def _averaged(self, network: Network, plan: Plan) -> Path:
        from training.averaging import average
        from training.checkpoint import WEIGHTS

        folder = self.out / RUNS / network.folder()
        runs = [self.run(one, plan) for one in network.mean_of]
        with _alone(folder):
            if not (finished(folder) and (folder / WEIGHTS).is_file()):
                shutil.rmtree(folder, ignore_errors=True)  # what an interruption left
                average(runs, folder)
        return folder


def _alone(path: Path) -> AbstractContextManager[None]:
    """For this process to make what lies at the path. Errors (UserError): LOCKED where another one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return held(path.with_name(f".{path.name}.lock"))


def finished(run: Path) -> bool:
    """Whether a run's training has ended; its weights may have been put away since."""
    from training.checkpoint import RUN

    return (run / RUN).is_file() and bool(read_json(run / RUN, "a training run").get("finished"))


def log_of(run: Path) -> list[dict[str, str]]:
    """Rows of a run's log.csv."""
    return read_csv(run / "log.csv")


def begin(study: Study, preset: str, write: bool = True) -> dict[str, Any]:
    """Refuses a folder that holds something else or another experiment. write: OUT/experiment.json.

    Datasets to judge on may be added to a finished experiment: nothing is trained on them, and the arms are fixed.
    """
    people = study.patients()
    info: dict[str, Any] = {
        "experiment": study.name,
        "preset": preset,
        "protocol": protocol_fingerprint(study.name, preset),
        "parameters": study.preset.model_dump(mode="json", exclude_unset=True),
        "patients": {
            split: [p["ct"] if p["ct"].startswith("phantom:") or p["ct"] == "sample" else "file" for p in people[split]]
            for split in people
        },
    }
    if not all(people.values()) or (study.name == "variety" and len({len(p) for p in people.values()}) > 1):
        wanted = "an even number of patients" if study.name == "variety" else "three patients or more"
        raise UserError(f"this experiment needs {wanted}: give as many --ct, or none at all")
    path, names = study.out / EXPERIMENT, set(study.foreign)
    if path.is_file():
        old = read_json(path, "an experiment")
        if any(old.get(k) != info[k] for k in info):
            raise UserError(
                f"{study.out} holds another experiment ({old.get('experiment')}, preset {old.get('preset')}, protocol "
                f"{old.get('protocol')}): choose another output folder",
                "CONFIGURATION_CHANGED",
            )
        names |= set(old.get("foreign", []))
    elif study.out.exists() and (not study.out.is_dir() or any(map(_foreign, study.out.iterdir()))):
        raise UserError(f"{study.out} is not empty: choose another output folder", "EXISTS")
    info["foreign"] = sorted(names)
    if write:
        study.out.mkdir(parents=True, exist_ok=True)
        write_json(path, info | {"versions": versions()})
    return info


def _foreign(path: Path) -> bool:
    """Whether this is not what another process begins, at this moment, the same experiment with."""
    part = PART.fullmatch(path.name)
    return part is None or part["name"] != EXPERIMENT
