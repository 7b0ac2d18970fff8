"""Compressed pixels are decoded by a process that may die; what it does and does not take with it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydicom.pixels.decoders.base import Decoder

from endorender.ct import CTError, load
from endorender.ct.dicom import decoder
from endorender.ct.dicom.stored import THREADS
from tests.ct import made
from tests.ct.corpus_dicom import stored


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "in"
    made.series(folder)
    truth = load(folder).hu
    made.squeeze(folder, "JPEGLosslessProcess14_1")
    return folder, truth


def child_that(tmp_path, does: str):
    """A decoder that does something else once it has been asked."""
    script = tmp_path / "child.py"
    script.write_text(f"import os, sys, time\nsys.stdin.buffer.read1(9000)\n{does}\n")
    return script


@pytest.mark.parametrize("does", ["os.abort()", "os._exit(0)", "os.write(1, b'\\5\\0\\0\\0[]')", "1 / 0"])
def test_a_child_that_dies_is_a_damaged_slice(packed, tmp_path, monkeypatch, does, capfd):
    folder, truth = packed
    monkeypatch.setattr(decoder, "CHILD", child_that(tmp_path, does))
    with pytest.raises(CTError, match=r"a slice \(file \d+ in the order of names\) is damaged") as caught:
        load(folder)
    assert caught.value.code == "TRUNCATED"
    assert capfd.readouterr() == ("", "")
    monkeypatch.undo()
    assert np.array_equal(load(folder).hu, truth)  # and the next series gets a child of its own


def test_children_serve_all_who_keep_them(packed):
    folder, truth = packed
    with decoder.kept():
        assert np.array_equal(load(folder).hu, truth)
        children = set(decoder._idle)
        assert 1 <= len(children) <= THREADS
        assert np.array_equal(load(folder).hu, truth)
        assert len(children | set(decoder._idle)) <= THREADS
        children |= set(decoder._idle)
    assert decoder._idle == []
    assert {c._process.poll() for c in children} == {0}


def test_the_extra_is_named_where_the_decoder_is_missing(packed, monkeypatch):
    monkeypatch.setattr(Decoder, "is_available", False)
    with pytest.raises(CTError, match=r"JPEG Lossless.* needs a decoder: pip install 'endorender\[dicom\]'") as caught:
        load(packed[0])
    assert caught.value.code == "MISSING_DECODER"


def test_without_main_guard_in_a_folder_of_foreign_names(packed, tmp_path):
    """As `python -c` and a prompt run it; what lies in the current folder is not imported by the child."""
    folder, _ = packed
    for name in ("numpy", "pydicom", "json", "gdcm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign')")
    code = """
import os, sys
from endorender.ct import load
print(load(sys.argv[1]).shape)
print(sorted({"taichi", "torch"} & set(sys.modules)))
"""
    safe = "import sys; sys.path = [p for p in sys.path if p]\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", safe + code, folder], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("(24, 20, 8)\n[]\n", "")


@pytest.mark.parametrize(
    ("does", "limit", "code"),
    [
        ("any(iter(int, 1))", ("= 6.0,", "= 0.1,"), "TRUNCATED"),
        ("time.sleep(99)", ("WALL = 30.0", "WALL = 1.0"), "TRUNCATED"),
        ("bytes(2**30)", ("", ""), "TOO_LARGE"),
    ],
)
def test_the_child_has_little_time_and_memory(packed, tmp_path, monkeypatch, does, limit, code):
    """What a codec could do on a hostile stream, put in the codec's place."""
    folder, _ = packed
    source = decoder.CHILD.read_text()
    script = tmp_path / "tight.py"
    for before, after in (limit, ("array, _ = get_decoder", f"import time; {does}; array, _ = get_decoder")):
        assert before in source
        source = source.replace(before, after, 1) if before else source
    script.write_text(source)
    monkeypatch.setattr(decoder, "CHILD", script)
    with pytest.raises(CTError) as caught:
        load(folder)
    assert caught.value.code == code


def test_pillow_is_no_decoder_for_12_bits(tmp_path, monkeypatch):
    made.series(tmp_path / "in", change=lambda ds, n: made.pixels(ds, stored(ds), bits=12))
    made.squeeze(tmp_path / "in", "JPEGExtendedProcess2_4")
    assert load(tmp_path / "in").shape == (24, 20, 8)
    monkeypatch.setattr("endorender.ct.dicom.stored.find_spec", lambda name: None)
    with pytest.raises(CTError, match=r"JPEG Extended.* needs a decoder: pip install 'endorender\[dicom\]'"):
        load(tmp_path / "in")
