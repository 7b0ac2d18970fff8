"""A network judged on frames: per-frame metrics under named protocols, and what a report is made of.

EVALUATION/summary.json     what was judged on what; means with intervals, pooled values
EVALUATION/frames.csv       every metric of every frame under every protocol
EVALUATION/baselines.csv    the same of every baseline (`training.baselines`)
EVALUATION/by_depth.csv     error against true depth; by_radius.csv, by_incidence.csv: against the place in the image
                            (1: half the diagonal from the principal point) and the angle at which the wall is seen
EVALUATION/predictions.npz  the network's depth of every frame, float32 mm, before any alignment
EVALUATION/shown.npz        image and true depth of some frames, for the report's pictures
EVALUATION/run.json, log.csv   copies of the run's
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from endorender.dataset.frame import refuse_absent
from endorender.dataset.layouts import ForeignFrame
from endorender.errors import UserError, readable
from endorender.outputs import into_place, sweep, temporary
from training import scale as scales
from training import statistics
from training.checkpoint import LOG, RUN, Run, data_identity, load_run
from training.data import DepthFrames, aliases, opened, people, view_of
from training.files import SUMMARY, Progress, command, digests, versions, write_csv, write_json
from training.judging import BASELINE_COLUMNS, judged, without_network
from training.metrics import METRICS, ImageResult, pooled
from training.protocols import protocols as REGISTRY

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Shaped

DEPTH_EDGES_MM = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, np.inf)
RADIUS_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, np.inf)
INCIDENCE_EDGES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.001)
SHOWN, WORST = 8, 4


def evaluate(
    run: str | Path,
    data: Any,
    out: str | Path,
    protocols: Sequence[Any] = ("metric", "median"),
    split: str | None = "test",
    patients: Sequence[str] | None = None,
    variations: Sequence[str] | None = None,
    label: str | None = None,
    title: str | None = None,
    batch: int = 8,
    progress: Progress | None = None,
    input_size: str | None = None,
) -> Path:
    """Judges a run's network on a dataset's frames and returns the evaluation's folder.

    run: a run's folder. data: a dataset's folder, "LAYOUT@FOLDER", an open Dataset, or several of these. out: absent or
    empty; it is filled in one move. protocols: names, or mappings with `type` and parameters.
    split: "test" by default, None for every patient; patients: by alias, instead of a split.
    label: the network's name in reports; title: the data's. input_size: "WIDTHxHEIGHT" at which the network sees the
    pictures, or "native"; by default they are brought to the scale of its training (`training.scale`). Errors are
    stated at the truth's resolution whatever the network saw.

    Errors (UserError): no such frames; PATIENT_SEEN when a patient of the split "test" or "val" was
    trained on (to judge on seen patients, ask for them by `patients` or by split "train": it is noted).
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder: choose another output folder", "EXISTS")
    judges = _judges(protocols)
    trained = load_run(run)
    dataset = opened(data, split or "test")
    split = None if patients is not None else split
    refuse_absent(dataset.frames, patients, variations)
    frames = dataset.select(split=split, patients=patients, variations=variations)
    if not frames:
        raise UserError(_nothing(dataset, split), "NO_FRAMES")
    if len({frame.id for frame in frames}) < len(frames):
        raise UserError(
            "frames of several datasets have the same names: give the datasets as a list, so that each has its own",
            "AMBIGUOUS",
        )
    seen = sorted({alias for person, alias in people(frames).items() if person in trained.info["seen"]})
    if seen and split in ("val", "test"):
        raise UserError(
            f"the network was trained on patient {', '.join(seen)} of the split {split}: judge it on others, "
            "or name the patients to judge it on what it has seen",
            "PATIENT_SEEN",
        )
    tensors = DepthFrames(frames)
    scale = scales.of_run(trained.info)
    sizes = scales.sizes(frames, tensors.size, scale, input_size)
    predictions = predict(trained.network, tensors, batch, progress, sizes)
    truths = [(item["z_depth"], item["mask"]) for item in map(tensors.__getitem__, range(len(tensors)))]
    results = {name: judged(judge, frames, predictions, truths) for name, judge in judges.items()}
    blind = without_network(trained.info, frames, tensors, truths, judges, results)
    summary = {
        "schema": 1,
        "label": readable(label or label_of(trained.info)),
        "data": {
            "title": readable(title) if title else f"patient {', '.join(aliases(frames))}",
            "split": split,
            "patients": aliases(frames),
            "seen_in_training": seen,
            "variations": sorted({frame.variation for frame in frames}),
            "frames": len(frames),
            "size": f"{tensors.size[1]}x{tensors.size[0]}",
            "input_sizes": sorted({f"{width}x{height}" for height, width in sizes}),
            "training_scale_known": scale is not None,
            "sha256": data_identity(frames),
        },
        "protocols": {
            name: {"parameters": REGISTRY.dump(judges[name])}
            | ({"scale_at_bound": bound(results[name])} if judges[name].bounded else {})
            | _aggregate(frames, results[name])
            for name in judges
        },
        "baselines": blind.summary,
        "metrics": {name: {"unit": d.unit, "higher_is_better": d.higher_is_better} for name, d in METRICS.items()},
        "network": {"weights": trained.weights, "seed": trained.config.seed},
        "versions": versions(),
        "command": command(),
    }
    part = temporary(out)
    sweep(out)
    try:
        part.mkdir(parents=True)
        _write(part, frames, tensors, predictions, results, trained)
        write_csv(part / "baselines.csv", BASELINE_COLUMNS, blind.rows)
        # What the report reads back is what was written, or is refused.
        write_json(part / SUMMARY, summary | {"files": digests(part)})
        into_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _nothing(dataset: Any, split: str | None) -> str:
    """Why a dataset has no frame of the kind that was asked for, and what it has."""
    held = [name for name in ("train", "val", "test") if dataset.select(split=name)]
    return f"the split {split} has no such frame; splits with frames are: {', '.join(held) or 'none'}"


def bound(results: Sequence[ImageResult]) -> int:
    """Images whose scale a protocol held at 0: depth that runs backwards, or not at all."""
    return sum(result.scale <= 0 for result in results)


def _judges(wanted: Sequence[Any]) -> dict[str, Any]:
    """Protocols by name; a name may be given once."""
    registry = REGISTRY
    built = [registry.build(p) for p in ([wanted] if isinstance(wanted, str) else wanted)]
    judges = {registry.name_of(type(p)): p for p in built}
    if not built or len(judges) != len(built):
        raise UserError(f"name each protocol once; there are: {', '.join(registry)}")
    return judges


def label_of(info: dict[str, Any]) -> str:
    """What a run is, in a few words: `unet on synthetic, fine-tuned (last-layer) on deep_red, pale_pink`."""
    if parents := info.get("average_of"):
        return " and ".join(f"({label_of(parent)})" for parent in parents) + ", averaged"
    start, config = info["init_from"], info["config"]
    looks = info["data"]["train"]["variations"]
    if start is None:
        return f"{config['model']['type']} on {', '.join(looks)}"
    if looks == start["data"]["train"]["variations"] and config["fine_tune"] == "full":
        return f"{label_of(start)}, trained further"
    return f"{label_of(start)}, fine-tuned ({config['fine_tune']}) on {', '.join(looks)}"


@torch.no_grad()
def predict(
    network: torch.nn.Module,
    frames: DepthFrames,
    batch: int = 8,
    progress: Progress | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[Float32[torch.Tensor, "1 _ _"]]:
    """z-depth (1, H, W) float32 mm of every frame, on the CPU. sizes: (height, width) at which each is seen."""
    device = next(network.parameters()).device
    at = list(sizes or [frames.size] * len(frames))
    found: list[torch.Tensor] = []
    for size, run in groupby(range(len(frames)), key=at.__getitem__):
        for chosen in batched(run, batch):
            images = torch.stack([frames[k]["image"] for k in chosen]).to(device)
            found.extend(scales.seen_at(network, images, size).cpu())
            if progress:
                progress(len(found), len(frames), "predicting depth")
    return found


def batched(items: Iterable[int], count: int) -> Iterator[list[int]]:
    """Lists of `count` items, the last one shorter."""
    rest = iter(items)
    while some := list(islice(rest, count)):
        yield some


def _aggregate(frames: Sequence[Any], results: list[ImageResult]) -> dict[str, Any]:
    """Means of images with intervals over frames and over patients, pooled value; by condition and patient."""
    values = [result.values() for result in results]

    def table(chosen: Iterable[int]) -> dict[str, Any]:
        rows = [values[k] for k in chosen]
        return {name: statistics.mean([row[name] for row in rows]).plain() for name in METRICS}

    def by(key: str) -> dict[str, Any]:
        names = sorted({getattr(frame, key) for frame in frames})
        return {name: table(k for k, frame in enumerate(frames) if getattr(frame, key) == name) for name in names}

    return {
        "interval": "mean of the images' values, then the limits of its 95 % interval over frames, this training's",
        "mean": table(range(len(frames))),
        "mean_over_patients": {
            name: statistics.mean([row[name] for row in values], [frame.patient for frame in frames]).plain()
            for name in METRICS
        },
        "pooled": pooled(results),
        "by_variation": by("variation"),
        "by_patient": by("patient"),
    }


def _write(
    folder: Path,
    frames: Sequence[Any],
    tensors: DepthFrames,
    predictions: list[torch.Tensor],
    results: dict[str, list[ImageResult]],
    run: Run,
) -> None:
    rows = []
    depths = [tensors[k]["z_depth"] for k in range(len(tensors))]
    for name, found in results.items():
        for frame, result in zip(frames, found):
            where = (frame.id, frame.patient, frame.view, frame.variation, name)
            rows.append(
                [*where, result.pixels, result.scale, result.shift, *result.values().values(), geometry_of(frame)]
            )
    header = ["frame", "patient", "view", "variation", "protocol", "pixels", "scale", "shift", *METRICS, "geometry"]
    write_csv(folder / "frames.csv", header, rows)
    header = ["protocol", "low_mm", "high_mm", "pixels", "abs_rel", "error_mm", "bias_mm"]
    write_csv(folder / "by_depth.csv", header, by_bins(results, [d[0] for d in depths], DEPTH_EDGES_MM))
    header = ["protocol", "low", "high", "pixels", "abs_rel", "error_mm", "bias_mm"]
    views: dict[tuple[Any, ...], dict[str, torch.Tensor]] = {}
    for frame in frames:
        if view_of(frame) not in views:
            views[view_of(frame)] = places(frame)
    for name, edges in (("radius", RADIUS_EDGES), ("incidence", INCIDENCE_EDGES)):
        maps = [views[view_of(frame)][name] for frame in frames]
        write_csv(folder / f"by_{name}.csv", header, by_bins(results, maps, edges))
    save_arrays(folder / "predictions.npz", {f.id: p[0].numpy() for f, p in zip(frames, predictions)})
    pictures: dict[str, np.ndarray] = {}
    for index in shown(frames, results):
        frame, item = frames[index], tensors[index]
        pictures[f"{frame.id}/image"] = (item["image"] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        pictures[f"{frame.id}/z_depth"] = item["z_depth"][0].where(item["mask"][0], torch.nan).numpy()
    save_arrays(folder / "shown.npz", pictures)
    for name in (RUN, LOG):
        shutil.copyfile(run.path / name, folder / name)


def geometry_of(frame: Any) -> str:
    """SHA-256 of the file of a frame's geometry, by which others find its prediction; empty for other people's data."""
    return "" if isinstance(frame, ForeignFrame) else str(frame.files["geometry"].sha256)


def shown(frames: Sequence[Any], results: dict[str, list[ImageResult]]) -> list[int]:
    """Which frames a report may show: views evenly spread, their conditions in turn, and each protocol's worst.

    The first part depends on the frames alone, so that two networks' evaluations show the same ones.
    """
    views: dict[tuple[Any, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        views.setdefault(view_of(frame), []).append(index)
    groups = list(views.values())
    count = min(SHOWN, len(groups))
    chosen = [groups[(2 * k + 1) * len(groups) // (2 * count)] for k in range(count)]
    picked = [group[k % len(group)] for k, group in enumerate(chosen)]
    for found in results.values():
        errors = [result.values()["abs_rel"] for result in found]
        picked += sorted(range(len(frames)), key=lambda k: -errors[k])[:WORST]
    return list(dict.fromkeys(picked))


def places(frame: Any) -> dict[str, Float64[torch.Tensor, "H W"]]:
    """radius: (H, W) distance from the principal point over half the diagonal; incidence: (H, W) degrees.

    The ray's angle to the axis is known from z-depth and distance, its direction in the image plane from
    K: true of every camera that is symmetric about its axis. NaN where there is no depth.
    """
    geometry = frame.geometry()
    height, width = geometry["z_depth"].shape
    middle = ((1.0, 0.0, (width - 1) / 2), (0.0, 1.0, (height - 1) / 2), (0.0, 0.0, 1.0))
    k = np.asarray(frame.K or middle)
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x - k[0, 2], y - k[1, 2]
    distance = geometry.get("distance", np.full((height, width), np.nan))  # not known without intrinsics
    cos = np.clip(geometry["z_depth"] / distance, 0, 1)
    sin, turn = np.sqrt(1 - cos**2), np.arctan2(y / k[1, 1], x / k[0, 0])
    ray = np.stack([sin * np.cos(turn), sin * np.sin(turn), cos], axis=-1)
    normal = geometry.get("normal", np.full_like(ray, np.nan))  # other people's datasets may hold none
    facing = np.clip(abs((ray * normal).sum(-1)), 0, 1)
    return {
        "radius": torch.from_numpy(2 * np.hypot(x, y) / np.hypot(height, width)),
        "incidence": torch.from_numpy(np.degrees(np.arccos(facing))),
    }


def by_bins(results: dict[str, list[ImageResult]], values: Sequence[Any], edges: Sequence[float]) -> list[list[Any]]:
    """Rows protocol, low, high, pixels, mean |p−t|/t, mean |p−t|, mean p−t; no empty bins.

    values: what is binned, for each frame an array of its pixels.
    """
    rows = []
    for name, found in results.items():
        p = torch.cat([result.prediction for result in found]).numpy()
        t = torch.cat([result.truth for result in found]).numpy()
        v = torch.cat([value.flatten()[result.where].double() for value, result in zip(values, found)]).numpy()
        where = np.digitize(v, edges) - 1
        for k, (low, high) in enumerate(pairwise(edges)):
            inside = (where == k) & np.isfinite(v)
            if inside.any():
                d = (p - t)[inside]
                rows.append([name, low, high, int(inside.sum()), (abs(d) / t[inside]).mean(), abs(d).mean(), d.mean()])
    return rows


def save_arrays(path: Path, arrays: dict[str, Shaped[np.ndarray, " ..."]]) -> None:
    """A compressed npz, byte for byte the same for the same arrays."""
    settings: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **settings)
