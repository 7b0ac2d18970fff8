"""Before a long run: what will be drawn, what it will cost, and how it will look."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from endorender.dataset.config import RenderConfig
from endorender.dataset.frame import frame_id, open_dataset
from endorender.dataset.generate import generate
from endorender.dataset.patient import mucosa_of
from endorender.dataset.view import parameters_of

LOOKED_AT = 300  # frames of each variation whose draws are looked at, evenly spread
MEASURED = 3  # views that are rendered to know what one costs; the first also compiles and does not count
FEW = 8  # samples per pixel of those; time grows with samples along a line, of which two points are measured
PIXELS = 10_000  # of larger pictures so many are measured: time and bytes grow with them; what does not is small
SHOWN = (2, 3)  # patients and views of each in a preview
PREVIEW_WIDTH, PREVIEW_SPP = 96, 4

Progress = Callable[[float, int, str], None]


def plan(config: RenderConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Counts, the ranges of what is drawn, and estimates of time and disk from a few frames of the first patient.

    Times are those of this machine, for one process; `setup` (reading the CT, lumen, kernels) is for each patient.
    """
    views = sum(config.views_of(p.alias) for p in config.ct)
    seconds, setup, size = measure(config, progress)
    return {
        "patients": len(config.ct),
        "views": views,
        "variations": [v.name for v in config.columns],
        "frames": views * len(config.columns),
        "drawn": ranges(config),
        "measured": {
            "views": min(MEASURED, config.views_of(config.ct[0].alias)),
            "seconds_a_view": round(seconds, 3),
            "setup_seconds": round(setup, 1),
            "megabytes_a_view": round(size / 1e6, 3),
        },
        "estimate": {
            "hours": round((seconds * views + setup * len(config.ct)) / 3600, 3),
            "gigabytes": round(size * views / 1e9, 3),
        },
    }


def ranges(config: RenderConfig) -> dict[str, dict[str, Any]]:
    """By variation, and for the views: what differs between frames, as [smallest, largest] or the values by name."""
    places = [(p, n) for p in config.ct for n in range(config.views_of(p.alias))]
    places = places[:: max(1, len(places) // LOOKED_AT)]
    layers = {p.alias: mucosa_of(config, p) for p in config.ct}
    found = {}
    if config.flies_freely:
        found["views"] = _varied([config.draw_view(p.alias, n) for p, n in places])
    for v in config.columns:
        drawn = [parameters_of(config, p.alias, n, v, layers[p.alias]) for p, n in places]
        # Every patient has vessels of their own: nothing that anybody asked to vary.
        for one in drawn:
            one.get("mucosa", {}).pop("seed", None)
        found[v.name] = _varied(drawn)
    return {name: varied for name, varied in found.items() if varied}


def _varied(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Leaves that differ between rows."""
    leaves: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in _leaves(row, ""):
            leaves.setdefault(key, []).append(value)
    out: dict[str, Any] = {}
    for key, values in leaves.items():
        different = list(dict.fromkeys(values))
        if len(different) == 1:
            continue
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in different)
        out[key] = [float(f"{f(different):.4g}") for f in (min, max)] if numbers else sorted(map(str, different))
    return out


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inside in value.items():
            yield from _leaves(inside, f"{key}.{name}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for n, inside in enumerate(value):
            yield from _leaves(inside, f"{key}[{n}]")
    else:
        yield key, value


def measure(config: RenderConfig, progress: Progress | None = None) -> tuple[float, float, float]:
    """Seconds for a view with all its variations, seconds before a patient's first view, bytes of a view."""
    pixels = config.width * config.height
    share = min(1.0, (PIXELS / pixels) ** 0.5)
    small = config.model_copy(update={"size": _shrunk(config, share)})
    times = pixels / (small.width * small.height)
    if config.spp <= 2 * FEW or config.noise:
        view, setup, size = _measured(small, progress)
        return times * view, setup, times * size
    few, more = (_measured(small.model_copy(update={"spp": n}), progress) for n in (FEW, 2 * FEW))
    sample = max(more[0] - few[0], 0.0) / FEW
    return times * (more[0] + (config.spp - 2 * FEW) * sample), few[1], times * more[2]


def _shrunk(config: RenderConfig, share: float) -> str:
    return "x".join(str(max(8, round(n * share))) for n in (config.width, config.height))


def _measured(config: RenderConfig, progress: Progress | None) -> tuple[float, float, float]:
    first = config.first(1)
    alias = config.ct[0].alias
    views = config.views_of(alias)
    count = min(MEASURED, views)
    chosen = [n * views // count for n in range(count)]
    only = [frame_id(alias, n, v.name) for n in chosen for v in config.columns]
    started: dict[str, float] = {}
    begun = time.perf_counter()

    def watch(done: float, total: int, text: str) -> None:
        started.setdefault(text, time.perf_counter())
        if progress:
            progress(done, len(only), text)

    with tempfile.TemporaryDirectory() as folder:
        root = generate(first, Path(folder) / "measured", only=only, progress=watch)
        ended = time.perf_counter()
        files = sum(p.stat().st_size for p in (root / alias).rglob("*") if p.is_file())
        rows = (root / "manifest.jsonl").stat().st_size
    at = [started[f"{alias}: view {n}"] for n in chosen] + [ended]
    spans = [b - a for a, b in itertools.pairwise(at)]
    return sum(spans[1:] or spans) / len(spans[1:] or spans), at[0] - begun, (files + rows) / count


def preview(config: RenderConfig, path: str | Path, progress: Progress | None = None) -> Path:
    """A contact sheet of some views of the dataset to come, small and noisy, as a PNG.

    Poses, cameras and drawn values are those of the dataset; size and samples are not.
    """
    from endorender.dataset.sheet import contact_sheet
    from endorender.dataset.writer import disk_errors

    patients, views = SHOWN
    size = _shrunk(config, min(1.0, PREVIEW_WIDTH / config.width))
    small = config.first(patients).model_copy(
        update={
            "size": size,
            "spp": min(config.spp, PREVIEW_SPP),
            "denoise": False,
            "depth": ("surface",),
        }
    )
    chosen = {
        p.alias: [n * total // min(views, total) for n in range(min(views, total))]
        for p in small.ct
        for total in [config.views_of(p.alias)]
    }
    only = [frame_id(p.alias, n, v.name) for p in small.ct for n in chosen[p.alias] for v in small.columns]
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder:

        def watch(done: float, total: int, text: str) -> None:
            if progress:
                progress(done, len(only), text)

        root = generate(small, Path(folder) / "preview", only=only, progress=watch)
        sheet = contact_sheet(open_dataset(root))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG")
    return path
