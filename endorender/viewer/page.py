"""What is to be seen, served until Ctrl-C."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from endorender.errors import UserError
from endorender.viewer.server import refuse_missing, refuse_taken, serving

# Called with: done, total, what is going on.
Progress = Callable[[float, int, str], None]


def view(what: str, port: int = 8080, evaluation: str | None = None, device: str = "cpu", **reading: Any) -> None:
    """Show a dataset's folder or a CT on http://127.0.0.1:PORT until interrupted. For arguments see `opened`."""
    serve(opened(what, port, evaluation, device, **reading), port)


def opened(
    what: str,
    port: int = 8080,
    evaluation: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    **reading: Any,
) -> Any:
    """The page for `serve`, with everything read that takes time.

    what: a folder with dataset.json, or what `endorender.ct.open_ct` takes. port: on which it will be served; 0 for any
    free one. evaluation: a folder that `endorender evaluate` wrote about this dataset. device: for the preview of a
    CT. reading: series, phase, region, label, resample, assume_hu, cleanse of a CT (`endorender.ct.prepare`).

    Raises UserError where there is nothing to show, the extra is missing or the port cannot be had.
    """
    refuse_missing()
    refuse_taken(port)
    report = progress or (lambda done, total, text: None)
    if _is_dataset(what):
        if given := [name for name, value in reading.items() if value]:
            raise UserError(f"--{given[0].replace('_', '-')} is for a CT, and this is a dataset", "NOT_A_CT")
        return _dataset(what, evaluation)
    if evaluation is not None:
        raise UserError("an evaluation is shown over its dataset: give the dataset's folder", "NOT_A_DATASET")
    return _ct(what, device, report, **reading)


def serve(
    page: Any, port: int = 8080, told: Callable[[str], None] = print, ended: threading.Event | None = None
) -> bool:
    """Serve a page until Ctrl-C. told: gets its address once it answers. ended: ends it from another thread.

    Returns whether all work has ended: False where a kernel is still being compiled, under which the interpreter
    cannot shut down.
    """
    done = True
    with contextlib.suppress(KeyboardInterrupt), serving(port, page.title) as server:  # Ctrl-C is how one leaves
        try:
            page.build(server)
            told(f"http://127.0.0.1:{server.get_port()}")
            (ended or threading.Event()).wait()
        finally:
            done = page.close()
    return done


def _is_dataset(what: str) -> bool:
    try:
        return (Path(what) / "dataset.json").is_file()
    except (OSError, ValueError):  # no name that a path can have: for the CT's reader to say
        return False


def _dataset(what: str, evaluation: str | None) -> Any:
    from endorender.dataset import open_dataset
    from endorender.viewer.colours import Predictions
    from endorender.viewer.frames import FramesPage

    dataset = open_dataset(what)
    if not dataset.frames:
        raise UserError("the dataset holds no finished frame yet: render --resume continues it", "NO_FRAMES")
    predictions = None if evaluation is None else Predictions(evaluation)
    if predictions is not None:
        predictions.refuse_strange(dataset.frames)
    return FramesPage(dataset, predictions)


def _ct(
    what: str,
    device: str,
    report: Progress,
    region: Any = None,
    label: str | None = None,
    cleanse: bool = False,
    **reading: Any,
) -> Any:
    from endorender.ct import CTError, open_ct, prepare, read_organ
    from endorender.ct import cleanse as fluid
    from endorender.viewer.anatomy import AnatomyPage

    report(0, 1, "reading the CT")
    try:
        volume = open_ct(what, progress=report, **reading)
    except CTError as error:
        if error.code == "NO_CT" and Path(what).is_dir():
            raise UserError(f"neither a dataset (there is no dataset.json) nor a CT: {error}", "NO_CT") from None
        raise
    organ = None if label is None else read_organ(label, volume)[0]
    if cleanse:
        volume, _ = fluid.cleanse(volume)
    report(0, 1, "finding the lumen")
    # A path is patient data: on the page the patient is p001, as in a dataset.
    alias = what if what == "sample" or what.startswith("phantom:") else "p001"
    return AnatomyPage(alias, prepare(volume, region, organ), device)
