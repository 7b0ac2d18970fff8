"""What is left of an experiment to do, and how long it will take here: measured on a few frames and steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from endorender.dataset.plan import measure
from training.presets import Setting
from training.study import RUNS, Network, Plan, Rendered, Study, finished
from training.study_parts import chosen

STEPS = 4  # that are timed, after one that is not
PICTURES = 4  # that are judged to know what one costs

Costs = list[dict[str, Any]]


def cost(study: Study, plan: Plan, settings: Sequence[str] = (), seeds: Sequence[int] = ()) -> Costs:
    """Rows {stage, what, count, hours} of what is missing for these settings and seeds (all): CPU hours, which do not
    depend on what else the machine has to do; hours on a card. Frames of datasets that were given are not counted."""
    networks = chosen(study, plan, settings, seeds)
    missing = [n for n in networks if any(not study.table(n, test).is_file() for test in plan.tests)]
    runs = {key: network for n in missing for key, network in _runs(study, n)}
    rows = _rendering(study, plan) if missing else []
    for name, setting in study.settings().items():
        mine = [n for n in runs.values() if n.setting == name]
        if not mine:
            continue
        seconds = {mode: step_seconds(study, setting, mode) for mode in sorted({n.fine_tune for n in mine})}
        hours = sum(n.steps * seconds[n.fine_tune] for n in mine) / 3600
        steps = sum(n.steps for n in mine)
        rows.append({"stage": "train", "what": f"{name}, {len(mine)} runs", "count": steps, "hours": hours})
    for name, setting in study.settings().items():
        tables = [(n, test) for n in missing if n.setting == name for test in plan.tests]
        frames = sum(plan.sizes.get(test, 0) for n, test in tables if not study.table(n, test).is_file())
        if frames:
            hours = frames * judging_seconds(study, setting) / 3600
            rows.append({"stage": "evaluate", "what": f"{name}, frames", "count": frames, "hours": hours})
    return rows


def _runs(study: Study, network: Network) -> Iterator[tuple[str, Network]]:
    """What is still to be trained for a network, by folder; of the learning rates all are tried with the first seed."""
    for one in network.mean_of:
        yield from _runs(study, one)
    if network.mean_of:
        return
    first = network.of_seed(0)
    tried = [(first.folder(rate), first) for rate in network.rates] if len(network.rates) > 1 else []
    own = [] if tried and network.seed == 0 else [(f"{network.setting}/{network.name}, seed {network.seed}", network)]
    done = any(finished(study.out / RUNS / network.folder(rate)) for rate in network.rates)
    for key, one in [(key, one) for key, one in tried if not finished(study.out / RUNS / key)] + own * (not done):
        yield key, one
        if one.start:
            yield from _runs(study, one.start)


def _rendering(study: Study, plan: Plan) -> Costs:
    """One dataset is measured, all have the same variations."""
    left = [(dataset, _left(study, dataset)) for dataset in plan.datasets]
    if not any(views for _, views in left):
        return []
    kinds: dict[Any, tuple[float, float, float]] = {}  # of datasets with the same variations: one is measured
    hours, size = 0.0, 0.0
    for dataset, views in left:
        kind = dataset.values.get("preset")
        if views and kind not in kinds:
            begun, busy = time.perf_counter(), time.process_time()
            seconds = measure(study.configuration(dataset))
            cores = (time.process_time() - busy) / (time.perf_counter() - begun) if study.device == "cpu" else 1.0
            kinds[kind] = (cores * seconds[0], cores * seconds[1], seconds[2])
        if views:
            a_view, setup, bytes_ = kinds[kind]
            hours += (a_view * views + setup * views / dataset.views) / 3600
            size += bytes_ * views
    views = sum(views for _, views in left)
    what = f"{len(plan.datasets)} datasets, views, {size / 1e9:.1f} GB"
    return [{"stage": "render", "what": what, "count": views, "hours": hours}]


def _left(study: Study, dataset: Rendered) -> int:
    """Views that are not rendered yet."""
    whole = len(dataset.patients) * dataset.views
    manifest = study.data / dataset.name / "manifest.jsonl"
    if not manifest.is_file():
        return whole
    with open(manifest, encoding="utf-8") as rows:
        there = {tuple(json.loads(row)["id"].split("/")[:2]) for row in rows if row.endswith("}\n")}
    return whole - len(there)


def step_seconds(study: Study, setting: Setting, fine_tune: str) -> float:
    """Of a training step of the setting's network, on pictures of the preset's size."""
    import torch

    from training.config import TrainConfig
    from training.models.layers import freeze

    config = TrainConfig(model=setting.model, batch=setting.batch, loss=setting.loss, augment=setting.augment)
    network = config.model.network().to(_device(study))
    freeze(network, fine_tune)
    network.train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad])
    batch = _batch(study, setting.batch)

    def step(number: int) -> None:
        moved = {key: value.to(_device(study)) if hasattr(value, "to") else value for key, value in batch.items()}
        seen = config.augment(moved, config.augment.draw(setting.batch, 0, number))  # type: ignore[arg-type]
        optimiser.zero_grad()
        config.loss.of(network, seen).backward()
        optimiser.step()

    return _timed(step, STEPS, _device(study))


def judging_seconds(study: Study, setting: Setting) -> float:
    """Of judging one frame: a prediction, and the metrics of it and of each baseline under both protocols."""
    import torch

    from training.baselines import baselines
    from training.config import TrainConfig
    from training.metrics import of_image
    from training.protocols import protocols

    network = TrainConfig(model=setting.model).model.network().to(_device(study)).eval()
    batch = _batch(study, 1)
    item = {key: value[0] for key, value in batch.items()}
    judges = [protocols.build(name) for name in ("median", "metric")]

    def judge(number: int) -> None:
        with torch.no_grad():
            network(item["image"][None].to(_device(study)))
        for protocol in judges * (1 + len(list(baselines))):
            of_image(item["z_depth"] * 1.1, item["z_depth"], item["mask"], protocol)

    return _timed(judge, PICTURES, _device(study))


def _device(study: Study) -> Any:
    from training.devices import torch_device

    return torch_device("cpu" if study.device == "vulkan" else study.device)


def _timed(work: Callable[[int], None], times: int, device: Any) -> float:
    """Seconds of one call, of the CPU unless work ends on a card, which is waited for; the first is not counted."""
    import torch

    clock = time.process_time
    if device.type != "cpu":
        clock = time.perf_counter
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work(0)
    wait()
    begun = clock()
    for number in range(times):
        work(number + 1)
    wait()
    return (clock() - begun) / times


def _batch(study: Study, count: int) -> dict[str, Any]:
    """Smooth pictures with depth, at random."""
    import torch
    from torch.nn.functional import interpolate

    width, height = (int(n) for n in study.preset.size.split("x"))
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 4, 12, 15, generator=generator)
    smooth = interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    k = torch.tensor([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1.0]])
    return {
        "image": smooth[:, :3], "z_depth": 5 + 40 * smooth[:, 3:], "mask": torch.ones(count, 1, height, width).bool(),
        "K": k.repeat(count, 1, 1), "id": ["picture"] * count,
    }  # fmt: skip
