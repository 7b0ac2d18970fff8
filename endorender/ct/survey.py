"""What a path holds, series by series, for a person who has to choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.limits import regular
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Float

Progress = Callable[[float, int, str], None]
EDGES = tuple(range(-1100, 1501, 100))  # HU; what lies beyond is in the first and last bin
PLANES = "sagittal", "coronal", "axial"


def survey(
    path: str | Path, resample: bool = False, assume_hu: bool = False, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """One row a volume: every series of a DICOM folder, file or zip; one for a file of another
    format. Plain types, no patient data.

    A row has `series` (what --series takes), `slices`, `size`, `spacing_mm`, and either `facts` of the volume that
    was read (see `facts`) or `code` and `problem`. Volumes are read one after the other, and let go.
    Raises CTError where there is nothing to list.
    """
    from endorender.ct.dicom import series as dicom
    from endorender.ct.dicom.phases import pick
    from endorender.ct.dicom.stack import assemble
    from endorender.ct.files import single
    from endorender.ct.formats import detect
    from endorender.ct.reader import inside, load, volume_of

    path = regular(Path(path))
    if path.is_file():
        what = detect.kind(single(path))
        if what != ".zip":
            detect.refuse(what)
        if detect.readable(what) is not None:
            return [_row(1, {}, lambda: load(path, None, resample, assume_hu))]
    try:
        found = dicom.scan(path, progress)
    except CTError as error:
        if error.code != "NO_CT":
            raise
        entries = inside(path, error)
        return [
            _row(n, {}, partial(volume_of(entries, str(n)), resample, assume_hu)) for n in range(1, len(entries) + 1)
        ]
    rows = []
    for number, stack in enumerate(found.stacks, 1):
        first = stack[0]
        head = {"slices": len(stack), "size": [first.cols, first.rows], "pixel_mm": [round(p, 4) for p in first.pitch]}
        head |= {"posture": first.posture} if first.posture else {}

        def read(number: int = number) -> Volume:
            notes = list(found.notes)
            with np.errstate(all="ignore"):
                chosen = pick(dicom.choose(found, str(number), notes), None, notes)
                return assemble(chosen, notes, resample, assume_hu, progress)

        rows.append(_row(number, {**head, **dict(first.facts)}, read))
    return rows


def _row(number: int, head: dict[str, Any], read: Callable[[], Volume]) -> dict[str, Any]:
    try:
        return {"series": number, **head, "facts": facts(read())}
    except CTError as error:
        return {"series": number, **head, "code": error.code, "problem": str(error)}


def facts(volume: Volume) -> dict[str, Any]:
    """Grid, orientation, values and warnings. Lengths in mm, values in HU.

    orientation: the anatomical plane that slices lie nearest to, and the directions in which i, j, k grow (R right,
    L left, A anterior, P posterior, S superior, I inferior). histogram: counts between `edges`, in steps of 100 HU;
    the first and last bin hold what lies beyond.
    """
    low, high = float(volume.hu.min()), float(volume.hu.max())
    counts = np.zeros(len(EDGES) - 1, np.int64)
    for slab in np.moveaxis(volume.hu, int(np.argmax(np.abs(volume.hu.strides))), 0):
        counts += np.histogram(np.clip(slab, EDGES[0], EDGES[-1]), EDGES)[0]
    return {
        "size": list(volume.shape),
        "spacing_mm": [round(float(s), 4) for s in volume.spacing],
        "extent_mm": [round(float(s * (n - 1)), 1) for s, n in zip(volume.spacing, volume.shape)],
        "orientation": orientation(volume.affine),
        "hu_min": low,
        "hu_max": high,
        "histogram": {"edges": [EDGES[0], EDGES[-1], 100], "counts": counts.tolist()},
        "warnings": list(volume.warnings),
        "meta": dict(volume.meta),
    }


def orientation(affine: Float[np.ndarray, "4 4"]) -> str:
    """`axial LPS`, `oblique near coronal RSP, 17 degrees`."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    normal = np.cross(axes[:, 0], axes[:, 1])
    plane = PLANES[int(np.abs(normal).argmax())]
    # Each axis of the body once, by the best match: near 45 degrees two could have the same.
    names = [""] * 3
    for flat in np.argsort(-np.abs(axes).ravel()):
        body, voxel = divmod(int(flat), 3)
        if not names[voxel] and ("RL", "AP", "SI")[body] not in names:
            names[voxel] = ("RL", "AP", "SI")[body]
    letters = ""
    for voxel, pair in enumerate(names):
        body = ("RL", "AP", "SI").index(pair)
        letters += pair[0] if axes[body, voxel] > 0 else pair[1]
    off = float(np.degrees(np.arccos(min(1.0, float(np.abs(axes).max(axis=0).min())))))
    return f"{plane} {letters}" if off < 0.5 else f"oblique near {plane} {letters}, {off:.0f} degrees"


def bars(counts: list[int]) -> str:
    """A histogram as one line of blocks, by logarithm: air and tissue dwarf the rest."""
    logs = np.log1p(np.array(counts, float))
    return "".join(" ▁▂▃▄▅▆▇█"[int(np.ceil(8 * v / max(logs.max(), 1e-9)))] for v in logs)
