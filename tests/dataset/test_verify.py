"""verify finds what is wrong, wherever it is, and nothing where nothing is."""

import hashlib
import json
import random
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.dataset import exr, open_dataset
from endorender.dataset.frame import Frame
from endorender.dataset.layouts import export
from endorender.dataset.negative import write_png
from endorender.dataset.verify import verify
from endorender.dataset.writer import row
from endorender.errors import UserError
from tests.dataset.made import contents
from tests.dataset.sphere import make

GEOMETRY = "p001/0001/geometry.exr"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "data", patients=2, views=2)


@pytest.fixture
def data(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def codes(root):
    return sorted({(f.code, f.where) for f in verify(root)})


def test_a_sound_dataset_has_no_fault(whole):
    assert verify(whole) == []
    done = CliRunner().invoke(main, ["verify", str(whole)])
    assert (done.exit_code, done.stdout) == (0, "no fault found\n")
    done = CliRunner().invoke(main, ["verify", "--json", str(whole)])
    assert json.loads(done.stdout) == {"ok": True, "findings": []}


def test_every_flipped_bit_is_found(data):
    """In every file that the manifest hashes, at places of all kinds: first, last, in between."""
    rng = random.Random(2)
    names = sorted({f.path for frame in open_dataset(data).frames for f in frame.files.values()})
    assert len(names) == 2 * 2 * (1 + 2 * 2)
    for name in names:
        raw = (data / name).read_bytes()
        at = rng.choice([0, len(raw) - 1, rng.randrange(len(raw))])
        (data / name).write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :])
    names += ["README.md", "contact_sheet.png", "index.html", "splits/val.txt", "SHA256SUMS"]
    for name in names[-5:]:
        raw = (data / name).read_bytes()
        at = rng.randrange(len(raw)) if raw else 0
        (data / name).write_bytes(raw[:at] + b"\x80" + raw[at + 1 :])
    found = {where for code, where in codes(data) if code in ("CHANGED", "DAMAGED")}
    assert set(names) - {"SHA256SUMS"} <= found


@pytest.mark.parametrize("name", ["manifest.jsonl", "dataset.json", "SHA256SUMS"])
def test_every_flipped_bit_of_what_guards_the_rest_is_found(data, name):
    """Anywhere in it: a digit of a pose is as good a row as before, but another one."""
    raw, rng, told = (data / name).read_bytes(), random.Random(3), set()
    for _ in range(25):
        at = rng.randrange(len(raw))
        (data / name).write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :])
        try:
            assert verify(data)
        except UserError as error:
            told.add((name, error.code))
    assert told <= {("dataset.json", "SCHEMA"), ("dataset.json", "DATASET_DAMAGED")}


def test_missing_and_foreign_files_and_rows_are_found(data):
    (data / "p001/0000/red.png").unlink()
    (data / "p002/0001/geometry.exr").unlink()
    (data / "p001/0000/notes.txt").write_text("mine")
    (data / "p002/0000/.tmp-red.exr").write_text("half")
    (data / "link").symlink_to("/etc/hostname")
    (data / "index.html").unlink()
    (data / "splits/test.txt").write_text("p009\n")
    lines = (data / "manifest.jsonl").read_text().splitlines(keepends=True)
    (data / "manifest.jsonl").write_text("".join(lines[1:]))
    assert codes(data) == [
        ("CHANGED", "manifest.jsonl"),
        ("CHANGED", "splits/test.txt"),
        ("FOREIGN", "link"),
        ("FOREIGN", "p001/0000/notes.txt"),
        ("FOREIGN", "p001/0000/plain.exr"),
        ("FOREIGN", "p001/0000/plain.png"),
        ("MISSING", "index.html"),
        ("MISSING", "p001/0000/plain"),
        ("MISSING", "p001/0000/red.png"),
        ("MISSING", "p002/0001/geometry.exr"),
        ("TEMPORARY", "p002/0000/.tmp-red.exr"),
    ]
    done = CliRunner().invoke(main, ["verify", str(data)])
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 12  # the list of test patients is told twice


def test_pages_rows_and_failures(data):
    (data / "README.md").unlink()
    assert codes(data) == [("MISSING", "README.md")]
    (data / "manifest.jsonl").write_text((data / "manifest.jsonl").read_text()[:-9])
    assert ("DAMAGED", "manifest.jsonl") in codes(data)
    (data / "manifest.jsonl").write_text("{}\n")
    assert codes(data) == [("DAMAGED", "manifest.jsonl")]
    with pytest.raises(UserError, match=r"no dataset\.json"):
        verify(data / "p001")


def test_failed_frames_are_told(data):
    lines = (data / "manifest.jsonl").read_text().splitlines(keepends=True)
    (data / "manifest.jsonl").write_text("".join(lines[:-1]))
    (data / "failed.jsonl").write_text(json.dumps({"id": "p002/0001/red", "seed": 1, "error": "no wall"}) + "\n")
    assert ("FAILED", "p002/0001/red") in codes(data)
    assert ("MISSING", "p002/0001/red") not in codes(data)


def test_frames_of_two_engines_are_found(data):
    """Of dataset.json and rows; what says nothing is no engine of its own."""
    lines = [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]
    info = json.loads((data / "dataset.json").read_text())

    def found(*engines):
        for line, engine in zip(lines, engines):
            line["engine"] = engine
        (data / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (data / "dataset.json").write_text(json.dumps(info))
        return ("ENGINE", "manifest.jsonl") in codes(data)

    assert not found()
    assert found("abacus 1.0")
    del info["generator"]["engine"]
    assert not found("abacus 1.0")
    assert found("abacus 1.0", "abacus 1.1")


def test_a_changed_configuration_is_found(data):
    info = json.loads((data / "dataset.json").read_text())
    info["configuration"]["spp"] = 4096
    (data / "dataset.json").write_text(json.dumps(info))
    assert codes(data) == [("CHANGED", "dataset.json")]


def forged(root, name, change):
    """Change the channels of a file and hash it anew, as a faulty program would have written it."""
    channels, header = exr.read(root / name)
    change(channels)
    exr.write(root / name, channels, {k: v for k, v in header.items() if isinstance(v, (str, int))})
    rehashed(root, name)


def rehashed(root, name):
    """Have the manifest name the bytes that a file has now."""
    digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
    frames = open_dataset(root).frames
    for i, frame in enumerate(frames):
        files = {k: f.model_copy(update={"sha256": digest}) if f.path == name else f for k, f in frame.files.items()}
        frames[i] = frame.model_copy(update={"files": files})
    (root / "manifest.jsonl").write_text("".join(map(row, frames)))
    (root / "SHA256SUMS").unlink(missing_ok=True)


def put(channel, value):
    def change(channels):
        channels[channel][5, 7] = value

    return change


def scaled(channel, factor):
    def change(channels):
        channels[channel] = channels[channel] * np.asarray(factor, channels[channel].dtype)

    return change


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        (GEOMETRY, put("Z", np.nan), "MASK"),
        (GEOMETRY, put("mask.V", 0), "MASK"),
        (GEOMETRY, put("normal.Y", np.nan), "MASK"),
        (GEOMETRY, put("Z", 3.0), "DEPTH"),
        (GEOMETRY, put("distance.V", -4.0), "DEPTH"),
        (GEOMETRY, lambda c: [scaled(n, 1000)(c) for n in ("Z", "distance.V")], "DEPTH"),
        (GEOMETRY, scaled("Z", 1.001), "DEPTH"),
        (GEOMETRY, scaled("normal.Z", 1.01), "NORMAL"),
        (GEOMETRY, lambda c: [scaled(f"normal.{a}", -1)(c) for a in "XYZ"], "NORMAL"),
        (GEOMETRY, lambda c: [c.update({k: v[:-1]}) for k, v in list(c.items())], "SIZE"),
        (GEOMETRY, lambda c: c.pop("normal.X"), "DAMAGED"),
        ("p001/0001/red.exr", put("G", np.inf), "VALUES"),
        ("p001/0001/red.exr", put("B", -0.5), "VALUES"),
        ("p001/0001/red.exr", lambda c: [scaled(n, 0)(c) for n in "RGB"], "VALUES"),
        ("p001/0001/red.exr", lambda c: c["R"].__setitem__(slice(0, 2), 65504), "VALUES"),
        ("p001/0001/red.exr", lambda c: [c[n].__setitem__(slice(2, None), 0) for n in "RGB"], "VALUES"),
    ],
)
def test_implausible_values_are_found_although_the_hash_is_right(data, name, change, code):
    forged(data, name, change)
    assert (code, name) in codes(data)
    assert {where for _, where in codes(data)} == {name, "SHA256SUMS"}


@pytest.mark.parametrize(("value", "what"), [(0, "black"), (255, "white")])
def test_pictures_of_which_nothing_is_left_are_found(data, value, what):
    """As by an exposure that does not fit the light: beyond nine pixels in ten."""
    name = "p001/0001/red.png"
    shown = np.full((24, 32, 3), value, np.uint8)
    for rows, found in ((3, False), (2, True)):
        shown[:rows] = 90
        shown[rows:] = value
        write_png(data / name, shown)
        rehashed(data, name)
        said = [str(f) for f in verify(data) if f.where == name]
        assert said == ([f"VALUES {name}: 704 of 768 pixels are {what}: another exposure would show more"] * found)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"world_from_camera": (np.diag([1.0, 1, -1, 1])).tolist()}, "POSE"),
        ({"world_from_camera": (np.diag([2.0, 2, 2, 1])).tolist()}, "POSE"),
        ({"world_from_camera": np.eye(4)[[0, 1, 3, 2]].tolist()}, "POSE"),
        ({"K": [[20.0, 0, 900], [0, 20, 10], [0, 0, 1]]}, "INTRINSICS"),
        ({"K": [[20.0, 0, 15.5], [0, 20, 11.5], [0, 0, 1]]}, "INTRINSICS"),
        ({"camera": {"type": "pinhole", "width": 64, "height": 48}}, "SIZE"),
        ({"camera": {"type": "pinhole", "fov": 400}}, "INTRINSICS"),
        ({"id": "p001/0009/red"}, "FOREIGN"),
    ],
)
def test_implausible_rows_are_found(data, changes, code):
    frames = open_dataset(data).frames
    frames[3] = Frame.model_validate({**frames[3].model_dump(), **changes})
    (data / "manifest.jsonl").write_text("".join(map(row, frames)))
    (data / "SHA256SUMS").unlink()
    assert code in {c for c, _ in codes(data)}


def test_nothing_is_changed_by_looking(data):
    before = contents(data)
    verify(data)
    assert contents(data) == before


HOSTILE = ("../../../x", "/etc", "a/b", "..", "<script>alert(1)</script>", "=1+1", "a b", "", "a\n")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_not_read(data, name):
    for key in ("patient", "variation", "id"):
        rows = (data / "manifest.jsonl").read_text().splitlines(keepends=True)
        row = json.loads(rows[0])
        row[key] = f"{name}/0000/plain" if key == "id" else name
        (data / "manifest.jsonl").write_text(json.dumps(row) + "\n" + "".join(rows[1:]))
        with pytest.raises(UserError, match="line 1"):
            open_dataset(data)
        with pytest.raises(UserError, match="line 1"):
            export(data, "simcol3d", data.parent / "out")
        assert [f.code for f in verify(data)] == ["DAMAGED"]
        (data / "manifest.jsonl").write_text("".join(rows))
    info = json.loads((data / "dataset.json").read_text())
    for key in ("patients", "variations", "splits"):
        other = {**info["splits"], "train": [name]} if key == "splits" else [name, *info[key][1:]]
        (data / "dataset.json").write_text(json.dumps({**info, key: other}))
        with pytest.raises(UserError, match=r"dataset\.json cannot be read"):
            open_dataset(data)
        assert ("DAMAGED", "dataset.json") in {(f.code, f.where) for f in verify(data)}
    assert sorted(p.name for p in data.parent.iterdir()) == [data.name]


def test_a_file_that_is_a_link_is_found(data):
    image, folder = data / "p001/0000/plain.png", data / "p002/0001"
    copy = data.parent / "elsewhere.png"
    image.rename(copy)
    image.symlink_to(copy)
    folder.rename(data.parent / "folder")
    folder.symlink_to(data.parent / "folder")
    found = {(f.code, f.where) for f in verify(data) if f.code == "LINK"}
    assert ("LINK", "p001/0000/plain.png") in found
    assert ("LINK", "p002/0001/geometry.exr") in found
