"""Is a dataset what its manifest says, and is what it holds plausible? Every finding is one line."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from endorender import pictures
from endorender.dataset import exr
from endorender.dataset.fingerprint import fingerprint
from endorender.dataset.frame import Dataset, Frame, frame_id, stream_manifest
from endorender.dataset.info import SPLITS, planned, read_info
from endorender.dataset.pages import guarded, pages
from endorender.dataset.spec import pixels
from endorender.dataset.writer import FAILED, LOCK, SUMS, TEMPORARY, read_failed, sha256
from endorender.errors import UserError, plain

MOST_MISSING = 10_000  # rows that are said one by one: a damaged number may ask for very many
FARTHEST = 1000.0  # mm: no lumen of a patient is longer in sight

Progress = Callable[[float, int, str], None]


@dataclass(frozen=True)
class Finding:
    """code: stable, for programs. where: a file or a frame's id. what: one line."""

    code: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.code} {plain(self.where)}: {plain(self.what)}"

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {key: plain(value) for key, value in asdict(self).items()}


def verify(path: str | Path, progress: Progress | None = None) -> list[Finding]:
    """Everything that is wrong with a dataset: bytes, files, rows, values. Empty: it can be trusted.

    Raises UserError NOT_A_DATASET or SCHEMA where there is none at all, or one of another version.
    """
    root = Path(path)
    try:
        info = read_info(root)
    except UserError as error:
        if error.code != "DATASET_DAMAGED":
            raise
        return [Finding("DAMAGED", "dataset.json", str(error))]
    if wrong := list(_configuration(info)):
        return wrong
    try:
        # Of all rows only ids are held: there may be very many. A later row of an id replaces the one before.
        last = {frame.id: at for at, frame in stream_manifest(root)}
    except UserError as error:
        return [Finding("DAMAGED", "manifest.jsonl", str(error))]
    try:
        failed = read_failed(root)
    except UserError as error:
        return [Finding("DAMAGED", FAILED, str(error))]
    plan = planned(info)
    return [
        *_ids(root, info, plan, last, {row["id"] for row in failed}),
        *(Finding("FAILED", row["id"], str(row.get("error"))) for row in failed),
        *_frames(root, info, plan, last, progress or (lambda done, total, text: None)),
        *_pages(Dataset(root, info, []), len(last) == info["frames"]),
    ]


def _configuration(info: dict[str, Any]) -> Iterator[Finding]:
    """dataset.json guards its configuration by a fingerprint."""
    if not info.get("fingerprint"):
        yield Finding("DAMAGED", "dataset.json", "fingerprint missing")
        return
    try:
        own = fingerprint(info["configuration"])
    except (ValueError, RecursionError):  # numbers that are none, or nested too deeply
        own = ""
    if own != info["fingerprint"]:
        yield Finding("CHANGED", "dataset.json", "its configuration is not the one of its fingerprint")


def _ids(
    root: Path, info: dict[str, Any], plan: Mapping[str, int], have: Mapping[str, int], failed: set[str]
) -> Iterator[Finding]:
    """Rows that are not there, and one that is there in part."""
    if have and not _ends_a_line(root / "manifest.jsonl"):
        yield Finding("DAMAGED", "manifest.jsonl", "its last row is cut off")
    views = ((patient, n) for patient, count in plan.items() for n in range(count))
    ids = (frame_id(patient, n, name) for patient, n in views for name in info["variations"])
    missing = (i for i in ids if i not in have and i not in failed)
    for i in itertools.islice(missing, MOST_MISSING):
        yield Finding("MISSING", i, "the manifest has no row of it")
    if (after := next(missing, None)) is not None:
        yield Finding("MISSING", after, "the manifest has no row of it; further ones are not looked for")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _row(info: dict[str, Any], plan: Mapping[str, int], frame: Frame) -> Iterator[Finding]:
    """Id, pose, intrinsics and camera of a frame."""
    named = frame.id == frame_id(frame.patient, frame.view, frame.variation)
    if not (named and frame.variation in info["variations"] and frame.view < plan.get(frame.patient, 0)):
        yield Finding("FOREIGN", frame.id, "no frame of this dataset has this id")
    pose = np.array(frame.world_from_camera)
    r = pose[:3, :3]
    if not np.isfinite(pose).all() or not np.allclose(pose[3], (0, 0, 0, 1)):
        yield Finding("POSE", frame.id, "the pose is not finite, or its last row is not 0 0 0 1")
    elif not np.allclose(r @ r.T, np.eye(3), atol=1e-5) or np.linalg.det(r) < 0:
        yield Finding("POSE", frame.id, "the pose is no rotation")
    width, height = pixels(info["configuration"]["size"])
    k = np.array(frame.K)
    centre = (k[0, 2] + 0.5) / width, (k[1, 2] + 0.5) / height
    if not np.isfinite(k).all() or min(k[0, 0], k[1, 1]) <= 0 or not np.allclose(k[2], (0, 0, 1)):
        yield Finding("INTRINSICS", frame.id, "K is no matrix of intrinsics")
    elif not all(-0.5 < c < 1.5 for c in centre):
        yield Finding("INTRINSICS", frame.id, f"the principal point lies far outside {width}x{height}")
    yield from _camera(frame, k, (width, height))


def _camera(frame: Frame, k: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    from endorender.scene.camera import cameras

    try:
        camera = cameras.build(frame.camera)
    except UserError as error:
        yield Finding("INTRINSICS", frame.id, f"its camera cannot be built: {error}")
        return
    if (camera.width, camera.height) != size:
        yield Finding("SIZE", frame.id, f"its camera is {camera.width}x{camera.height}, not {size[0]}x{size[1]}")
    elif not np.allclose(camera.K, k, rtol=1e-6, atol=1e-6):
        yield Finding("INTRINSICS", frame.id, "K is not that of its camera")


def _frames(
    root: Path, info: dict[str, Any], plan: Mapping[str, int], last: Mapping[str, int], progress: Progress
) -> Iterator[Finding]:
    """Every row that counts, and every file once: there, unchanged, plausible."""
    seen: set[str] = set()
    engines = {" ".join((info.get("generator", {}).get("engine") or {}).values())}
    done, whole = 0, os.path.realpath(root)
    for at, row in stream_manifest(root):
        if last[row.id] != at:
            continue
        progress(done, len(last), row.id)
        done += 1
        frame = row.at(root)
        engines.add(frame.engine)
        yield from _row(info, plan, frame)
        measured = _measures(frame)
        for kind, file in frame.files.items():
            if file.path in seen:
                continue
            seen.add(file.path)
            path = root / file.path
            if os.path.realpath(path) != os.path.join(whole, file.path):
                yield Finding("LINK", file.path, "is a link, or lies behind one: a dataset holds its files itself")
            elif not path.is_file():
                yield Finding("MISSING", file.path, f"the {kind} of {frame.id} is not there")
            elif (own := _digest(path)) is None:
                yield Finding("DAMAGED", file.path, "the disk does not give it")
            elif own != file.sha256:
                yield Finding("CHANGED", file.path, "its bytes are not those that the manifest hashed")
            elif measured:
                yield from _values(frame, kind, file.path)
    if len(several := sorted(engines - {""})) > 1:
        yield Finding("ENGINE", "manifest.jsonl", f"{' and '.join(several)} computed it: pictures differ by rounding")
    others = {*guarded(info), SUMS, LOCK, FAILED}
    for name in _below(root):
        if name.rpartition("/")[2].startswith(TEMPORARY):
            yield Finding("TEMPORARY", name, "left by a run that was killed; --resume removes it")
        elif name not in seen and name not in others:
            yield Finding("FOREIGN", name, "the manifest knows no such file")


def _digest(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None


def _measures(frame: Frame) -> bool:
    """Whether its camera is one, by which files can be measured: where it is none, that is said of the row."""
    from endorender.scene.camera import cameras

    try:
        camera = cameras.build(frame.camera)
    except UserError:
        return False
    return {"width", "height"} <= set(frame.camera) and bool(np.isfinite(camera.K).all())


def _below(root: Path) -> Iterator[str]:
    """Every file below root by its path from there, and links, which are not followed."""
    for here, folders, names in os.walk(root):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        inside = Path(here).relative_to(root)
        yield from ((inside / name).as_posix() for name in sorted(names + links))


def _values(frame: Frame, kind: str, name: str) -> Iterator[Finding]:
    """What a file holds, where it can be wrong although its bytes are as they were written."""
    try:
        if kind == "image":
            with pictures.opened(frame.path(kind)) as picture:
                size = picture.size
        elif kind in ("radiance", "geometry"):
            size = exr.size(frame.path(kind))
        else:
            return
        if size != _size(frame):
            yield Finding("SIZE", name, f"is {size[0]}x{size[1]}")
        elif kind == "image":
            yield from _exposed(frame, name, frame.image())
        else:
            yield from (_radiance if kind == "radiance" else _geometry)(frame, name)
    except (UserError, pictures.Broken) as error:
        yield Finding("DAMAGED", name, str(error))


def _size(frame: Frame) -> tuple[int, int]:
    return frame.camera["width"], frame.camera["height"]


def _exposed(frame: Frame, name: str, picture: np.ndarray) -> Iterator[Finding]:
    """A developed picture of which next to nothing is left."""
    from endorender.scene.camera import cameras

    seen = picture[cameras.build(frame.camera).visible()].reshape(-1, 3)
    for what, value, limit in (("black", 0, exr.BLACK_LIMIT), ("white", 255, exr.WHITE_LIMIT)):
        count = int((seen == value).all(-1).sum())
        if count > limit * len(seen):
            yield Finding("VALUES", name, f"{count} of {len(seen)} pixels are {what}: another exposure would show more")


def _radiance(frame: Frame, name: str) -> Iterator[Finding]:
    from endorender.scene.camera import cameras

    channels, _ = exr.read(frame.path("radiance"))
    if missing := {*"RGB"} - set(channels):
        yield Finding("DAMAGED", name, f"has no channel {min(missing)}")
        return
    light = np.stack([channels[c] for c in "RGB"]).astype(np.float32)
    if not np.isfinite(light).all() or light.min() < 0:
        yield Finding("VALUES", name, "radiance is negative or not finite")
    if not light.any():
        yield Finding("VALUES", name, "is black everywhere")
    else:
        mask = cameras.build(frame.camera).visible()
        yield from (Finding("VALUES", name, said) for said in exr.spoilt(np.moveaxis(light, 0, -1), mask))
    for layer, top in (("albedo", 1.001), ("variance", np.inf)):
        values = [channels[c].astype(np.float32) for c in channels if c.startswith(f"{layer}.")]
        if values and not all(np.isfinite(v).all() and v.min() >= 0 and v.max() <= top for v in values):
            yield Finding("VALUES", name, f"{layer} is out of its range")


def _geometry(frame: Frame, name: str) -> Iterator[Finding]:
    from endorender.scene.camera import cameras

    g = frame.geometry()
    mask, camera = g["mask"], cameras.build(frame.camera)
    for layer in ("z_depth", "distance", "normal"):
        finite = np.isfinite(g[layer]).reshape(*mask.shape, -1)
        if not (finite.all(-1) == mask).all() or not (finite.any(-1) == mask).all():
            yield Finding("MASK", name, f"{layer} and the mask do not agree on what is valid")
    if not mask.any():
        yield Finding("VALUES", name, "no pixel is valid")
        return
    distance = g["distance"][mask]
    if not (np.nanmin(distance) > 0 and np.nanmax(distance) < FARTHEST):
        yield Finding("DEPTH", name, f"distance is not between 0 and {FARTHEST:g} mm")
    rays = camera.unproject(camera.pixels())
    off = np.abs(g["z_depth"] - g["distance"] * rays[..., 2])[mask]
    if np.nanmax(off) > 1e-3 + 1e-5 * np.nanmax(distance):
        yield Finding("DEPTH", name, f"z-depth and distance part by {np.nanmax(off):.3g} mm under the frame's camera")
    length = np.linalg.norm(g["normal"][mask], axis=-1)
    if np.nanmax(np.abs(length - 1)) > 1e-3:
        yield Finding("NORMAL", name, "normals are not of unit length")
    if np.nanmax((g["normal"] * rays).sum(-1)[mask]) > 1e-3:
        yield Finding("NORMAL", name, "normals face away from the camera")
    if (mask & ~camera.visible()).any():
        yield Finding("MASK", name, "pixels are valid that the camera's mask hides")


def _pages(dataset: Dataset, complete: bool) -> Iterator[Finding]:
    """A finished dataset has its pages; SHA256SUMS guards what the manifest does not; lists say what the rows say."""
    for name in (*pages(dataset.info), SUMS) if complete or (dataset.root / SUMS).is_file() else ():
        if not (dataset.root / name).is_file():
            yield Finding("MISSING", name, "every finished dataset has it; --resume writes it again")
    if (dataset.root / SUMS).is_file():
        yield from _sums(dataset.root, guarded(dataset.info))
    for name in SPLITS:
        path = dataset.root / f"splits/{name}.txt"
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace").split() != dataset.split(name):
            yield Finding("CHANGED", f"splits/{name}.txt", "lists other patients than dataset.json")


def _sums(root: Path, names: list[str]) -> Iterator[Finding]:
    lines = (root / SUMS).read_bytes().decode("utf-8", "replace").split("\n")
    listed = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
    if lines[-1] or set(listed) != set(names) or len(lines) != len(listed) + 1:
        yield Finding("CHANGED", SUMS, "does not list what it should")
    for name in names:
        if (root / name).is_file() and name in listed and _digest(root / name) != listed[name]:
            yield Finding("CHANGED", name, f"its bytes are not those of {SUMS}")


def as_json(findings: list[Finding]) -> str:
    """For programs: {"ok": ..., "findings": [...]}."""
    return json.dumps({"ok": not findings, "findings": [f.to_dict() for f in findings]}, indent=2, ensure_ascii=False)
