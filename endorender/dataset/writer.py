"""The writing side of a dataset: whole files or none, one writer, and a manifest that can be trusted after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endorender.dataset.fingerprint import UNSAID, difference
from endorender.dataset.frame import File, Frame, stream_manifest
from endorender.dataset.info import read_info, there
from endorender.errors import UserError, plain
from endorender.outputs import held

TEMPORARY = ".tmp-"
LOCK = ".lock"
FAILED = "failed.jsonl"
SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Row:
    """What is remembered of a finished frame. All of it stands in the manifest: there may be many frames.

    at: where its line begins there.
    """

    patient: str
    view: int
    ct_sha256: str
    labels_sha256: str | None
    label_sha256: str | None
    at: int

    @classmethod
    def of(cls, frame: Frame, at: int) -> Row:
        """The row of a frame."""
        # One string for all frames of a patient, not one each.
        ct, labels, label = (sys.intern(frame.volume.get(f"{name}_sha256") or "") for name in ("ct", "labels", "label"))
        return cls(sys.intern(frame.patient), frame.view, ct, labels or None, label or None, at)


@dataclass(frozen=True)
class Made:
    """A finished frame on its way to the disk.

    row: its line of the manifest, but for the files. files: kind -> (path below the dataset, what fills a file there);
    without `geometry` where the view has that already.
    """

    row: dict[str, Any]
    files: Mapping[str, tuple[str, Callable[[Path], Any]]]


class Writer:
    """Owns a dataset folder while it is being written.

    root: the folder. info: what dataset.json must hold. ids: every frame's id, in the manifest's order.
    rows: the frames that are finished, by id; after a resume those whose files still match their hashes.
    failed: what failed.jsonl says of those that could not be rendered, by id.
    """

    def __init__(self, root: Path, info: dict[str, Any], ids: list[str]):
        self.root, self.info, self.ids = root, info, ids
        self.rows: dict[str, Row] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self._geometry: dict[tuple[str, int], File] = {}
        self._begun = False

    @contextlib.contextmanager
    def open(self, resume: bool) -> Iterator[Writer]:
        """Lock the folder and begin or continue. Refuses, and touches nothing, when it holds something else."""
        begun = check_folder(self.root)
        if begun and not resume:
            raise UserError(
                f"{self.root} holds a dataset already: add --resume to continue it, or choose another --out", "EXISTS"
            )
        with disk_errors(self.root):
            fresh = not self.root.exists()
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                with held(self.root / LOCK):
                    self._begun = check_folder(self.root)
                    if self._begun:
                        self._continue()
                    yield self
            finally:
                if fresh and not any(self.root.iterdir()):
                    self.root.rmdir()

    def _continue(self) -> None:
        begun, wanted = read_info(self.root), json.loads(dumps(self.info))
        self._same_engine(begun, wanted)
        for info in (begun, wanted):
            if info.get("configuration"):
                info["configuration"] = UNSAID | info["configuration"]
        changes = difference(begun, wanted)
        # A fingerprint that differs says nothing that its configuration does not say better.
        changes = [c for c in changes if not c.startswith("fingerprint")] or changes
        old, new = (info.get("configuration") or {} for info in (begun, wanted))
        later = [key for key in new if key not in old and new[key] is not None]
        if later:  # no option brings those back: a dataset tells all that its endorender knew
            raise UserError(
                f"{self.root} was begun with an earlier endorender, which had no {', '.join(later)}: "
                "finish it with that one, or choose another --out; its finished frames stay readable",
                "CONFIGURATION_CHANGED",
            )
        if changes:
            told = "; ".join(changes).replace("configuration.", "")
            raise UserError(
                f"{self.root} was begun with another configuration ({told}): "
                "repeat the old one, or choose another --out",
                "CONFIGURATION_CHANGED",
            )
        for stray in self.root.rglob(f"{TEMPORARY}*"):
            stray.unlink()
        (self.root / SUMS).unlink(missing_ok=True)  # written when all is there: until then it would be wrong
        seen: dict[str, bool] = {}
        ids = set(self.ids)
        for at, frame in stream_manifest(self.root):
            self.rows.pop(frame.id, None)
            if frame.id in ids and all(self._intact(file, seen) for file in frame.files.values()):
                self._remember(frame, at)
        self.failed = {row["id"]: row for row in read_failed(self.root) if row["id"] in ids - set(self.rows)}
        self._sort_manifest()

    def _same_engine(self, begun: dict[str, Any], wanted: dict[str, Any]) -> None:
        """One engine makes a dataset. One that was begun before it was written down does not say which."""
        theirs, ours = begun.get("generator", {}).get("engine"), wanted["generator"]["engine"]
        if theirs is None:
            del wanted["generator"]["engine"]
            begun.get("generator", {}).pop("engine", None)
        elif (theirs["name"], theirs["version"]) != (ours["name"], ours["version"]):
            told, here = (plain(f"{e['name']} {e['version']}"[:80]) for e in (theirs, ours))
            raise UserError(
                f"{self.root} was begun on the engine {told}, and this is {here}: take that one again "
                "(ENDORENDER_ENGINE, its version), or choose another --out",
                "ENGINE_CHANGED",
            )

    def _remember(self, frame: Frame, at: int) -> None:
        self.rows[frame.id] = Row.of(frame, at)
        self._geometry.setdefault((frame.patient, frame.view), frame.files["geometry"])

    def _intact(self, file: File, seen: dict[str, bool]) -> bool:
        if file.path not in seen:
            path = self.root / file.path
            seen[file.path] = path.is_file() and sha256(path) == file.sha256
        return seen[file.path]

    def add(self, path: str, write: Callable[[Path], Any]) -> File:
        """Let `write` fill a temporary file, sync it and give it its name: `path`, relative to the root.

        The first file of all is dataset.json: a mistake noticed before any work leaves no folder behind.
        """
        if not self._begun:
            self._begun = True
            self.add("dataset.json", lambda p: p.write_text(dumps(self.info), encoding="utf-8"))
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(TEMPORARY + target.name)
        try:
            write(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        digest = sha256(part)
        part.replace(target)
        sync_folder(target.parent)
        return File(path=path, sha256=digest)

    def placed(self, made: Made) -> bool:
        """Whether the frame's geometry is there or comes with it: not where the frame that had it has failed, and with
        it all of the view."""
        return "geometry" in made.files or self.geometry_of(made.row["patient"], made.row["view"]) is not None

    def keep(self, made: Made) -> None:
        """Write a finished frame. Geometry that finished frames of the view refer to stays as it is."""
        known = self.geometry_of(made.row["patient"], made.row["view"])
        files = {"geometry": known} if known else {}
        files |= {kind: self.add(*file) for kind, file in made.files.items() if kind not in files}
        self.append(Frame(**made.row, files=files))

    def append(self, frame: Frame) -> None:
        """Record a frame whose files are all in place."""
        rest = row(frame).encode()
        with (self.root / "manifest.jsonl").open("ab", buffering=0) as file:
            at = file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), at)  # no half row stays where the disk is full
                raise
        self._remember(frame, at)
        self.failed.pop(frame.id, None)

    def fail(self, name: str, seed: int, code: str, error: str) -> None:
        """Record a frame that could not be rendered. Nothing is written before something has succeeded."""
        self.failed[name] = {"id": name, "seed": seed, "status": "failed", "code": code, "error": error}
        if self._begun:
            self._write_failed()

    def _write_failed(self) -> None:
        if self.failed:
            lines = [json.dumps(self.failed[i], ensure_ascii=False) + "\n" for i in self.ids if i in self.failed]
            self.add(FAILED, lambda p: p.write_text("".join(lines), encoding="utf-8"))
        else:
            (self.root / FAILED).unlink(missing_ok=True)

    def geometry_of(self, patient: str, view: int) -> File | None:
        """The geometry file that finished frames of a view refer to."""
        return self._geometry.get((patient, view))

    def _sort_manifest(self) -> None:
        """Write the rows that count again, in order, line by line: all of them at once may not fit into memory."""
        old = self.root / "manifest.jsonl"

        def copy(path: Path) -> None:
            with path.open("wb") as new, old.open("rb") if old.exists() else io.BytesIO() as file:
                for name in self.ids:
                    if name in self.rows:
                        file.seek(self.rows[name].at)
                        at = new.tell()
                        new.write(file.readline())
                        self.rows[name] = dataclasses.replace(self.rows[name], at=at)

        self.add("manifest.jsonl", copy)

    def finish(self) -> None:
        """Sort the manifest: how often the work was interrupted can no longer be told from it."""
        self._sort_manifest()
        self._write_failed()

    def missing(self) -> list[str]:
        """Ids of the frames that are still to be rendered, in order."""
        return [i for i in self.ids if i not in self.rows]


def check_folder(root: Path) -> bool:
    """Whether a dataset was begun here. UserError when something else is in the way."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise UserError("what --out names is a file: choose a folder", "FOREIGN_FOLDER")
    names = {p.name for p in root.iterdir()}
    if "dataset.json" in names:
        read_info(root)
        return True
    if others := [n for n in names if n != LOCK and not n.startswith(TEMPORARY)]:
        raise UserError(
            f"the folder of --out holds {len(others)} other files or folders and no dataset: "
            "choose an empty folder for --out",
            "FOREIGN_FOLDER",
        )
    return False


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """What the disk refuses, said as a user's matter: no room, no permission, no such place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"no room left to write {root}: free some and repeat with --resume", "DISK_FULL") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO):
            reason = os.strerror(error.errno)
            raise UserError(f"{root} cannot be written: {reason}; choose another --out", "NOT_WRITABLE") from None
        raise


def read_failed(root: Path) -> list[dict[str, Any]]:
    """Rows of failed.jsonl: id, seed, status, code, error."""
    if not os.path.lexists(root / FAILED):
        return []
    try:
        there(root / FAILED)
        lines = (root / FAILED).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        if all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
            return rows
    except (OSError, ValueError, RecursionError):
        pass
    raise UserError(f"{FAILED} cannot be read: remove it, and --resume tries those frames again", "DATASET_DAMAGED")


def row(frame: Frame) -> str:
    """The manifest's line of a frame."""
    return json.dumps(frame.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) + "\n"


def dumps(value: Any) -> str:
    """JSON for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Make a rename survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
