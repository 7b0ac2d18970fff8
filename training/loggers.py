"""Where a run is followed while it goes on, beside log.csv: TensorBoard, Weights & Biases, MLflow.

What leaves the machine is the configuration, the numbers of log.csv and versions of packages: no path, no file's
name, no command line, neither the machine's name nor the user's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from endorender.errors import UserError
from training.config import TrainConfig
from training.files import read_json, write_json

FOLLOWED = "loggers.json"  # ids under which a run that goes on is followed further
PROJECT = "endorender"


class Logger(Protocol):
    """One of Lightning's, or TensorBoard's writer in their manner."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of one step, by name."""

    def finalize(self, status: str) -> None:
        """No more comes. status: "success" or "failed"."""


def loggers(config: TrainConfig, out: Path, first: int) -> list[Logger]:
    """Those that the configuration asks for. first: steps that were done before; a run that goes on is followed
    further under its old id. Raises UserError MISSING_EXTRA, TRUNCATED."""
    file = out / FOLLOWED
    ids = read_json(file, "a run that is followed") if first and file.is_file() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what others' packages deprecate within themselves
        made = {name: MADE[name](config, out, first, ids.get(name)) for name in config.loggers}
    if known := {name: one.id for name, one in made.items() if name != "tensorboard"}:
        write_json(file, known)
    return list(made.values())


class _TensorBoard:
    """RUN/tensorboard."""

    def __init__(self, writer: Any):
        self.writer = writer

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def finalize(self, status: str) -> None:
        self.writer.close()


class _Followed:
    """One of Lightning's. id: of its run. ended: what is to be done at the end, besides."""

    def __init__(self, logger: Any, id: str, ended: Callable[[], Any] = lambda: None):
        self.id, self.log_metrics, self._logger, self._ended = id, logger.log_metrics, logger, ended

    def finalize(self, status: str) -> None:
        self._logger.finalize(status)
        self._ended()


def _tensorboard(config: TrainConfig, out: Path, first: int, known: str | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise _missing("tensorboard") from None
    return _TensorBoard(SummaryWriter(str(out / "tensorboard"), purge_step=first + 1))


def _wandb(config: TrainConfig, out: Path, first: int, known: str | None) -> Any:
    """Files lie in RUN/wandb. W&B's own variables (WANDB_MODE=offline, WANDB_PROJECT, ...) hold."""
    try:
        import wandb
    except ImportError:
        raise _missing("wandb") from None
    from lightning.pytorch.loggers import WandbLogger

    # Without these it sends the command line, the folder, the machine's name, the repository and what is printed.
    quiet = wandb.Settings(
        silent=True,
        console="off",
        host=PROJECT,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(project=project, save_dir=str(out), id=known, resume="allow", settings=quiet)
    logger.log_hyperparams(config.model_dump(mode="json"))
    return _Followed(logger, str(logger.version), logger.experiment.finish)


def _mlflow(config: TrainConfig, out: Path, first: int, known: str | None) -> Any:
    """To MLFLOW_TRACKING_URI, or into RUN/mlflow.db."""
    try:
        import mlflow  # noqa: F401
    except ImportError:
        raise _missing("mlflow") from None
    from lightning.pytorch.loggers import MLFlowLogger

    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.resolve() / 'mlflow.db'}"
    said = dict.fromkeys(("mlflow.source.name", "mlflow.user"), PROJECT)  # else the program's path, and who runs it
    logger = MLFlowLogger(PROJECT, tracking_uri=where, run_id=known, tags=said)
    if known is None:
        logger.log_hyperparams(config.model_dump(mode="json"))
    return _Followed(logger, str(logger.run_id))


def _missing(name: str) -> UserError:
    return UserError(f"{name} is not installed; install it with: pip install 'endorender[{name}]'", "MISSING_EXTRA")


MADE: dict[str, Callable[[TrainConfig, Path, int, str | None], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
