"""The latest wish is the one that is met, and the picture is the mean of all samples that were taken."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.scene import LOOKS, Pinhole
from endorender.viewer.controls import Development, Optics
from endorender.viewer.preview import MOST, Superseded, Worker, enlarged, refined


def until(met, seconds=300.0):
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


def test_a_newer_wish_cuts_the_older_one_off_and_all_work_is_done_in_one_thread():
    begun, done, threads = [], [], set()

    def work(wish, go_on):
        begun.append(wish)
        threads.add(threading.get_ident())
        while wish < 9:  # never ends by itself
            go_on()
            time.sleep(0.005)
        done.append(wish)

    worker = Worker(work, pytest.fail)
    worker.ask(1)
    until(lambda: begun == [1])
    for wish in range(2, 10):
        worker.ask(wish)
    until(lambda: done == [9])
    assert len(begun) < 9
    assert threads != {threading.get_ident()}
    assert len(threads) == 1
    worker.ask(2)
    until(lambda: begun[-1] == 2)
    assert worker.stop(300.0)
    assert done == [9]


def test_mistakes_and_bugs_are_told_and_the_thread_goes_on(capfd):
    told = []

    def work(wish, go_on):
        raise wish

    worker = Worker(work, told.append)
    worker.ask(UserError("the camera is inside tissue"))
    until(lambda: told == ["the camera is inside tissue"])
    worker.ask(ZeroDivisionError("/data/somebody"))
    until(lambda: len(told) == 2)
    assert told[1] == "a bug: ZeroDivisionError; the terminal shows where"
    assert worker.stop(300.0)
    assert "Traceback" in capfd.readouterr().err


def test_work_that_cannot_be_cut_off_is_waited_for_no_longer_than_asked():
    begun, held = threading.Event(), threading.Event()
    worker = Worker(lambda wish, go_on: begun.set() or held.wait(), pytest.fail)
    worker.ask(None)
    assert begun.wait(300)
    assert not worker.stop(0.2)  # it comes back although the work goes on until it is let go
    held.set()
    assert worker.stop(300.0)


@pytest.fixture
def tracer(monkeypatch):
    """The path tracer replaced by one whose every batch is a number; gives what was asked of it."""
    calls = []

    def in_parts(scenes, spp, seed, frame, progress):
        progress(0.5)
        camera = scenes[0].camera
        calls.append((camera.width, camera.height, spp, frame))
        return [(SimpleNamespace(mean=np.full((camera.height, camera.width, 3), float(len(calls)), np.float32)), None)]

    monkeypatch.setattr("endorender.render.in_parts", in_parts, raising=False)
    monkeypatch.setattr("endorender.render.guides", lambda scenes: [None], raising=False)
    monkeypatch.setattr("endorender.render.denoise", lambda image, guide, mirrored: image, raising=False)
    return calls


class View(SimpleNamespace):
    def with_(self, camera):
        return View(camera=camera)


def test_pictures_begin_small_and_end_as_the_mean_of_all_samples(tracer):
    stages = list(refined(View(camera=Pinhole(width=320, height=240)), lambda: None))
    assert [s.radiance.shape[:2] for s in stages[:3]] == [(60, 80), (120, 160), (240, 320)]
    assert stages[-1].spp == MOST
    whole = [c for c in tracer if c[0] == 320]
    assert sum(spp for _, _, spp, _ in whole) == MOST
    assert len({frame for *_, frame in whole}) == len(whole), "every batch needs random numbers of its own"
    values = [n + 1 for n, c in enumerate(tracer) if c[0] == 320]
    mean = sum(v * c[2] for v, c in zip(values, whole)) / MOST
    assert stages[-1].radiance.max() == pytest.approx(mean)


def test_a_picture_is_given_up_in_the_middle_of_a_batch(tracer):
    def never():
        raise Superseded

    with pytest.raises(Superseded):
        next(refined(View(camera=Pinhole(width=320, height=240)), never))
    assert not tracer


def test_small_pictures_are_shown_in_the_size_of_the_full_one():
    assert enlarged(np.full((60, 80, 3), 9, np.uint8), 320).shape == (240, 320, 3)
    assert enlarged(np.full((300, 400, 3), 9, np.uint8), 320).shape == (300, 400, 3)


@pytest.mark.parametrize("look", LOOKS)
def test_sliders_at_rest_leave_the_look_as_it_is(look):
    own = LOOKS[look].tissue
    tissue = Optics(look, specular=own.specular, roughness=own.roughness).tissue()
    assert np.allclose(tissue.table(), own.table(), atol=1e-6)
    assert np.allclose(tissue.vessel_albedo, own.vessel_albedo)
    darker = Optics(look, absorption=2.0, density=0.5, specular=0.1, roughness=0.3).tissue()
    assert np.allclose(darker.albedo, np.square(own.albedo))
    assert np.allclose(darker.table()[:, 0], 0.5 * own.table()[:, 0], rtol=1e-6)
    assert (darker.specular, darker.roughness) == (0.1, 0.3)


def test_light_and_exposure_are_told_in_stops():
    assert Optics(strength=1.0, falloff=2.5).light().intensity == 2 * Optics().light().intensity
    assert Optics(strength=1.0, falloff=2.5).light().mu == 2.5
    radiance, mask = np.random.default_rng(0).uniform(0.1, 4, (20, 30, 3)), np.ones((20, 30), bool)
    automatic, base = Development().response(radiance, mask)
    assert automatic.exposure == base
    assert Development(stops=-2.0).response(radiance, mask)[0].exposure == pytest.approx(base / 4)
    # Held, the light's strength shows; automatic, it does not.
    assert Development(held=base).response(8 * radiance, mask)[0].exposure == pytest.approx(base)
    assert Development().response(8 * radiance, mask)[1] == pytest.approx(base / 8, rel=1e-3)
