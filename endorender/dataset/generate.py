"""From CTs to a dataset, patient by patient.

Nothing here depends on what was rendered before, so an interrupted dataset continues where it stopped and
ends up with the same bytes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import Any

from endorender.dataset.alone import alone
from endorender.dataset.config import RenderConfig
from endorender.dataset.fingerprint import fingerprint
from endorender.dataset.frame import frame_id
from endorender.dataset.info import SCHEMA
from endorender.dataset.patient import Hashes, Report, other_ct, refuse_absent
from endorender.dataset.variation import seed_of
from endorender.dataset.view import AXES, DEPTH
from endorender.dataset.work import Failed, Outcome, Work
from endorender.dataset.writer import Writer
from endorender.errors import Notice, UserError
from endorender.generator import generator

HOPELESS = 8  # views that fail before any frame is there: then it is no matter of single frames

# Called with: frames done (a fraction counts), frames in all, what is going on.
Progress = Callable[[float, int, str], None]


def generate(
    config: RenderConfig,
    out: str | Path,
    resume: bool = False,
    only: str | Collection[str] | None = None,
    progress: Progress | None = None,
    retry_failed: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
) -> Path:
    """Render a dataset into the folder `out` and return that folder.

    resume: continue what was begun there; the configuration must be the same. only: render this frame
    ("PATIENT/VIEW/VARIATION") or these, again if need be. Errors: UserError, nothing in `out` is lost.
    A view that fails is recorded in failed.jsonl and the run goes on; retry_failed: continue, and try those again.
    workers: processes that render, on this machine or on the Ray cluster at the address `cluster` ("auto": the one that
    runs here); by default this process alone, or all of the cluster. The dataset is the same.
    """
    from endorender.dataset.pages import finished, write_pages

    ids = [
        frame_id(p.alias, n, v.name) for p in config.ct for n in range(config.views_of(p.alias)) for v in config.columns
    ]
    chosen = None if only is None else {only} if isinstance(only, str) else set(only)
    if chosen is not None and (unknown := sorted(chosen - set(ids))):
        raise UserError(f"no frame is called {unknown[0]!r}; they run from {ids[0]} to {ids[-1]}", "UNKNOWN_FRAME")
    refuse_absent(config)  # now, not in the middle of the night when a patient's turn comes
    if cluster is None:  # where others render they have the denoiser, or say so
        _refuse_undenoised(config)
    writer = Writer(Path(out), describe(config), ids)
    with writer.open(resume or retry_failed or chosen is not None):
        for name in chosen or ():
            writer.rows.pop(name, None)
        skipped = set() if retry_failed else set(writer.failed) - (chosen or set())
        missing = {i for i in writer.missing() if (chosen is None or i in chosen) and i not in skipped}
        if missing:
            work = Work(config, writer, missing)
            report = _reporter(writer, progress)
            with contextlib.closing(_outcomes(work, report, workers, cluster)) as outcomes:
                for outcome in outcomes:
                    if isinstance(outcome, Failed):
                        _fail(writer, outcome, config.views)
                    elif writer.placed(outcome):
                        _same_ct(work, outcome.row)
                        writer.keep(outcome)
                        report(0, "")
        writer.finish()
        if not writer.missing():
            write_pages(writer, finished(writer.root))
        elif writer.failed:
            name, row = next(iter(writer.failed.items()))
            warnings.warn(
                f"{len(writer.failed)} frames failed, {name} first ({row['error']}); failed.jsonl lists them, "
                "--retry-failed tries them again",
                Notice,
                stacklevel=2,
            )
    return writer.root


def _refuse_undenoised(config: RenderConfig) -> None:
    """Raise where the denoiser that pictures ask for is not installed: before any is traced."""
    if config.denoise and any(v.look for v in config.columns) and importlib.util.find_spec("pyoidn") is None:
        way = "pip install 'endorender[denoise]', or render noisy pictures with --no-denoise (denoise=False)"
        raise UserError(f"denoising needs the extra: {way}", "MISSING_EXTRA")


def describe(config: RenderConfig) -> dict[str, Any]:
    """dataset.json."""
    public = config.public()
    return {
        "schema": SCHEMA,
        "generator": generator(),
        "units": {"length": "mm", "ct": "HU", "radiance": "linear scene-referred RGB, relative"},
        "axes": AXES,
        "depth": DEPTH,
        "patients": [p.alias for p in config.ct],
        "variations": [v.name for v in config.columns],
        "views": config.views,
        "frames": sum(config.views_of(p.alias) for p in config.ct) * len(config.columns),
        "splits": public["splits"],
        "configuration": public,
        "fingerprint": fingerprint(public),
    }


def _outcomes(work: Work, report: Report, workers: int | None, cluster: str | None) -> Generator[Outcome, None, None]:
    """Whoever renders: this process, or others."""
    if cluster is None and workers in (None, 1):
        return alone(work, report)
    from endorender.dataset.cluster import spread

    return spread(work, report, workers, cluster)


def _reporter(writer: Writer, progress: Progress | None) -> Report:
    """Frames that were traced together are written one by one afterwards: progress does not go back for that.
    Without a text the last one holds."""
    shown, said = 0.0, ""

    def report(fraction: float, text: str) -> None:
        nonlocal shown, said
        shown, said = max(shown, len(writer.rows) + fraction), text or said
        if progress:
            progress(shown, len(writer.ids), said)

    return report


def _same_ct(work: Work, row: dict[str, Any]) -> None:
    """All frames of a patient are of one CT, also where machines each read their own copy of it."""
    own = Hashes(*(row["volume"].get(f"{name}_sha256") for name in ("ct", "labels", "label")))
    if work.known.setdefault(row["patient"], own) != own:
        raise other_ct(row["patient"])


def _fail(writer: Writer, failed: Failed, views: int) -> None:
    """Record what a view could not do. Raises the error where going on is of no use."""
    unit = failed.unit
    for name in unit.names:
        frame = frame_id(unit.patient, unit.view, name)
        if frame not in writer.rows:
            seed = seed_of(writer.info["configuration"]["seed"], unit.patient, unit.view, name)
            writer.fail(frame, seed, failed.code, failed.told)
    if not writer.rows and len({name.rsplit("/", 1)[0] for name in writer.failed}) >= min(HOPELESS, views):
        raise failed.error
