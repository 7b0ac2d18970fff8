"""A run of 100,000 frames without the light.

`python -m tests.dataset.planning OUT FINISHED WORKERS` prints its peak in MB.
FINISHED: rows that the manifest holds already. Each points at the same three small files. WORKERS: 0, or how many Ray
workers send a picture's worth of bytes for each view.
"""

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import endorender.dataset  # noqa: F401  (the package's `generate` hides the module of that name)
from endorender.dataset import cluster, configure
from endorender.dataset.frame import File, Frame, frame_id
from endorender.dataset.worker import Worker
from endorender.dataset.writer import Made, Writer, dumps, row, sha256

PATIENTS, VIEWS = 50, 400


def peak() -> float:
    """MB that this process held at most. Not getrusage: its peak is also that of the process that started this one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def prepare(root: Path, config, finished: int) -> None:
    """A folder in which that many frames are done."""
    from endorender.dataset.generate import describe

    root.mkdir(parents=True)
    ids = [frame_id(p.alias, n, v.name) for p in config.ct for n in range(config.views) for v in config.columns]
    (root / "dataset.json").write_text(dumps(describe(config)))
    files = {}
    for kind in ("geometry", "radiance", "image"):
        (root / kind).write_text(kind)
        files[kind] = File(path=kind, sha256=sha256(root / kind))
    eye = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frame = Frame(
        id=ids[0],
        patient="p001",
        scene={},
        view=0,
        variation="v",
        parameters={"tissue": {"albedo": [0.5] * 60}},
        seed=1,
        K=[r[:3] for r in eye[:3]],
        camera={},
        world_from_camera=eye,
        volume={"ct_sha256": "0" * 64},
        files=files,
        spp=1,
        denoised=False,
    )
    told = json.loads(row(frame))
    with (root / "manifest.jsonl").open("w") as manifest:
        for name in ids[:finished]:
            patient, view, variation = name.split("/")
            own = {"id": name, "patient": patient, "view": int(view), "variation": variation}
            manifest.write(json.dumps({**told, **own}) + "\n")


class Idle(Worker):
    """A worker without light."""

    def start(self, threads, asks):
        return None

    def render(self, unit):
        row = {"patient": unit.patient, "volume": {"ct_sha256": "0" * 64}}
        files = {"geometry": 100_000, "image": 100_000}
        yield Made(row, {kind: ("", partial(Path.write_bytes, data=bytes(n))) for kind, n in files.items()})

    def stop(self):
        pass


def main(root: Path, finished: int, workers: int) -> None:
    """Plan everything, render nothing."""
    generating = sys.modules["endorender.dataset.generate"]

    def count(work, report):
        while unit := work.take("nobody"):
            planned[unit.patient] += len(unit.names)
        yield from ()

    config = configure(ct=[f"phantom:{n + 1}" for n in range(PATIENTS)], views=VIEWS, size="320x240", preset="paper4")
    if finished:
        prepare(root, config, finished)
    planned: Counter[str] = Counter()
    if workers:
        cluster.Worker, Writer.keep = Idle, lambda writer, made: planned.update({made.row["patient"]: 5})
        generating.generate(config, root, bool(finished), workers=workers)
    else:
        generating.alone = count
        generating.generate(config, root, resume=bool(finished))
    assert planned.total() == PATIENTS * VIEWS * 5 - finished
    print(peak())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
