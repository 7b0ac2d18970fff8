"""Whole frames or none, one writer, and the same bytes however often the work was broken off."""

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import open_dataset
from endorender.dataset.frame import read_manifest
from endorender.dataset.writer import LOCK, Writer, dumps
from endorender.errors import UserError
from endorender.generator import engine
from endorender.outputs import held
from endorender.scene.surface import Coat, coats
from tests.dataset.made import H, W, configuration, contents, make
from tests.registering import registered

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "data")


def refusal(code, *args, **kwargs):
    with pytest.raises(UserError) as error:
        make(*args, **kwargs)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    return str(error.value)


def test_layout(whole):
    names = set(contents(whole))
    frames = {f"p{p:03d}/{v:04d}/{n}" for p in (1, 2, 3) for v in range(4) for n in ("synthetic.exr", "deep_red.png")}
    tops = {"dataset.json", "manifest.jsonl", "README.md", "contact_sheet.png", "index.html", "SHA256SUMS"}
    splits = {f"splits/{s}.txt" for s in ("train", "val", "test")}
    assert frames | tops | splits | {"p003/0003/geometry.exr", "p002/contact_sheet.png"} <= names
    assert len(names) == 3 * 4 * (1 + 2 * 5) + len(tops) + 3 + 3
    info = json.loads((whole / "dataset.json").read_text())
    assert info["frames"] == 60
    assert info["schema"] == 1


def test_open_dataset(whole):
    data = open_dataset(whole)
    assert data.complete
    assert [data.split(s) for s in ("train", "val", "test")] == [["p001"], ["p002"], ["p003"]]
    for split in ("train", "val", "test"):
        assert (whole / "splits" / f"{split}.txt").read_text().split() == data.split(split)
        assert {f.patient for f in data.select(split=split)} == set(data.split(split))
    assert len(data.select(variations=["deep_red"], patients=["p001", "p002"])) == 8
    frame = data.select(split="test", variations=["pale_pink"])[2]
    assert frame.id == "p003/0002/pale_pink"
    assert frame.image().shape == (H, W, 3)
    assert (frame.image() == 90).all()
    geometry = frame.geometry()
    assert geometry["mask"].dtype == bool
    assert not geometry["mask"][0, 0]
    assert np.isnan(geometry["z_depth"][0, 0])
    assert geometry["normal"].shape == (H, W, 3)
    assert frame.radiance().dtype == np.float32
    with pytest.raises(UserError, match="train, val, test"):
        data.split("all")


def test_contact_sheet_has_a_row_per_view_and_a_column_per_variation(whole):
    with Image.open(whole / "contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[0] > 12 * H
    assert pixels.shape[1] > 6 * W
    # The grey of each variation's picture, found down the middle of each column as often as there are views.
    for name in open_dataset(whole).info["variations"]:
        grey = len(name) * 10
        columns = (pixels == grey).all(-1).sum(0)
        assert (columns >= 12 * H).sum() >= W, name


def test_index_shows_every_frame_and_loads_nothing_from_elsewhere(whole):
    page = (whole / "index.html").read_text()
    for frame in open_dataset(whole).frames:
        assert f'src="{frame.files["image"].path}"' in page
    assert "http" not in page.replace("http-equiv", "")
    card = (whole / "README.md").read_text()
    assert card.startswith("---\n")
    assert "60 pictures of 32x24 pixels" in card


def test_killed_again_and_again_it_ends_with_the_same_bytes(whole, tmp_path):
    rng, root, manifest = random.Random(4), tmp_path / "data", tmp_path / "data" / "manifest.jsonl"
    for _ in range(4):
        # Killed a moment after some rows more were written, not at a set time: machines differ in speed.
        grown = len(read_manifest(root)) + rng.randint(2, 12)
        worker = subprocess.Popen([sys.executable, "-m", "tests.dataset.made", str(root), "0.01"], cwd=REPOSITORY)
        while not manifest.exists() or manifest.read_text().count("\n") < grown:
            assert worker.poll() is None
        time.sleep(rng.uniform(0, 0.03))
        worker.kill()
        worker.wait()
        for frame in open_dataset(root).frames:  # what is in the manifest is whole
            assert frame.image().shape == (H, W, 3)
    assert len(read_manifest(root)) < 60
    make(root, resume=True)
    assert contents(root) == contents(whole)


def test_a_torn_row_and_a_damaged_file_are_made_again(whole, tmp_path):
    root = make(tmp_path / "data")
    (root / "p001/0001/deep_red.png").write_bytes(b"half")
    (root / "p002/0000/geometry.exr").unlink()
    manifest = root / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-30])
    assert len(read_manifest(root)) == 59
    (root / "p001/.tmp-left.png").write_bytes(b"over")
    make(root, resume=True)
    assert contents(root) == contents(whole)


def test_finished_work_is_not_done_again(whole):
    frames = [name for name in contents(whole) if name.startswith("p0") and "sheet" not in name]
    before = {name: (whole / name).stat().st_mtime_ns for name in frames}
    make(whole, resume=True)
    assert before == {name: (whole / name).stat().st_mtime_ns for name in before}


def test_without_resume_nothing_is_touched(whole):
    before = contents(whole)
    assert "--resume" in refusal("EXISTS", whole)
    assert contents(whole) == before


def test_a_changed_configuration_is_refused_with_the_difference(whole):
    before = contents(whole)
    told = refusal("CONFIGURATION_CHANGED", whole, resume=True, config=configuration(views=5, seed=3))
    assert "views: 4 -> 5" in told
    assert "seed: 0 -> 3" in told
    assert "fingerprint" not in told
    assert contents(whole) == before


def begun_on(root, engine):
    """Change what dataset.json says of the engine; None: it says nothing."""
    info = json.loads((root / "dataset.json").read_text())
    info["generator"] |= {"engine": engine}
    if engine is None:
        del info["generator"]["engine"]
    (root / "dataset.json").write_text(dumps(info))


def test_another_engine_is_refused_and_nothing_is_touched(tmp_path):
    root = make(tmp_path / "data")
    begun_on(root, {"name": "taichi", "version": "1.6.0"})
    before = contents(root)
    told = refusal("ENGINE_CHANGED", root, resume=True)
    assert "taichi 1.6.0, and this is {name} {version}:".format(**engine()) in told
    assert contents(root) == before


def test_a_dataset_that_names_no_engine_goes_on(tmp_path):
    root = make(tmp_path / "data")
    begun_on(root, None)
    before = contents(root)
    (root / "p001/0001/deep_red.png").unlink()
    make(root, resume=True)
    after = contents(root)
    assert set(after) == set(before)
    unlike = {name for name in after if after[name] != before[name]}
    assert unlike == {"README.md", "index.html", "SHA256SUMS"}, "which tell the engine no more"
    assert b"taichi" not in after["README.md"]
    assert b" on taichi 1" in before["README.md"] or b" on quadrants 1" in before["README.md"]


@pytest.mark.parametrize("forged", [5, [], {"engine": 5}, {"engine": {"name": ["a"]}}])
def test_a_forged_generator_is_told(tmp_path, forged):
    root = make(tmp_path / "data")
    info = json.loads((root / "dataset.json").read_text()) | {"generator": forged}
    (root / "dataset.json").write_text(json.dumps(info))
    refusal("DATASET_DAMAGED", root, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_foreign_folder_is_refused(tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("mine")
    told = refusal("FOREIGN_FOLDER", tmp_path, resume=resume)
    assert "holds 1 other files" in told
    assert "thesis" not in told  # nor would a scan be named
    assert contents(tmp_path) == {"thesis.tex": b"mine"}
    refusal("FOREIGN_FOLDER", tmp_path / "thesis.tex", resume=resume)


def test_a_dataset_of_another_schema_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text('{"schema": 99}')
    refusal("SCHEMA", tmp_path, resume=True)
    with pytest.raises(UserError) as error:
        open_dataset(tmp_path / "none")
    assert error.value.code == "NOT_A_DATASET"


def test_a_mistake_before_the_first_frame_leaves_nothing(tmp_path):
    writer = Writer(tmp_path / "data", {"schema": 1}, ["p001/0000/synthetic"])
    with contextlib.suppress(UserError), writer.open(resume=False):
        assert (tmp_path / "data").is_dir()
        raise UserError("no such CT")
    assert not (tmp_path / "data").exists()


def test_a_full_disk_is_said_in_one_line_and_costs_no_finished_frame(whole, tmp_path):
    root, soft_hard = tmp_path / "data", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, soft_hard[1]))  # the manifest will not fit
    try:
        assert "--resume" in refusal("DISK_FULL", root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft_hard)
    assert 0 < len(open_dataset(root).frames) < 60
    make(root, resume=True)
    assert contents(root) == contents(whole)


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal("NOT_WRITABLE", tmp_path / "file" / "data")


def test_a_second_writer_is_refused_and_a_dead_one_is_not(tmp_path):
    root = tmp_path / "data"
    worker = subprocess.Popen([sys.executable, "-m", "tests.dataset.made", str(root), "0.5"], cwd=REPOSITORY)
    try:
        while not (root / "manifest.jsonl").exists():
            time.sleep(0.02)
            assert worker.poll() is None
        assert "another process" in refusal("LOCKED", root, resume=True)
    finally:
        worker.kill()
        worker.wait()
    with held(root / LOCK):
        pass
    assert not (root / ".lock").exists()


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOLCK, UserError), (errno.EOPNOTSUPP, UserError), (errno.EIO, OSError)]
)
def test_a_disk_without_locks_is_told_of(tmp_path, monkeypatch, code, error):
    def flock(fd, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(error, match=r"locks|error"), held(tmp_path / LOCK):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_goes_while_it_is_looked_at_is_taken_anew(tmp_path, monkeypatch):
    """The last holder removes the file after it was opened here."""
    real, gone = fcntl.flock, []

    def flock(fd, how):
        if not gone:
            gone.append((tmp_path / LOCK).unlink())
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(tmp_path / LOCK):
        assert (tmp_path / LOCK).exists()


def test_a_manifest_cannot_point_outside(whole, tmp_path):
    row = (whole / "manifest.jsonl").read_text().splitlines()[0]
    shutil.copy(whole / "dataset.json", tmp_path)
    (tmp_path / "manifest.jsonl").write_text(row.replace("p001/0000/synthetic.png", "../../etc/passwd") + "\n")
    with pytest.raises(UserError, match="relative path"):
        open_dataset(tmp_path)


def test_another_coat_is_another_configuration_and_not_a_later_version(tmp_path):
    """A dataset tells its coat only where it is not the first."""
    make(tmp_path / "data", config=configuration(views=1))
    words = 'another configuration (coat.type: "wet_ggx" -> "dull")'
    with registered(coats, "dull", Coat), pytest.raises(UserError, match=re.escape(words)):
        make(tmp_path / "data", resume=True, config=configuration(views=1, coat="dull"))
