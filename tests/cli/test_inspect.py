"""`endorender inspect` on series, lumens, masks, tagged fluid; no patient data in anything it prints or writes."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from endorender.ct import CTError, Volume, inspection, lumen, lumens, open_ct, survey
from tests.cli.test_main import mistake, run
from tests.ct import made
from tests.ct.test_cleanse import colon
from tests.ct.test_lumen import tube


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two tubes in one tissue, written as NIfTI; the second 40 x 40 x 80 mm to the side of the first, and narrower."""
    folder = tmp_path_factory.mktemp(made.CANARY)
    wide, narrow = tube(8.0), tube(5.0)
    hu = np.concatenate([wide.hu, narrow.hu])
    nib.save(nib.Nifti1Image(hu, wide.affine), folder / "two.nii.gz")
    mask = np.zeros(hu.shape, np.uint8)
    mask[40:] = 1
    nib.save(nib.Nifti1Image(mask, wide.affine), folder / "mask.nii.gz")
    wet = colon(-3.0)
    nib.save(nib.Nifti1Image(wet.hu, wet.affine), folder / "wet.nii.gz")
    return folder


def facts_of(*args):
    result = run("inspect", *args, "--json")
    assert result.exit_code == 0, result.output
    assert "CANARY" not in result.output.replace(str(args[0]), "")
    return json.loads(result.stdout)


def test_lumens_their_ways_and_the_gap_between_them(scans, tmp_path):
    facts = facts_of(scans / "two.nii.gz", "--scope", 11, "--preview", tmp_path / "p.png")
    one, two = facts["lumens"]
    assert one["volume_ml"] == pytest.approx(np.pi * 8**2 * 60 / 1000, rel=0.07)
    assert two["volume_ml"] == pytest.approx(np.pi * 5**2 * 60 / 1000, rel=0.15)
    assert one["scope_passes"]
    assert not two["scope_passes"]
    assert two["diameter_there_mm"] == pytest.approx(10, abs=1)
    assert facts["gaps"][0]["regions"] == [1, 2]
    assert facts["gaps"][0]["gap_mm"] == pytest.approx(40 - 8 - 5, abs=2.5)
    scope = facts["scope"]
    assert (scope["diameter_mm"], scope["scope_passes"], scope["ends_left_out_mm"]) == (11.0, True, 22.0)
    assert 22 <= scope["tightest_at_mm"] <= one["path_mm"] - 22
    assert scope["diameter_there_mm"] == pytest.approx(16, abs=1)
    # The narrowest place of all lies in an end, and is narrower than the scope that passes.
    assert not 22 <= one["narrowest_at_mm"] <= one["path_mm"] - 22
    assert 2 * one["narrowest_radius_mm"] < 11
    assert sum(facts["histogram"]["counts"]) == 80 * 40 * 80
    with Image.open(tmp_path / "p.png") as image:
        assert image.size == (1700, 520)
    text = run("inspect", scans / "two.nii.gz", "--scope", 11).output
    assert (
        f"the endoscope passes, {scope['diameter_there_mm']:g} mm free at {scope['tightest_at_mm']:g} mm, its" in text
    )
    assert "its first and last 22 mm left out" in text
    assert f"radius {one['narrowest_radius_mm']:g} (at {one['narrowest_at_mm']:g} mm) to" in text
    assert "collapsed there?" in text
    mistake("inspect", scans / "two.nii.gz", "--scope", 0)


def test_a_scope_is_written_as_for_render(scans):
    """A width or a name (`endorender list scope`), one reader for both commands."""
    for spec, wide in (("cf-hq190l", 13.2), ("own:diameter=3,rigid=5", 3.0), ("8", 8.0)):
        assert facts_of(scans / "two.nii.gz", "--scope", spec)["scope"]["diameter_mm"] == wide
    for spec in ("cf-hq190", "0", "nan", "own"):
        assert "scope" in mistake("inspect", scans / "two.nii.gz", "--scope", spec)


def test_mask_restricts_the_lumen(scans):
    facts = facts_of(scans / "two.nii.gz", "--label", scans / "mask.nii.gz")
    (row,) = facts["lumens"]
    assert row["volume_ml"] == pytest.approx(np.pi * 5**2 * 60 / 1000, rel=0.15)
    assert row["region"] == facts["region"] == 2  # as without the mask
    line = mistake("inspect", scans / "wet.nii.gz", "--label", scans / "mask.nii.gz")
    assert "does not lie on the grid" in line


def test_tagged_fluid_is_reported_and_cleansed(scans, tmp_path):
    wet = facts_of(scans / "wet.nii.gz")
    assert not wet["tagged_fluid"]["cleansed"]
    dry = facts_of(scans / "wet.nii.gz", "--cleanse", tmp_path / "c.png")
    assert dry["tagged_fluid"]["pools_ml"] == wet["tagged_fluid"]["pools_ml"]
    gained = dry["volume_ml"] - wet["volume_ml"]
    assert gained == pytest.approx(sum(wet["tagged_fluid"]["pools_ml"]), rel=0.12)
    assert (tmp_path / "c.png").exists()
    assert "--cleanse PNG takes it out" in run("inspect", scans / "wet.nii.gz").output


def test_every_series_of_a_study_is_listed(tmp_path):
    folder = tmp_path / made.CANARY
    made.series(folder / "a", change=lambda ds, n: setattr(ds, "SeriesNumber", 4))
    made.series(folder / "b", count=9, skip=(4,), axes=(1, 0, 0, 0, 0, -1), first=(-22, -10, 20))
    facts = facts_of(folder)
    gap, whole = facts["series"]
    assert gap["code"] == "MISSING_SLICE"
    assert whole["facts"]["size"] == [24, 20, 8]
    assert whole["facts"]["orientation"] == "axial LPS"
    assert whole["kernel"] == "B30f"
    text = run("inspect", folder).output
    assert "2 series" in text
    assert "1) 8 slices 24 x 20: MISSING_SLICE" in text
    assert "no lumen" in run("inspect", folder, "--series", 2).output


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        (np.eye(3), "axial RAS"),
        (np.diag([-1, -1, 1]), "axial LPS"),
        (np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), "coronal RIA"),
        (np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), "sagittal PIR"),
        (np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]), "oblique near axial ALS, 37 degrees"),
    ],
)
def test_orientation_in_words(axes, name):
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array([0.7, 0.7, 2])
    assert survey.orientation(affine) == name


def test_a_way_that_narrows_stops_the_scope_where_it_narrows():
    volume = tube(8.0)
    hu = volume.hu.copy()
    x, y = np.meshgrid(np.arange(40) - 20, np.arange(40) - 20, indexing="ij")
    hu[:, :, 38:44][np.hypot(x, y) > 3.5] = 40
    (row,), gaps = lumens(Volume(hu, volume.affine), scope_mm=9.0)
    assert not row["scope_passes"]
    assert 15 < row["stopped_at_mm"] < 40
    assert row["diameter_there_mm"] < 9
    assert gaps == []
    grid, _ = inspection.on_grid(volume, None)
    assert grid is volume


def test_an_empty_path_is_no_folder(scans, tmp_path, monkeypatch):
    """As of a shell's variable that is not set: what lies in the folder one is in is not asked for."""
    monkeypatch.chdir(scans)
    assert "path of the scan is empty" in mistake("inspect", "")
    assert "at least 1 character" in mistake("render", "--ct", "", "--out", tmp_path / "out", "--views", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--series", "2"), "--series out"), (("--phase", 7), "--phase out"), (("--series", "1.2.3"), "--series out")],
)
def test_one_volume_has_no_choice(scans, tmp_path, words, said):
    """As loud as in a DICOM folder that holds no such series or phase; 1 and all are true of one volume."""
    for scan in ("sample", "phantom:1", scans / "two.nii.gz", scans.parent / "alone"):
        if scan == scans.parent / "alone" and not scan.exists():
            scan.mkdir()
            (scan / "two.nii.gz").write_bytes((scans / "two.nii.gz").read_bytes())
        with pytest.raises(CTError) as error:
            open_ct(scan, **{words[0][2:]: words[1]})
        assert error.value.code == ("NO_SERIES" if "series" in said else "NO_PHASE")
    assert open_ct(scans / "two.nii.gz", series="1", phase="all").shape == open_ct(scans / "two.nii.gz", phase=1).shape
    assert said in mistake("inspect", "sample", *words)
    assert said in mistake("view", "sample", "--port", 0, *words)
    assert said in mistake("render", "--ct", "sample", "--out", tmp_path / "out", "--views", 1, *words)
    assert said in mistake("gallery", "--ct", "sample", "--out", tmp_path / "pictures", *words)


def test_several_regions_are_one_way(scans):
    both = facts_of(scans / "two.nii.gz", "--region", "2,1", "--scope", 6)
    one, two = both["lumens"]
    assert both["region"] == [2, 1]
    assert both["volume_ml"] == pytest.approx(one["volume_ml"] + two["volume_ml"], abs=0.2)
    assert both["path_mm"] == pytest.approx(one["path_mm"] + two["path_mm"], abs=0.2)
    assert both["scope"]["scope_passes"]
    assert "region is a number" in mistake("inspect", scans / "two.nii.gz", "--region", "1,1")
    assert "no region 3" in mistake("inspect", scans / "two.nii.gz", "--region", "1,3")


def test_each_end_of_a_piece_is_left_out():
    """Where several lumens are one way, each ends at closed walls."""
    free = np.full(100, 6.0)
    free[[0, 49, 50, 99]] = 1.0
    points = np.stack([np.arange(100.0), np.zeros(100), np.zeros(100)], 1)
    found = inspection.passage(lumen.Path(points, free, (0, 50)), 4.0)
    assert found["scope_passes"]
    free[70] = 1.0
    assert inspection.passage(lumen.Path(points, free, (0, 50)), 4.0)["stopped_at_mm"] == 69.0


def test_air_and_lumen_are_told_apart():
    """What is surely air numbers the lumens; the lumen reaches to its wall."""
    facts = facts_of("sample")
    (first, *_) = facts["lumens"]
    assert first["air_ml"] == facts["lumens_air_ml"][0] < first["volume_ml"] == facts["volume_ml"]
    assert f"1: {first['air_ml']:g} ml" in mistake("inspect", "sample", "--region", 2)
    assert "of air below -925 HU" in mistake("inspect", "sample", "--region", 2)
    assert (
        f"1) {first['volume_ml']:g} ml up to its wall ({first['air_ml']:g} ml of air below -925 HU)"
        in run("inspect", "sample").output
    )
