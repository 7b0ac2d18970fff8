"""Frames are developed beside the tracing of the next ones, and nobody can tell from the dataset."""

import os
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from endorender.dataset import alone, configure, generate, open_dataset, work
from endorender.dataset.alone import Darkroom
from endorender.dataset.negative import Negative
from endorender.dataset.work import Failed, Unit
from endorender.dataset.writer import Made
from endorender.errors import Notice, UserError
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


@dataclass(frozen=True)
class Elsewhere(Negative):
    """Does something else where it is developed in another process."""

    error: type[Exception] | None = None
    home: int = field(default_factory=os.getpid)

    def developed(self):
        if os.getpid() == self.home:
            return super().developed()
        if self.error is None:
            time.sleep(3600)
        raise self.error or TimeoutError


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


def test_progress_goes_on_to_the_last_frame_however_far_behind_the_other_process_is(ct, tmp_path, monkeypatch):
    monkeypatch.setattr(alone, "WORTH", 1)
    monkeypatch.setattr(Darkroom, "_ready", lambda self: False)
    told = []
    config = configure(ct=str(ct), views=3, size="8x8", spp=1, preset="paper4")
    generate(config, tmp_path / "data", progress=lambda *now: told.append(now))
    assert told[-1][:2] == (15, 15)
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)
    assert all(text for *_, text in told)


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


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_process_that_has_no_memory_or_disk_left_leaves_its_frames_to_this_one(error):
    darkroom = Darkroom(alone.WORTH)
    found = through(darkroom, range(3), lambda n: Elsewhere(**vars(negative(n)), error=error if n == 1 else None)
                    if n else negative(n))  # fmt: skip
    assert [type(one) for one in found] == [Made] * 3
    assert darkroom._process is None


def test_an_interpreter_that_never_answers_is_done_without(tmp_path, monkeypatch):
    program = tmp_path / "viewer"
    program.write_text("#!/bin/sh\nexec sleep 3600\n")
    program.chmod(0o755)
    monkeypatch.setattr(alone, "get_executable", lambda: str(program))
    monkeypatch.setattr(alone, "PATIENCE_S", 0.1)
    darkroom = Darkroom(alone.WORTH)
    assert len(through(darkroom, range(2))) == 2
    assert darkroom._process is None


def test_nothing_of_where_this_process_works_is_among_the_arguments_of_the_other(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path / "MUELLER_HANS")
    with Darkroom(alone.WORTH) as darkroom:
        assert "MUELLER_HANS" not in str(darkroom._process.args)
        assert len(list(darkroom.put(unit(0), negative(0))) + list(darkroom.rest())) == 1
        assert darkroom._process is not None


def test_the_process_ends_with_the_one_it_works_for_whatever_it_is_at():
    with Darkroom(alone.WORTH) as darkroom:
        for number in range(3):
            list(darkroom.put(unit(number), Elsewhere(**vars(negative(number)))))
        darkroom._line.close()  # as the system does for one that was killed
        assert darkroom._process.wait(60) == 0


def test_large_frames_are_fewer_under_way_but_two(monkeypatch):
    for size, most in ((1, 3), (2, 2)):
        monkeypatch.setattr(alone, "MOST_PIXELS", 150)
        with Darkroom(1) as darkroom:
            for number in range(6):
                shape = (6 * size, 8)
                large = {"mask": np.ones(shape, bool), "z_depth": np.ones(shape), "radiance": np.ones((*shape, 3))}
                monkeypatch.setattr(darkroom, "_ready", lambda: False)  # nothing is taken back but for want of room
                list(darkroom.put(unit(number), negative(number, **large)))
                assert len(darkroom._under_way) == min(number + 1, most)
            monkeypatch.undo()
            list(darkroom.rest())


def test_frames_that_were_traced_before_an_error_are_kept(ct, tmp_path, monkeypatch):
    """The second patient's CT is not what it was, say: what was traced of the first is finished."""
    monkeypatch.setattr(alone, "WORTH", 1)
    real = work.Renderer.render

    def render(self, unit, report):
        if unit.view == 2:
            raise UserError("another CT", "CT_CHANGED")
        yield from real(self, unit, report)

    monkeypatch.setattr(work.Renderer, "render", render)
    with pytest.raises(UserError, match="another CT"):
        generate(configure(ct=str(ct), views=3, size="24x20", spp=1, preset="paper4"), tmp_path / "data")
    assert len(open_dataset(tmp_path / "data").frames) == 10


def test_where_the_frame_with_the_geometry_fails_all_of_the_view_has_failed(ct, at_once, tmp_path, monkeypatch):
    config, out = configure(ct=str(ct), views=3, size="24x20", spp=1, preset="paper4"), tmp_path / "data"
    real = Negative.developed

    def developed(self):
        if self.geometry is not None and self.row["view"] == 1:
            raise RuntimeError("the denoiser")
        return real(self)

    with monkeypatch.context() as here:
        here.setattr(Negative, "developed", developed)
        with pytest.warns(Notice, match="5 frames failed"):
            generate(config, out)
    assert {frame.view for frame in open_dataset(out).frames} == {0, 2}
    assert contents(generate(config, out, retry_failed=True)) == at_once
