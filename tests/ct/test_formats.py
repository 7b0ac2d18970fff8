"""Formats beside DICOM and NIfTI: the missing extra, bounds, folders and zips with a choice, what is listed."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from endorender.ct import CTError, load, survey
from endorender.ct.files import single
from endorender.ct.formats.detect import FOREIGN, ending, kind
from endorender.dataset.cohort import apart
from tests.cli.test_main import run
from tests.ct import oracles
from tests.ct.corpus_formats import in_zip, meta, nrrd
from tests.ct.corpus_nifti import STRAIGHT, TURNED, image, save
from tests.ct.test_hostile import mutated


def test_missing_extra_says_the_line_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nrrd", None)
    with pytest.raises(CTError, match=r"pip install 'endorender\[formats\]'") as refusal:
        load(nrrd(tmp_path))
    assert refusal.value.code == "MISSING_DECODER"
    assert load(meta(tmp_path)).shape == (20, 18, 16)


@pytest.mark.parametrize("make", [meta, nrrd])
def test_sheared_axes_are_straightened_on_demand(tmp_path, make):
    leaning = STRAIGHT.copy()
    leaning[1, 2] = 0.5
    path = make(tmp_path, leaning)
    with pytest.raises(CTError) as refusal:
        load(path)
    assert refusal.value.code == "SHEARED"
    volume = load(path, resample=True)
    assert volume.meta["straightened_deg"] == pytest.approx(np.degrees(np.arctan(0.5 / 2.5)), abs=0.01)
    assert volume.meta["source"] in ("MetaImage", "NRRD")


@pytest.mark.parametrize("make", [meta, nrrd])
def test_what_a_header_claims_is_not_allocated(tmp_path, make):
    """A file of 300 bytes that claims a GiB: refused before memory is taken."""
    size = {"DimSize": "1000 1000 500"} if make is meta else {"sizes": "1000 1000 500"}
    path = make(tmp_path, data=bytes(100), **size)
    tracemalloc.start()
    with pytest.raises(CTError) as refusal:
        load(path)
    assert refusal.value.code == "TRUNCATED"
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_one_of_several_in_a_folder_or_zip(tmp_path):
    first, second = save(tmp_path, image(), "a.nii.gz"), nrrd(tmp_path, TURNED, name="b.nrrd")
    for path in (tmp_path, in_zip(tmp_path, first, second)):
        for number, affine in (("1", STRAIGHT), ("2", TURNED)):
            assert np.allclose(load(path, number).affine, affine, atol=1e-4)
        with pytest.raises(CTError) as refusal:
            load(path, "3")
        assert refusal.value.code == "NO_SERIES"
        rows = survey.survey(path)
        assert [row["series"] for row in rows] == [1, 2]
        assert all(row["facts"]["size"] == [20, 18, 16] for row in rows)
    result = run("inspect", tmp_path / "CANARY.zip")
    assert result.exit_code == 0
    assert "2 series; look into one with --series NUMBER" in result.output
    assert "CANARY" not in result.output


def test_a_folder_of_patients_may_hold_them(tmp_path):
    for n, make in enumerate((meta, nrrd)):
        (tmp_path / str(n)).mkdir()
        make(tmp_path / str(n))
    assert [p.rsplit(".")[-1] for p in apart(str(tmp_path))] == ["mha", "nrrd"]


def test_every_foreign_format_has_a_way_out(tmp_path):
    for what, (name, way_out) in FOREIGN.items():
        assert "DICOM" in way_out or "NIfTI" in way_out, what
        assert name
        assert ending(f"scan{what.upper()}") == what
        (tmp_path / f"scan{what}").write_bytes(b"\0" * 700)
        assert kind(single(tmp_path / f"scan{what}")) == what


@pytest.mark.parametrize("name", ["slice.img", "slice.raw", "slice.dat", "slice.txt", "slice.nii", "slice"])
def test_dicom_is_known_whatever_it_is_called(tmp_path, name):
    from tests.ct import made

    made.series(tmp_path / "in")
    for n, file in enumerate(sorted((tmp_path / "in").iterdir())):
        file.rename(tmp_path / "in" / f"{n}{name}")
    assert load(tmp_path / "in").shape == (24, 20, 8)
    with pytest.raises(CTError) as refusal:
        load(next((tmp_path / "in").iterdir()))
    assert refusal.value.code == "TOO_FEW_SLICES"


@pytest.mark.parametrize("make", [meta, nrrd])
def test_mutations_of_a_header(tmp_path, make):
    """One to four wounds: a refusal with a code, or the grid that the wounded header states, as SimpleITK reads it."""
    rng = np.random.default_rng(3)
    path = make(tmp_path, TURNED)
    whole = path.read_bytes()
    end = whole.find(b"LOCAL\n") if make is meta else whole.find(b"\n\n")
    true = load(path)
    outcomes: Counter = Counter()
    for _ in range(400):
        path.write_bytes(mutated(whole[:end], rng) + whole[end:])
        try:
            volume, refusal = load(path), None
        except CTError as error:
            volume, refusal = None, error
        if volume is None:
            assert "\n" not in str(refusal)
            assert "CANARY" not in str(refusal)
            outcomes[refusal.code] += 1
            continue
        same = volume.shape == true.shape and np.array_equal(volume.affine, true.affine)
        outcomes["same grid" if same else "other grid"] += 1
        if not same and not volume.warnings:
            theirs = oracles.read("SimpleITK", path)
            assert not theirs or np.allclose(theirs[0][1], volume.affine, atol=4e-3)
    assert outcomes["same grid"] > 20
    assert sum(n for code, n in outcomes.items() if code.isupper()) > 100
