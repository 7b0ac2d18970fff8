"""A finished dataset wounded in many ways: `verify` says so, and no command ends in a traceback."""

import contextlib
import copy
import functools
import hashlib
import io
import json
import os
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import configure, exr, open_dataset
from endorender.dataset.consistency import check_geometry
from endorender.dataset.fingerprint import fingerprint
from endorender.dataset.layouts import export
from endorender.dataset.verify import as_json, verify
from endorender.errors import UserError
from endorender.viewer.page import _dataset
from tests.dataset.sphere import make
from training.config import TrainConfig
from training.evaluate import evaluate
from training.report import report
from training.trainer import train

DEEP = json.loads("[" * 150 + "]" * 150)
VALUES = (
    None, True, 0, -1, 1.5, 10**12, 10**30, 1e300, float("inf"), float("nan"), "", "x", "../../x", "a\0b", "a\nb",
    "\ud800", "\x1b[31m", "<script>alert(1)</script>", "{alert(1)}", "=1+1", "x" * 5000, [], [[]], {},
    {"type": "pinhole"}, DEEP,
)  # fmt: skip
SMALL = TrainConfig(model={"type": "unet", "width": 8, "levels": 2}, steps=1, batch=2, workers=0, device="cpu")
TABLES = ("dataset.json", "manifest.jsonl")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A dataset, a run trained on it and an evaluation."""
    root = tmp_path_factory.mktemp("wounds")
    make(root / "data", patients=3, views=2, names=("plain", "red"))
    train(SMALL, root / "run", root / "data", say=lambda text: None)
    evaluate(root / "run", root / "data", root / "evaluation", ["metric"])
    return root


@pytest.fixture
def data(home, tmp_path):
    return shutil.copytree(home / "data", tmp_path / "data")


def restored(home, data):
    """The dataset whole again."""
    shutil.rmtree(data)
    shutil.copytree(home / "data", data)


def places(value, path=()):
    """Every place in nested JSON."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*path, key))


def replaced(whole, path, new):
    """With another value at a place, or, where `new` is `...`, without it."""
    if not path:
        return None if new is ... else new
    found = copy.deepcopy(whole)
    at = found
    for key in path[:-1]:
        at = at[key]
    if new is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return found


def wounds_of_values(home):
    """(file, place, new value) for all places and values; of the manifest one row is wounded."""
    info = json.loads((home / "data/dataset.json").read_text())
    row = json.loads((home / "data/manifest.jsonl").read_text().splitlines()[1])
    for file, whole in zip(TABLES, (info, row)):
        for path in places(whole):
            was = functools.reduce(lambda value, key: value[key], path, whole)
            yield from ((file, path, new) for new in (..., *VALUES) if new is ... or new != was)


def wounded_value(data, file, path, new, forged):
    """forged: as somebody would do it who also mends what guards it."""
    lines = (data / file).read_text().splitlines() if file == TABLES[1] else [(data / file).read_text()]
    which = len(lines) - 1 if len(lines) == 1 else 1
    value = replaced(json.loads(lines[which]), path, new)
    if forged:
        with contextlib.suppress(Exception):
            value["fingerprint"] = fingerprint(value["configuration"])
        (data / "SHA256SUMS").unlink(missing_ok=True)
    lines[which] = json.dumps(value)
    (data / file).write_text("\n".join(lines) + "\n")


def bomb(width=30_000, height=30_000):
    """A PNG that claims to be very large."""
    rows = zlib.compress(bytes(100))
    parts = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + rows, b"IEND")
    chunks = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def broken_chunks(whole):
    """A PNG whose parts are out of order and tell wrong lengths."""
    at = whole.index(b"IDAT") - 4
    return whole[:at] + struct.pack(">I", 2**31 - 1) + whole[at + 4 :]


def channels(folder, **changed):
    """Bytes of an EXR of these channels."""
    exr.write(folder / "x.exr", changed, {})
    return (folder / "x.exr").read_bytes()


def wounds_of_bytes(home, folder):
    """name -> what it makes of the bytes of a file."""
    png = io.BytesIO()
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(png, format="PNG")
    small = channels(folder, Z=np.zeros((3, 5), np.float32))
    square = channels(folder, **{n: np.full((24, 32), np.nan, np.float32) for n in ("Z", "distance.V", "mask.V")})
    no = {n: np.full((24, 32), np.nan, np.float32) for n in ("Z", "distance.V", "normal.X", "normal.Y", "normal.Z")}
    rng = random.Random(5)

    def flipped(whole):
        at = rng.randrange(max(1, len(whole)))
        return whole[:at] + bytes([(whole[at] if whole else 0) ^ (1 << rng.randrange(8))]) + whole[at + 1 :]

    return {
        "flipped": flipped,
        "flipped in its head": lambda whole: flipped(whole[:200]) + whole[200:],
        "cut": lambda whole: whole[: rng.randrange(max(1, len(whole)))],
        "empty": lambda whole: b"",
        "zeros": lambda whole: bytes(len(whole)),
        "longer": lambda whole: whole + b"\n\xff",
        "json": lambda whole: b"{}",
        "deep": lambda whole: b"[" * 100_000,
        "picture": lambda whole: png.getvalue(),
        "bomb": lambda whole: bomb(),
        "larger than told": lambda whole: bomb(8000, 8000),
        "broken chunks": lambda whole: broken_chunks(whole) if b"IDAT" in whole else whole[::-1],
        "small exr": lambda whole: small,
        "exr without normals": lambda whole: square,
        "exr that sees nothing": lambda whole: channels(
            folder, **no, **{"mask.V": np.zeros((24, 32), np.float32), **dict.fromkeys("RGB", no["Z"])}
        ),
        "endless exr": lambda whole: channels(folder, Z=np.zeros((1, 16385), np.float16)),
        "words": lambda whole: b"\xff\xfe\x00 no file\x1b[31m",
    }  # fmt: skip


def files_of(home):
    return sorted(str(p.relative_to(home / "data")) for p in (home / "data").rglob("*") if p.is_file())


def forged(data, name):
    """The manifest tells the new hash, as if a faulty program had written the file."""
    old = {f.path: f.sha256 for frame in open_dataset(data).frames for f in frame.files.values()}
    text = (data / "manifest.jsonl").read_text()
    if name in old:
        digest = hashlib.sha256((data / name).read_bytes()).hexdigest()
        (data / "manifest.jsonl").write_text(text.replace(old[name], digest))
    (data / "SHA256SUMS").unlink(missing_ok=True)


def told(data):
    """`verify` finds something, in lines that can be printed anywhere, or there is no dataset of ours any more."""
    try:
        found = verify(data)
    except UserError as error:
        assert error.code in ("NOT_A_DATASET", "SCHEMA")  # noqa: PT017 (it need not be raised)
        return
    assert found
    lines = [str(f) for f in found]
    assert all(line.isprintable() for line in lines)
    as_json(found).encode()


def survived(home, data, out):
    """Every other command that reads a dataset succeeds, or refuses in one line."""
    acts = {
        "look": lambda: _dataset(str(data), str(home / "evaluation"))._worker.stop(60),
        "check": lambda: check_geometry(open_dataset(data)),
        "evaluate": lambda: evaluate(home / "run", data, out / "evaluation", ["metric"]),
        "report": lambda: report([out / "evaluation"], out / "report"),
        "train": lambda: train(SMALL, out / "run", data, say=lambda text: None),
        "resume": lambda: configure(begun=data),
        **{f"export {name}": lambda name=name: export(data, name, out / name) for name in LAYOUTS},
    }
    for name, act in acts.items():
        try:
            act()
        except UserError as error:
            assert str(error).isprintable(), (name, str(error))  # noqa: PT017 (it need not be raised)
            assert error.code  # noqa: PT017
    shutil.rmtree(out)


LAYOUTS = ("simcol3d", "c3vd", "nerfstudio", "webdataset", "hdf5", "depth_anything", "pairs")


def wound_values(home, data, out, chosen, commands):
    for n, (file, path, new) in enumerate(chosen):
        wounded_value(data, file, path, new, forged=n % 2 == 1)
        try:
            told(data)
            if n < commands:
                out.mkdir(exist_ok=True)
                survived(home, data, out)
        except Exception as error:
            raise AssertionError(f"{file} {path} = {str(new)[:60]!r}, forged: {n % 2 == 1}") from error
        shutil.copy(home / "data" / file, data / file)
        shutil.copy(home / "data/SHA256SUMS", data / "SHA256SUMS")


def wound_bytes(home, data, out, chosen, commands):
    for n, (file, wound, act) in enumerate(chosen):
        whole = (data / file).read_bytes()
        (data / file).write_bytes(act(whole))
        changed = (data / file).read_bytes() != whole
        if n % 2 and file not in TABLES:
            forged(data, file)
        try:
            if changed:
                told(data)
            if n < commands:
                out.mkdir(exist_ok=True)
                survived(home, data, out)
        except Exception as error:
            raise AssertionError(f"{file} {wound}, forged: {n % 2 == 1}") from error
        for name in {file, "manifest.jsonl", "SHA256SUMS"}:
            shutil.copy(home / "data" / name, data / name)


def test_wounded_values_are_told_and_survived(home, data, tmp_path):
    chosen = random.Random(7).sample(list(wounds_of_values(home)), 80)
    wound_values(home, data, tmp_path / "out", chosen, commands=2)


def test_wounded_bytes_are_told_and_survived(home, data, tmp_path):
    every = [(file, *wound) for file in files_of(home) for wound in wounds_of_bytes(home, tmp_path).items()]
    wound_bytes(home, data, tmp_path / "out", random.Random(8).sample(every, 40), commands=2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_wounded_value_is_told(home, data, tmp_path, part):
    chosen = list(wounds_of_values(home))
    random.Random(0).shuffle(chosen)  # the same for every part: together they are all of them
    wound_values(home, data, tmp_path / "out", chosen[part::4], commands=60)


@pytest.mark.slow
def test_all_kinds_of_wounded_bytes_are_told(home, data, tmp_path):
    every = [(file, *wound) for file in files_of(home) for wound in wounds_of_bytes(home, tmp_path).items()]
    wound_bytes(home, data, tmp_path / "out", random.Random(9).sample(every, len(every)), commands=120)


def test_files_of_another_kind_are_told(home, data, tmp_path):
    """A folder, a pipe, a link in a circle, another frame's file, none at all."""
    for name in ("dataset.json", "manifest.jsonl", "SHA256SUMS", "index.html", "p001/0000/red.png",
                 "p001/0000/geometry.exr", "splits/train.txt", "failed.jsonl"):  # fmt: skip
        for wound in ("folder", "pipe", "circle", "gone", "another"):
            path = data / name
            path.unlink(missing_ok=True)
            if wound == "folder":
                path.mkdir()
            elif wound == "pipe":
                os.mkfifo(path)
            elif wound == "circle":
                path.symlink_to(path.name)
            elif wound == "another":
                shutil.copy(data / "p002/0001/red.exr", path)
            if (name, wound) != ("failed.jsonl", "gone"):
                told(data)
            restored(home, data)


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (("views",), 10**12),
        (("splits",), ...),
        (("splits",), {}),
        (("splits", "test"), ...),
        (("configuration", "ct"), ...),
        (("configuration", "ct", 0, "alias"), ...),
        (("configuration", "size"), "32"),
        (("configuration", "ct", 0, "poses"), {"views": 10**12}),
    ],
)
def test_a_damaged_dataset_json_is_a_finding(home, data, tmp_path, place, new):
    wounded_value(data, "dataset.json", place, new, forged=True)
    assert [(f.code, f.where) for f in verify(data)] == [("DAMAGED", "dataset.json")]
    for act in (open_dataset, lambda path: configure(begun=path)):
        with pytest.raises(UserError, match=r"dataset\.json cannot be read") as refusal:
            act(data)
        assert refusal.value.code == "DATASET_DAMAGED"


def test_very_many_missing_rows_are_not_listed_to_the_end(data):
    for place, new in (("views", 999_999), ("frames", 999_999 * 3 * 2)):
        wounded_value(data, "dataset.json", (place,), new, forged=True)
    found = [f for f in verify(data) if f.code == "MISSING" and f.where.startswith("p00")]
    assert len(found) == 10_001
    assert "not looked for" in found[-1].what


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (("world_from_camera", 1), [0.0, 1.0, 0.0]),
        (("world_from_camera", 0, 3), 1e200),
        (("K", 2), [0.0, 1.0]),
        (("K", 0, 0), 1e300),
        (("view",), 10**12),
        (("files",), {}),
        (("files", "image", "path"), "a\0b"),
        (("volume", "ct_sha256"), 7),
    ],
)
def test_a_damaged_row_is_a_finding_with_its_line(data, place, new):
    wounded_value(data, "manifest.jsonl", place, new, forged=False)
    (found,) = verify(data)
    assert (found.code, found.where) == ("DAMAGED", "manifest.jsonl")
    assert "line 2" in found.what
    with pytest.raises(UserError, match="line 2"):
        open_dataset(data)


def test_names_on_the_disk_that_are_no_text_are_printed(data):
    for name in (b"caf\xe9", b"two\nlines", b"\x1b[31mred"):
        Path(os.fsdecode(os.fsencode(data) + b"/" + name)).write_bytes(b"")
    lines = [str(f) for f in verify(data)]
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
