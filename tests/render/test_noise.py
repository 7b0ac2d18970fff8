"""Samples by noise: the error that was asked for, everywhere, of the same picture."""

import numpy as np
import pytest

from endorender.dataset import configure, generate, open_dataset
from endorender.errors import UserError
from endorender.render import in_parts, radiance
from endorender.render.device import launches
from endorender.render.transport.noise import FEWEST, GROWTH, of_display, stages
from endorender.scene import Pinhole
from tests.render.scenes import tube_scene

MOST = 2000
SEEDS = 24


def shown(light, whole):
    x = np.maximum(light.mean(-1) / whole, 0)
    return np.sqrt(x / (1 + x))


@pytest.fixture(scope="module")
def pictures():
    return [radiance([tube_scene(size=(24, 18))], MOST, seed, noise=0.04)[0] for seed in range(SEEDS)]


def test_pictures_differ_by_what_was_asked_for(pictures):
    mean = np.mean([p.mean for p in pictures], 0)
    error = np.std([shown(p.mean, mean.mean()) for p in pictures], 0, ddof=1)
    samples = np.mean([p.samples for p in pictures], 0)
    assert samples.max() > 3 * samples.min() > 3 * FEWEST  # or nothing had to be placed
    # Samples grow by half, so what is reached lies up to √1.5 below the target; 24 pictures tell a pixel's to 15 %.
    assert 0.04 / 1.35 < np.sqrt(np.mean(error**2)) < 0.04 * 1.05
    assert np.quantile(error, 0.99) < 0.04 * 1.6
    even = [radiance([tube_scene(size=(24, 18))], int(samples.mean()), 100 + k)[0] for k in range(SEEDS)]
    uneven = np.std([shown(p.mean, mean.mean()) for p in even], 0, ddof=1)
    assert np.quantile(error, 0.99) / np.median(error) < 0.8 * np.quantile(uneven, 0.99) / np.median(uneven)


def test_they_are_no_darker_than_pictures_of_equal_samples(pictures):
    whole = [radiance([tube_scene(size=(24, 18))], 60, 1000 + k)[0].mean.mean() for k in range(SEEDS)]
    ours = [p.mean.mean() for p in pictures]
    error = np.sqrt((np.var(ours, ddof=1) + np.var(whole, ddof=1)) / SEEDS)
    assert abs(np.mean(ours) - np.mean(whole)) < 4 * error
    assert error < 0.01 * np.mean(whole)  # or the test could not fail


def test_every_look_that_shares_the_paths_gets_there():
    scene = tube_scene(size=(24, 18))
    looks = [scene, scene.with_(tissue=scene.tissue.model_copy(update={"albedo": ((0.5, 0.4, 0.3),) * 4}))]
    made = radiance(looks, MOST, 3, noise=0.05)
    alone = radiance(looks, MOST, 3, noise=0.05, judged=1)
    noise = [of_display(p.mean, p.variance, scene.camera.visible()) for p in made]
    # A pixel that has stopped stays so, whatever its neighbours find afterwards.
    assert max(np.quantile(one, 0.95) for one in noise) <= 0.05
    assert max(one.max() for one in noise) < 0.06
    assert np.array_equal(made[0].samples, made[1].samples)
    assert alone[0].spp < made[0].spp
    # The part that tissue does not scatter is a look of the same paths, but none that is shown.
    light, mirrored = in_parts(looks[:1], MOST, 3, noise=0.05)[0]
    assert mirrored is not None
    assert np.array_equal(light.samples, radiance(looks[:1], MOST, 3, noise=0.05)[0].samples)


def test_what_the_mask_hides_takes_no_samples():
    scene = tube_scene(size=(24, 18))
    scene = scene.with_(camera=Pinhole(width=24, height=18, fov=90, mask="circle"))
    made, seen = radiance([scene], 50, 1, noise=0.05)[0], scene.camera.visible()
    assert 0 < seen.mean() < 1
    assert (made.samples[~seen] == 0).all()
    assert (made.samples[seen] >= FEWEST).all()
    assert made.spp == int(np.ceil(made.samples[seen].mean()))
    assert np.isfinite(made.variance).all()
    assert (made.mean[~seen] == 0).all()


def test_no_pixel_takes_more_than_the_most_and_what_is_done_is_told():
    told = []
    made = radiance([tube_scene()], 20, 1, noise=1e-4, progress=told.append)[0]
    assert (made.samples == 20).all()
    same = radiance([tube_scene()], 20, 1)[0]
    assert np.array_equal(made.mean, same.mean)
    assert np.array_equal(made.variance, same.variance)
    assert made.cut == same.cut
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert list(stages(5)) == [5]
    assert list(stages(100))[:3] == [FEWEST, int(FEWEST * GROWTH), int(FEWEST * GROWTH**2)]


def test_threads_that_share_a_pixel_tell_the_same(monkeypatch):
    scene = tube_scene(size=(24, 18))
    one = [radiance([scene], 200, seed, noise=0.08)[0] for seed in range(8)]
    monkeypatch.setattr(launches, "lanes", lambda pixels, spp: 3)
    several = [radiance([scene], 200, seed, noise=0.08)[0] for seed in range(8)]
    assert all((p.samples[p.samples < 200] % 3 == 0).all() for p in several)
    difference = np.mean([p.mean for p in one], 0) - np.mean([p.mean for p in several], 0)
    deviation = np.sqrt(np.mean([p.variance for p in one], 0) / 8 + np.mean([p.variance for p in several], 0) / 8)
    z = difference / np.maximum(deviation, 1e-9)
    assert abs(z).max() < 6
    assert np.sqrt(np.mean(z**2)) < 1.3


def test_a_noise_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="noise must be above 0"):
        radiance([tube_scene()], 8, 1, noise=0.0)
    with pytest.raises(UserError, match="adjoint gives every pixel the same samples"):
        radiance([tube_scene()], 8, 1, integrator="adjoint", noise=0.1)
    with pytest.raises(UserError, match="noise"):
        configure(ct="phantom:1", noise=0)


def test_a_dataset_says_what_its_frames_took(tmp_path):
    config = configure(
        ct="phantom:1", views=1, size="24x18", spp=300, noise=0.08, seed=2, denoise=True, preset="paper4"
    )
    frames = open_dataset(generate(config, tmp_path / "frames")).frames
    traced = {f.variation: f.spp for f in frames if f.traced_with}
    assert all(FEWEST <= spp < 300 for spp in traced.values())
    assert config.public()["noise"] == 0.08
    assert "noise" not in configure(ct="phantom:1").public()
