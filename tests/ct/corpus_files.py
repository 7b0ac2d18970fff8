"""Folders, zips and hostile files."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage, RLELossless

from endorender.ct.files import quiet
from tests.ct import made
from tests.ct.corpus import case
from tests.ct.corpus_dicom import setting

FLOOD = 96 * 2**20  # bytes of a bomb; a test makes it larger


def zipped(folder: Path, **extra: bytes) -> Path:
    made.series(folder / "in")
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "in").iterdir()):
            archive.write(file, f"deep/{file.name}")
        for name, data in extra.items():
            archive.writestr(name, data)
    return folder / "scan.zip"


case("empty folder", "NO_CT")(lambda f: None)
case("folder of other things", "NO_CT")(lambda f: (f / "holiday.jpg").write_bytes(b"\xff\xd8" * 500) and None)
case("nothing there", "NOT_FOUND")(lambda f: f / "nowhere")
case("name with a NUL", "NOT_FOUND")(lambda f: f / "a\0b")
case("name far too long", "NOT_FOUND")(lambda f: f / ("x" * 5000))
case("zip")(lambda f: zipped(f))
case("zip with names that climb")(lambda f: zipped(f, **{"../../../tmp/evil": b"x", "/etc/passwd": b"y", "a\nb": b""}))
case("empty file", "NO_CT")(lambda f: (f / "a.dcm").write_bytes(b"") or f / "a.dcm")


@case("zip cut short", "TRUNCATED")
def _(folder):
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    data[300:900] = bytes(600)
    path.write_bytes(bytes(data))
    return path


@case("zip behind a password", "TRUNCATED")
def _(folder):
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    for mark, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flag] |= 1
            at = data.find(mark, at + 1)
    path.write_bytes(bytes(data))
    return path


@case("zip bomb", "TOO_LARGE")
def _(folder):
    archive = zipfile.ZipFile(folder / "b.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("a.dcm", "w", force_zip64=True) as member:
        for _ in range(FLOOD // 2**24):
            member.write(bytes(2**24))
    return folder / "b.zip"


@case("zip whose member lies about its size", "TRUNCATED")
def _(folder):
    with zipfile.ZipFile(folder / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + bytes(2**24))
    data = bytearray((folder / "b.zip").read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 4000)
    (folder / "b.zip").write_bytes(bytes(data))
    return folder / "b.zip"


@case("deflate bomb", "TOO_LARGE")
def _(folder):
    made.series(
        folder, count=1, change=lambda ds, n: setattr(ds.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian)
    )
    file = next(folder.iterdir())
    data = file.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    body = zlib.decompressobj(-15).decompress(data[start:])
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    with open(file, "wb") as out:
        out.write(data[:start] + packer.compress(body))
        for _ in range(FLOOD // 2**24):
            out.write(packer.compress(bytes(2**24)))
        out.write(packer.flush())


@case("run-length bomb", "TOO_LARGE")
def _(folder):
    def change(ds, n):
        ds.compress(RLELossless)
        ds.Rows = ds.Columns = 16000

    made.series(folder, count=3, change=change)


@case("beside a text about DICM")
def _(folder):
    made.series(folder)
    (folder / "dump.txt").write_bytes(b"preamble, and then b'DICM' follows".ljust(600))


@case("pipe in the folder")
def _(folder):
    made.series(folder)
    os.mkfifo(folder / "a.dcm")


@case("pipe itself", "UNREADABLE")
def _(folder):
    os.mkfifo(folder / "a.nii")
    return folder / "a.nii"


@case("links that go round")
def _(folder):
    made.series(folder / "in")
    (folder / "in" / "again").symlink_to(folder)
    (folder / "in" / "self").symlink_to("self")
    (folder / "in" / "root").symlink_to("/")


@case("link to itself", "NOT_FOUND")
def _(folder):
    (folder / "self").symlink_to("self")
    return folder / "self"


@case("slices that are links")
def _(folder):
    made.series(folder / "store")
    (folder / "in").mkdir()
    for n, file in enumerate(sorted((folder / "store").iterdir())):
        (folder / "in" / f"{n}").symlink_to(file)
    return folder / "in"


@case("names from hell")
def _(folder):
    made.series(folder)
    names = ["--series", "a\nb", "$(reboot)", "ÄÖ\u202e\U0001f4a9", " ", "%s%n", "'; --", "x" * 250]
    for name, file in zip(names, sorted(folder.iterdir())):
        file.rename(folder / name)
    os.rename(os.fsencode(folder / "%s%n"), os.fsencode(folder) + b"/\xff\xfe")


@case("UIDs from hell")
def _(folder):
    with quiet():
        made.series(folder, change=setting(SeriesInstanceUID="../../etc/passwd\n$(x)"))


case("no series UID")(lambda f: made.series(f, change=lambda ds, n: delattr(ds, "SeriesInstanceUID")))


@case("a DICOMDIR itself", "NO_CT")
def _(folder):
    made.series(folder, 1, change=setting(SOPClassUID=MediaStorageDirectoryStorage))
    return next(folder.iterdir()).rename(folder / "DICOMDIR")


@case("a header of a million elements", "TOO_LARGE")
def _(folder):
    made.series(folder, 1)
    file = next(folder.iterdir())
    data = file.read_bytes()
    at = data.find(struct.pack("<HH", 0x7FE0, 0x10))
    junk = b"".join(struct.pack("<HH2sH", 0x0029, n & 0xFFFF, b"LO", 0) for n in range(65536)) * 20
    file.write_bytes(data[:at] + junk + data[at:])


@case("sequences in sequences", "TRUNCATED")
def _(folder):
    made.series(folder, 1)
    file = next(folder.iterdir())
    data = file.read_bytes()
    at = data.find(struct.pack("<HH", 0x7FE0, 0x10))
    item = struct.pack("<HH2sHI", 0x0029, 0x1010, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    file.write_bytes(data[:at] + item * 20000)


@case("a value of 4 GiB that is not there", "TRUNCATED")
def _(folder):
    made.series(folder)
    file = max(folder.iterdir())
    data = file.read_bytes()
    at = data.find(struct.pack("<HH", 0x7FE0, 0x10))
    file.write_bytes(data[:at] + struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 0xFFFFFFF0) + data[at:])


@case("a crop of the shipped scan", field=False)
def _(folder):
    from endorender.ct import open_ct

    shipped = open_ct("sample")
    part = shipped.hu[20:84, 20:80, 10:30]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ shipped.affine
    axes = lps[:3, :3] / shipped.spacing
    uid = "1.2.3"
    for k in range(part.shape[2]):
        ds = made.dataset(part[:, :, k].T.astype(float), uid)
        ds.ImagePositionPatient = [f"{x:.8g}" for x in (lps @ [20, 20, 10 + k, 1])[:3]]
        ds.ImageOrientationPatient = [f"{x:.8g}" for x in (*axes[:, 0], *axes[:, 1])]
        ds.PixelSpacing = [f"{shipped.spacing[1]:.8g}", f"{shipped.spacing[0]:.8g}"]
        ds.save_as(folder / f"{k}", enforce_file_format=True)
    assert dcmread(folder / "0").Rows == 60
