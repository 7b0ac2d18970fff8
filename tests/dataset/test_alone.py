"""Frames are developed beside the tracing of the next ones, and nobody can tell from the dataset."""

from functools import partial

import numpy as np
import pytest

from endorender.dataset import alone, configure, generate
from endorender.dataset.alone import Darkroom
from endorender.dataset.negative import Negative
from endorender.dataset.work import Failed, Unit
from endorender.dataset.writer import Made
from endorender.errors import Notice
from tests.dataset.made import contents
from tests.dataset.tubes import tube


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp("MUELLER_HANS") / "ct.nii.gz")


@pytest.fixture(scope="module")
def at_once(ct, tmp_path_factory):
    return rendered(ct, tmp_path_factory.mktemp("at_once") / "data")


def rendered(ct, out):
    return contents(generate(configure(ct=str(ct), views=3, size="24x20", spp=1, preset="paper4"), out))


def negative(number, **changes):
    shape = (6, 8)
    rng = np.random.default_rng(number)
    values = {
        "row": {
            "id": f"p001/{number:04d}/dark", "patient": "p001", "variation": "dark", "traced_with": ["dark"],
            "parameters": {"response": {"exposure": 1.0}},
        },
        "header": {}, "radiance": rng.random((*shape, 3)).astype(np.float32), "guides": None, "mirrored": None,
        "layers": {}, "depths": {}, "mask": np.ones(shape, bool), "z_depth": np.full(shape, 9.0), "focal": 5.0,
        "noise": 3,
    }  # fmt: skip
    return Negative(**values | changes)


def unit(number):
    return Unit("p001", number, ("dark",), False)


def filled(made, folder):
    """Bytes of the files, by kind."""
    for kind, (_, write) in made.files.items():
        write(folder / kind)
    return {kind: (folder / kind).read_bytes() for kind in made.files}


def through(darkroom, numbers, made=negative):
    found = []
    with darkroom:
        for number in numbers:
            found += darkroom.put(unit(number), made(number))
        return [*found, *darkroom.rest()]


def test_the_dataset_is_the_same_to_the_byte(ct, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(alone, "WORTH", 1)
    started = []
    real = Darkroom._start
    monkeypatch.setattr(Darkroom, "_start", lambda self: (started.append(self), real(self)))
    assert rendered(ct, tmp_path / "data") == at_once
    assert len(started) == 1


def test_frames_come_back_in_their_order_with_all_bytes_of_their_files(tmp_path):
    here = through(Darkroom(1), range(40))
    there = through(Darkroom(alone.WORTH), range(40))
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, Made)
        assert one.row == other.row
        assert filled(one, tmp_path) == filled(other, tmp_path)


def test_no_more_than_so_many_frames_are_under_way(monkeypatch):
    monkeypatch.setattr(alone, "MOST", 2)
    with Darkroom(alone.WORTH) as darkroom:
        for number in range(10):
            list(darkroom.put(unit(number), negative(number)))
            assert len(darkroom._under_way) <= 2
        list(darkroom.rest())


def test_what_a_process_had_that_was_killed_is_developed_here(tmp_path):
    darkroom = Darkroom(alone.WORTH)
    with darkroom:
        found = list(darkroom.put(unit(0), negative(0)))
        darkroom._process.kill()
        for number in range(1, 6):
            found += darkroom.put(unit(number), negative(number))
        found += darkroom.rest()
    assert [made.row["id"] for made in found] == [f"p001/{n:04d}/dark" for n in range(6)]
    assert darkroom._process is None


@pytest.mark.parametrize("frames", [1, alone.WORTH])
def test_a_frame_that_cannot_be_developed_has_failed_and_the_others_have_not(frames):
    wrong = {"row": {**negative(1).row, "parameters": {"response": {"exposure": "none"}}}}
    found = through(Darkroom(frames), range(3), lambda n: negative(n, **(wrong if n == 1 else {})))
    assert [type(one) for one in found] == [Made, Failed, Made]
    assert found[1].unit == unit(1)


@pytest.mark.parametrize("frames", [1, alone.WORTH])
def test_notices_reach_the_user(frames):
    bright = partial(negative, radiance=np.full((6, 8, 3), 1e6, np.float32))
    with pytest.warns(Notice, match="p001: in dark"):
        through(Darkroom(frames), [0], bright)
