"""The whole road in its smallest size: it ends, and a second call finds everything done."""

import json

import pytest

from cli.demo import SIZES, Size, demo
from cli.progress import stages
from endorender.dataset import open_dataset
from tests.dataset.made import contents

SMALLEST = Size(3, 2, 1, 1, "32x24", 2, 4, 2, "48x36", 2)


def make(out):
    with stages() as stage:
        return demo(out, SMALLEST, True, stage)


@pytest.mark.slow
def test_the_whole_road_and_again(tmp_path):
    made = make(tmp_path)
    assert all(path.is_file() for path in made.values())
    cinematic = open_dataset(tmp_path / "cinematic")
    assert cinematic.info["splits"] == {"train": ["p001"], "val": ["p002"], "test": ["p003"]}
    for data, patient in (("cinematic", "p003"), ("airway", "airway")):
        for run in ("plain-further", "last-layer", "full"):
            summary = json.loads((tmp_path / "evaluations" / data / run / "summary.json").read_text())
            assert summary["data"]["patients"] == [patient]
            assert summary["data"]["seen_in_training"] == []
            assert set(summary["protocols"]) == {"metric", "median"}
    before = contents(tmp_path)
    make(tmp_path)
    after = contents(tmp_path)
    changed = [name for name in before if before[name] != after[name]]
    assert changed == []


def test_sizes_leave_a_patient_for_each_split():
    for size in SIZES.values():
        assert size.people >= 3
        assert size.plain_views >= size.cinematic_views
