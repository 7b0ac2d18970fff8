"""The files of a DICOM series: folder, single file or zip, each opened and parsed without harm."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from endorender.ct.errors import CTError

Opener = Callable[[], BinaryIO]
IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
MAX_FILE = 2**31  # bytes of one file, unpacked


def files(path: Path) -> Iterator[Opener]:
    """Ways to open every file, in the order of names."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield partial(_opened, file)
    elif zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        for info in sorted(archive.infolist(), key=lambda i: i.filename):
            if info.is_dir():
                continue
            if info.file_size > MAX_FILE:
                raise CTError("a member of the zip is too large when unpacked: unpack it yourself", "TOO_LARGE")
            yield partial(_unpacked, archive, info)
    else:
        yield partial(_opened, path)


def _opened(path: Path) -> BinaryIO:
    return open(path, "rb")


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    try:
        with archive.open(info) as member:
            data = member.read(MAX_FILE + 1)
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise CTError(f"the zip cannot be unpacked ({type(error).__name__}): unpack it yourself", "TRUNCATED") from None
    if len(data) > MAX_FILE:
        raise CTError("a member of the zip is too large when unpacked: unpack it yourself", "TOO_LARGE")
    return io.BytesIO(data)


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns with header texts, which are patient data."""
    import pydicom.config

    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def parse(opener: Opener, pixels: bool) -> Any:
    """The dataset, or None if the file is no DICOM. Raises CTError TRUNCATED, TOO_LARGE."""
    import pydicom
    from pydicom.filereader import read_preamble

    with opener() as file, quiet():
        head = file.read(132)
        bare = head[:2] == b"\x08\x00"  # some archives drop the preamble
        if head[128:] != b"DICM" and not bare:
            return None
        file.seek(0)
        try:
            if not bare:
                read_preamble(file, force=False)
                syntax = str(pydicom.filereader._read_file_meta_info(file).get("TransferSyntaxUID", ""))
                if syntax == DEFLATED and len(zlib.decompressobj(-15).decompress(file.read(), MAX_FILE)) >= MAX_FILE:
                    raise CTError("a deflated file is too large when inflated", "TOO_LARGE")
                file.seek(0)
            dataset = pydicom.dcmread(file, force=bare, stop_before_pixels=not pixels)
            if "TransferSyntaxUID" not in dataset.file_meta:
                implicit = dataset.original_encoding[0]
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(IMPLICIT if implicit else EXPLICIT)
            return dataset
        except CTError:
            raise
        except Exception as error:  # pydicom raises a dozen kinds for files cut or scrambled
            if bare:
                return None
            kind = type(error).__name__
            raise CTError(f"a DICOM file breaks off or is damaged ({kind}): copy it again", "TRUNCATED") from None
