"""A folder with one folder or file per patient, and what is none."""

import shutil
from pathlib import Path

import pytest

from endorender.ct import load
from endorender.dataset import configure
from endorender.dataset.cohort import apart
from endorender.errors import Notice
from tests.ct.made import series
from tests.dataset.refusals import refusal
from tests.dataset.tubes import tube


def patient(folder, study="", person="", modality="CT", **more):
    """A series of four slices."""

    def change(dataset, n):
        dataset.StudyInstanceUID, dataset.PatientID, dataset.Modality = study, person, modality

    series(folder, 4, change=change, **more)
    return folder


def names(root):
    return [str(Path(path).relative_to(root)) for path in apart(str(root))]


def test_a_folder_of_each_patient(tmp_path):
    for number, name in enumerate(("MUELLER", "SCHMIDT", "ABEL"), 1):
        patient(tmp_path / name / "exam" / "ct", study=f"1.2.{number}", person=name)
        patient(tmp_path / name / "exam" / "mr", study=f"1.2.{number}", person=name, modality="MR")
    (tmp_path / "list.txt").write_text("three patients")
    assert names(tmp_path) == ["ABEL", "MUELLER", "SCHMIDT"]
    config = configure(ct=[str(tmp_path), "phantom:1"])
    assert [(p.alias, p.source) for p in config.ct] == [(f"p00{n}", "file") for n in (1, 2, 3)] + [
        ("p004", "phantom:1")
    ]
    assert config.splits == {"train": ("p001", "p002"), "val": ("p003",), "test": ("p004",)}
    assert "MUELLER" not in str(config.public())
    assert [Path(p.ct).name for p in configure(ct=str(tmp_path)).ct] == ["ABEL", "MUELLER", "SCHMIDT"]
    # Who asks for a series chooses it out of the whole folder, as ever.
    assert len(configure(ct=str(tmp_path), series="2").ct) == 1


def test_a_range_of_phantoms(tmp_path):
    config = configure(ct=["phantom:8..10", "sample"])
    assert [(p.alias, p.ct) for p in config.ct] == [
        ("p001", "phantom:8"), ("p002", "phantom:9"), ("p003", "phantom:10"), ("p004", "sample"),
    ]  # fmt: skip
    assert config.public()["ct"][2]["source"] == "phantom:10"
    (tmp_path / "c.yaml").write_text("ct: phantom:3..3\nviews: 2\n")
    assert [p.ct for p in configure(tmp_path / "c.yaml").ct] == ["phantom:3"]
    for bad in ("phantom:3..2", "phantom:1..20000", "phantom:1..999999999999999999"):
        assert "phantom:FIRST..LAST" in refusal("BAD_SPEC", configure, ct=bad)
    # What is no range is said when the CT is opened, as ever.
    assert configure(ct="phantom:1..").ct[0].source == "file"


def test_files_and_folders_of_files_are_patients(tmp_path):
    tube(tmp_path / "b.nii.gz")
    shutil.make_archive(str(tmp_path / "c"), "zip", patient(tmp_path / "x" / "slices", study="1.2"))
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "a").mkdir()
    tube(tmp_path / "a" / "scan.nii.gz")
    patient(tmp_path / "d", study="1.3")
    patient(tmp_path / "e", study="1.4")
    (tmp_path / "empty").mkdir()
    with pytest.warns(Notice, match="1 folders without a CT were passed over"):
        assert names(tmp_path) == ["a/scan.nii.gz", "b.nii.gz", "c.zip", "d", "e"]
    tube(tmp_path / "a" / "mask.nii.gz")
    assert "folder 1 in the order of names holds 2 files" in refusal("CTS_AMBIGUOUS", apart, str(tmp_path))


def test_what_was_one_ct_still_is(tmp_path):
    """Slices, and folders beside them; series of one study; one folder; one CT among studies; no identifiers."""
    patient(tmp_path / "slices", study="1.1")
    patient(tmp_path / "slices" / "more", study="1.2")
    for n in (1, 2):
        patient(tmp_path / "study" / f"series{n}", study="1.1", first=(-22, -18, 40.0 * n))
        patient(tmp_path / "nameless" / f"series{n}")
        patient(tmp_path / "mixed" / f"study{n}", study=f"1.{n}", modality="CT" if n == 1 else "MR")
    patient(tmp_path / "single" / "folder", study="1.1")
    (tmp_path / "nothing").mkdir()
    for name in ("slices", "study", "nameless", "mixed", "single", "single/folder", "nothing", "none"):
        assert apart(str(tmp_path / name)) == [str(tmp_path / name)], name
    assert apart("sample") == ["sample"]
    assert load(tmp_path / "mixed").hu.shape == load(tmp_path / "mixed" / "study1").hu.shape


def test_one_patient_in_two_folders_is_refused(tmp_path):
    """Who might be in training and test at once."""
    patient(tmp_path / "HANS_1", study="1.1", person="HANS")
    patient(tmp_path / "INGE", study="1.2", person="INGE")
    patient(tmp_path / "PAUL", study="1.3", person="HANS")
    told = refusal("CTS_AMBIGUOUS", apart, str(tmp_path))
    assert "folders 1 and 3 in the order of names hold CTs of one patient" in told
    assert "HANS" not in told
    patient(tmp_path / "PAUL", study="1.1", person="PAUL")
    assert "of one study" in refusal("CTS_AMBIGUOUS", configure, ct=str(tmp_path))
