"""Hostile files: no traceback, no crash, no wrong volume, within 10 s and 1 GiB; bombs within 512 MiB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from endorender.ct import CTError, load
from endorender.ct.dicom.decoder import kept
from endorender.ct.files import quiet
from tests.ct import corpus_files, made
from tests.ct.corpus import cases

GIB = 2**30
WATCHED = """
import json, resource, sys, time
import pydicom.pixels, nibabel, scipy.ndimage  # the libraries' own weight is not the file's
from endorender.ct import CTError, load
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
before, start = peak(), time.process_time()
try:
    load(sys.argv[1]); code = "loads"
except CTError as error:
    code = error.code
child = resource.getrusage(resource.RUSAGE_CHILDREN)  # the decoder
seconds = time.process_time() - start + child.ru_utime + child.ru_stime
print(json.dumps({"code": code, "bytes": peak() - before + 1024 * child.ru_maxrss, "seconds": seconds}))
"""


def watched(path: Path) -> dict:
    """Loads in a process of its own: outcome, seconds of CPU, and the memory that loading added, the decoder's too.

    CPU, because what else the machine does meanwhile is not the file's fault; nothing in a reader waits.
    """
    done = subprocess.run([sys.executable, "-c", WATCHED, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


HOSTILE = [c for c in cases() if any(w in c.name for w in ("bomb", "sparse", "lies", "million", "4 GiB", "65535"))]


@pytest.mark.slow  # 10 processes and files of 1 GiB
@pytest.mark.parametrize("case", HOSTILE, ids=[c.name for c in HOSTILE])
def test_bombs_cost_little(case, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "FLOOD", GIB)
    cost = watched(case.make(tmp_path / "in"))
    print(case.name, cost)
    assert cost["code"] == case.outcome
    assert cost["seconds"] < 10
    assert cost["bytes"] < GIB // 2


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four wounds: bits, bytes, lengths, a hole, a doubled piece, a cut."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(out) - 8))
        kind = rng.integers(0, 7)
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            out[at] = int(rng.integers(0, 256))
        elif kind == 2:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            out[at:at] = out[at : at + int(rng.integers(1, 64))]
        elif kind == 5:
            out[at : at + 2] = bytes(rng.integers(0, 256, 2).tolist())
        elif rng.random() < 0.2:
            del out[at:]
        if len(out) < 16:
            break
    return bytes(out)


def seeds(folder: Path) -> dict[str, Path]:
    """Good scans of every road through the reader; small, so that a wound hits the header."""
    made.new_uid(0)  # the same bytes in every run, whatever ran before
    named = {c.name: c for c in cases()}
    wanted = ["axial", "deflated", "run lengths", "JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessProcess14_1"]
    wanted += ["big endian", "implicit VR", "enhanced", "legacy converted", "neither preamble nor meta"]
    wanted += ["NIfTI", "NIfTI, packed", "NIfTI-2", "zip"]
    made_of = {name: named[name].make(folder / str(n)) for n, name in enumerate(wanted)}
    for path in made_of.values():
        if path.is_dir():  # four slices are hit as well as eight, in half the time
            with quiet():
                height = {
                    f: float(dcmread(f, force=True).get("ImagePositionPatient", [0, 0, 0])[2]) for f in path.iterdir()
                }
            for file in sorted(height, key=height.__getitem__)[4:]:
                file.unlink()
    return made_of


def stated(file: Path) -> np.ndarray:
    """(4, 4) RAS mm that the header of a NIfTI, or of an enhanced file, gives, read by the libraries alone."""
    if file.name.endswith((".nii", ".nii.gz")):
        return nib.load(file).affine
    with quiet():
        ds = dcmread(file)
    frames = ds.PerFrameFunctionalGroupsSequence
    places = np.array([f.PlanePositionSequence[0].ImagePositionPatient for f in frames], float)
    shared = ds.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_cols = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    order = np.argsort(places @ np.cross(*axes))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * between_cols, axes[1] * between_rows
    affine[:3, 2] = (places[order[-1]] - places[order[0]]) / (len(places) - 1)
    affine[:3, 3] = places[order[0]]
    return np.diag([-1, -1, 1, 1]) @ affine


@kept()
def fuzz(folder: Path, count: int, seed: int) -> Counter:
    """Loads mutated scans; any exception but CTError is a fault. Counts refusals by code and volumes by what became of
    their grid. A grid that changes without a warning must be what the wounded header itself says, whole and in order:
    one valid number turned into another, as a NIfTI's origin, no reader can notice."""
    rng = np.random.default_rng(seed)
    outcomes: Counter = Counter()
    good = seeds(folder)
    truth = {name: load(path) for name, path in good.items()}
    for n in range(count):
        name = list(good)[n % len(good)]
        path = good[name]
        file = path if path.is_file() else sorted(path.iterdir())[int(rng.integers(0, len(list(path.iterdir()))))]
        kept = file.read_bytes()
        # Most wounds into the header; pixels have no structure that could be hit.
        head = kept[:1500] if name not in ("deflated", "zip", "NIfTI, packed") else kept
        file.write_bytes(mutated(head, rng) + kept[len(head) :])
        refusal = None
        try:
            volume = load(path)
        except CTError as error:
            refusal = error
        if refusal is not None:
            assert "\n" not in str(refusal)
            assert made.CANARY not in str(refusal)
            outcomes[refusal.code] += 1
        else:
            same = volume.shape == truth[name].shape and np.array_equal(volume.affine, truth[name].affine)
            told = "" if volume.warnings == truth[name].warnings else ", with a warning"
            outcomes["same grid" + told if same else "other grid" + told] += 1
            if not same and not told:
                assert np.allclose(stated(file), volume.affine, atol=1e-5), name
        file.write_bytes(kept)
    return outcomes


def test_mutations(tmp_path):
    outcomes = fuzz(tmp_path, 450, 0)
    assert sum(outcomes.values()) == 450
    assert outcomes["same grid"] > 20  # wounds in names and dates do no harm
    assert sum(n for code, n in outcomes.items() if code.isupper()) > 100
    assert outcomes["other grid"] <= 5


@pytest.mark.slow  # 10,000 loads: a minute of one core
def test_ten_thousand_mutations(tmp_path):
    outcomes = fuzz(tmp_path, 10_000, 1)
    print(dict(outcomes.most_common()))
    assert sum(outcomes.values()) == 10_000
    assert outcomes["other grid"] <= 50
