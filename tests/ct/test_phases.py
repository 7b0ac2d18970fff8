"""Several scans of one place under one series: told apart, chosen, and each of them right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from endorender.ct import CTError, load, survey
from endorender.dataset import RenderConfig, configure
from endorender.dataset.generate import describe
from tests.cli.test_main import run
from tests.ct import made
from tests.ct.corpus import cases
from tests.ct.made import truth


def path_of(name, folder):
    return next(c for c in cases() if c.name == name).make(folder)


def off(volume) -> np.ndarray:
    """HU above the field that the tests write."""
    at = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    return volume.hu.reshape(-1) - truth(volume.to_world(at))


@pytest.mark.parametrize("kind", ["acquisitions", "temporal positions", "trigger times"])
@pytest.mark.parametrize("shift", ["0", "1.5"])
def test_each_phase_is_a_volume(tmp_path, kind, shift):
    path = path_of(f"two {kind} at a distance of {shift} mm", tmp_path)
    for phase, brighter in (("1", 0), (2, 3)):
        volume = load(path, phase=phase)
        assert volume.spacing[2] == pytest.approx(3)
        assert volume.shape[2] == 8
        assert volume.affine[2, 3] == pytest.approx(-40 + (float(shift) if brighter else 0))
        assert np.abs(off(volume) - brighter).max() < 0.8
        assert any(f"phase {phase} of 2 was chosen" in w for w in volume.warnings)
    for wrong in ("0", "3", "x", "-1"):
        with pytest.raises(CTError, match="no such phase") as refusal:
            load(path, phase=wrong)
        assert refusal.value.code == "NO_PHASE"


def test_all_of_them_as_one_scan(tmp_path):
    """What lies one between the other may be one scan of two acquisitions after all."""
    uid = made.new_uid()

    def change(ds, n):
        ds.SeriesInstanceUID, ds.AcquisitionNumber = uid, 1 + n % 2

    made.series(tmp_path, change=change)
    with pytest.raises(CTError) as refusal:
        load(tmp_path)
    assert refusal.value.code == "PHASE_AMBIGUOUS"
    volume = load(tmp_path, phase="all")
    assert volume.shape[2] == 8
    assert np.abs(off(volume)).max() < 0.8


@pytest.mark.parametrize("name", ["two phases whose trigger times jitter", "two phases told apart by their time alone"])
def test_phases_in_the_order_of_time(tmp_path, name):
    path = path_of(name, tmp_path)
    assert np.abs(off(load(path, phase=1))).max() < 0.8
    assert np.abs(off(load(path, phase=2)) - 3).max() < 0.8


def test_one_phase_needs_no_number(tmp_path):
    made.series(tmp_path)
    assert load(tmp_path, phase=1).shape == load(tmp_path).shape
    with pytest.raises(CTError, match="leave --phase out"):
        load(tmp_path, phase=2)


def test_from_the_command_line(tmp_path):
    path = path_of("two acquisitions at a distance of 0 mm", tmp_path)
    (row,) = survey.survey(path)
    assert row["code"] == "PHASE_AMBIGUOUS"
    assert run("inspect", path).exit_code == 2
    assert run("inspect", path, "--phase", "2").exit_code == 0
    for command in ("render", "view", "fit"):
        assert "--phase" in run(command, "--help").output
    for phase in (2, "2", "all", None):
        config = RenderConfig(ct=[{"ct": str(path), "alias": "a", "phase": phase}], phase=phase)
        assert config.phase == config.ct[0].phase == (int(phase) if phase in (2, "2") else phase)


def test_finest_of_two_distances_is_kept(tmp_path):
    """Of 1 mm and 2 mm the median could be 2, which would throw half of what was scanned away."""
    made.series(tmp_path, 25, 1.0, skip=tuple(range(7, 25, 2)))
    volume = load(tmp_path, resample=True)
    assert volume.spacing[2] == pytest.approx(1.0)
    assert volume.shape[2] == 25
    assert np.abs(off(volume)).max() < 1.6
    assert any("16 slices 1.000 to 2.000 mm apart were interpolated onto 25" in w for w in volume.warnings)


def test_a_begun_dataset_keeps_the_phase(tmp_path):
    ct = path_of("two acquisitions at a distance of 0 mm", tmp_path / "in")
    config = RenderConfig(ct=[{"ct": str(ct), "alias": "a", "phase": 2}])
    (tmp_path / "out").mkdir()
    info = describe(config)
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(info))
    again = configure(None, tmp_path / "out", ct=(str(ct),))
    assert again.ct[0].phase == 2
    assert again.public() == config.public()
