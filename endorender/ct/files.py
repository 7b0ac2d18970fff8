"""The files of a DICOM series: folder, single file or zip, each opened without harm."""

from __future__ import annotations

import gzip
import io
import logging
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from endorender.ct.errors import CTError
from endorender.ct.limits import MAX_FILES, inflation, on_disk


@dataclass(frozen=True)
class Entry:
    """One file. number: its place in the order of names, from 1; its name would be patient data. cheap: whether it can
    be opened as often as one likes, from any thread. path: where it lies on disk, None within a zip. name: for its
    ending alone; no message may repeat it. size: bytes of a member of a zip."""

    number: int
    open: Callable[[], BinaryIO]
    cheap: bool = True
    path: Path | None = field(default=None, repr=False)
    name: str = field(default="", repr=False)
    size: int = 0

    @property
    def stored(self) -> int:
        """Bytes that it really takes: a sparse file takes fewer than it seems to have."""
        return on_disk(self.path) if self.path is not None else self.size


def single(path: Path, number: int = 1) -> Entry:
    """The one file."""
    return Entry(number, partial(_read, path), path=path, name=path.name)


def files(path: Path, notes: list[str] | None = None) -> list[Entry]:
    """Every file of a folder (to the bottom), of a zip, or the one file; in the order of names.

    Pipes, devices and folders that are links are passed over with a note. Raises CTError UNREADABLE, TOO_LARGE.
    """
    if path.is_dir():
        return [single(f, n) for n, f in enumerate(_below(path, [] if notes is None else notes), 1)]
    with _opened(path) as file:
        head = file.read(132)
    if head[128:] != b"DICM" and zipfile.is_zipfile(path):
        return _members(path)
    return [single(path)]


def _read(path: Path) -> BinaryIO:
    return open(path, "rb")


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CTError(
            f"the file cannot be opened ({type(error).__name__}): mend its permissions", "UNREADABLE"
        ) from None


def _below(path: Path, notes: list[str]) -> list[Path]:
    found, links, odd = [], 0, 0
    for folder, folders, names in os.walk(path):  # which does not follow links to folders, nor fail on locked ones
        folders.sort()
        links += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        for name in names:
            file = Path(folder, name)
            try:
                regular = stat.S_ISREG(file.stat().st_mode)
            except OSError:  # a link to nowhere, or to itself
                regular = False
            if regular:
                found.append(file)
            else:
                odd += 1
        if len(found) > MAX_FILES:
            raise CTError(f"more than {MAX_FILES} files: give the folder of one series", "TOO_LARGE")
    if links:
        notes.append(f"{links} folders that are links were not entered")
    if odd:
        notes.append(f"{odd} pipes, devices or dead links were passed over")
    return sorted(found)


def _members(path: Path) -> list[Entry]:
    try:
        archive = zipfile.ZipFile(path)
        infos = sorted((i for i in archive.infolist() if not i.is_dir()), key=lambda i: i.filename)
    except Exception as error:  # a directory that contradicts itself raises half a dozen kinds
        raise CTError(
            f"the zip cannot be opened ({type(error).__name__}): unpack it yourself and give the folder", "TRUNCATED"
        ) from None
    if len(infos) > MAX_FILES:
        raise CTError(f"the zip holds more than {MAX_FILES} files: unpack one series yourself", "TOO_LARGE")
    inflation(sum(i.file_size for i in infos), on_disk(path), "a zip")
    for info in infos:
        inflation(info.file_size, info.compress_size, "a member of the zip")
    return [
        Entry(n, partial(_unpacked, archive, info), False, None, info.filename.rpartition("/")[2], info.file_size)
        for n, info in enumerate(infos, 1)
    ]


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """In memory, never on disk: names like ../../x do no harm. zipfile reads no more than the size it was promised."""
    try:
        with archive.open(info) as member:
            return io.BytesIO(member.read())
    except Exception as error:  # zlib.error, BadZipFile, EOFError, a password, an unknown method, ...
        raise CTError(f"the zip cannot be unpacked ({type(error).__name__}): unpack it yourself", "TRUNCATED") from None


@contextmanager
def silent(library: str) -> Iterator[None]:
    """The loggers of a library that quotes header texts, which are patient data, say nothing meanwhile."""
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] == library]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before):
            logger.disabled = was


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns and logs with header texts, which are patient data."""
    import pydicom.config

    with warnings.catch_warnings(), pydicom.config.disable_value_validation(), silent("pydicom"):
        warnings.simplefilter("ignore")
        yield


def unpacked(entry: Entry, streams: list[Any]) -> Any:
    """The file as a stream, gunzipped if it is packed, whatever its name says; `streams` collects what is to be closed.

    Raises CTError UNREADABLE.
    """
    try:
        file = entry.open()
    except OSError as error:
        raise CTError(
            f"the file cannot be opened ({type(error).__name__}): mend its permissions", "UNREADABLE"
        ) from None
    streams.append(file)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return file
    stream = _Gunzipped(fileobj=file, mode="rb")
    streams.append(stream)
    return stream


class _Gunzipped(gzip.GzipFile):
    """Closes what it reads from."""

    def close(self) -> None:
        file: Any = self.fileobj
        super().close()
        if file is not None:
            file.close()


def partner(entry: Entry, endings: Mapping[str, tuple[str, ...]]) -> Entry:
    """The file beside a header that holds the voxels: the same name with another ending. Raises CTError."""
    if entry.path is None:
        raise CTError("a header in a zip keeps its voxels in another file: unpack it and give the header", "UNREADABLE")
    name = entry.path.name
    ending = max((e for e in endings if name.lower().endswith(e)), key=len)
    wanted = [name[: -len(ending)].lower() + other for other in endings[ending]]
    beside = [f for f in sorted(entry.path.parent.iterdir()) if f.name.lower() in wanted and f.is_file()]
    if not beside:
        raise CTError(f"a {ending} without its {endings[ending][0]}: put both into one folder", "TRUNCATED")
    return single(beside[0], entry.number)
