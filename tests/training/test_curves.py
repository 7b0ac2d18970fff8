"""Whether a learning curve was flat at its end, by a definition, and what shows it."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from tests.training.cuts import cut_and_resumed
from training import curves
from training.curves import Curve, change, verdict
from training.files import read_csv, read_json
from training.trainer import train

SMALL = {"model": {"type": "unet", "width": 8, "levels": 2}, "batch": 2, "validate_images": 2}
STEPS = np.arange(0, 1001, 10)


def falling(percent, noise=0.0, seed=0, steps=STEPS):
    """An error that falls by so many percent over the last fifth of the steps."""
    rate = np.log(1 - percent / 100) / (0.2 * steps[-1])
    scatter = np.random.default_rng(seed).normal(0, noise, len(steps))
    return Curve(steps, 0.1 * np.exp(rate * (steps - steps[-1]) + scatter))


def test_the_change_is_that_of_the_last_fifth():
    found = change([falling(7.0)])
    assert found == pytest.approx((-7, -7, -7), abs=1e-9)
    early = falling(7.0)
    early.errors[: len(STEPS) * 3 // 4] *= 50  # what was before does not count
    assert change([early]) == pytest.approx(found, abs=1e-9)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = [change([falling(2.0, 0.02, seed)]) for seed in range(400)]
    share = np.mean([found.low <= -2 <= found.high for found in held])
    assert 0.92 < share < 0.98  # 95 %, two standard errors of 400 draws


def test_of_several_trainings_the_interval_is_over_trainings():
    rates = (1.0, 2.0, 3.0, 4.0)
    found = change([falling(rate) for rate in rates])
    reach = 3.182446 * np.std(rates, ddof=1) / 2  # t of three degrees of freedom
    assert found == pytest.approx((-2.5, -2.5 - reach, -2.5 + reach), abs=1e-5)


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        (falling(0.1, 0.001), "flat"),
        (falling(-0.1, 0.001), "flat"),
        (falling(5.0, 0.01), "still falling"),
        (falling(-5.0, 0.01), "rising"),
        (falling(0.1, 0.1), "undecided"),
        (falling(5.0, steps=np.arange(0, 1001, 200)), "unknown"),
        (Curve(np.array([]), np.array([])), "unknown"),
    ],
)
def test_the_word_follows_from_the_interval(curve, said):
    assert verdict(change([curve])) == said
    sentence = curves.words([curve])
    assert said in sentence if said != "unknown" else "too few validations" in sentence


def test_several_trainings_are_their_mean_in_a_band():
    axes = Figure().subplots()
    curves.draw(axes, [falling(1.0), falling(9.0)], "red")
    (line,), (band,) = axes.lines, [c for c in axes.collections if isinstance(c, PolyCollection)]
    both = np.stack([falling(1.0).errors, falling(9.0).errors])
    np.testing.assert_allclose(line.get_ydata(), both.mean(0))
    y = band.get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == pytest.approx((both.min(), both.max()))
    axes = Figure().subplots()
    curves.draw(axes, [falling(1.0), falling(1.0, steps=STEPS[:50])], "red")  # of two lengths: each by itself
    assert len(axes.lines) == 2
    assert not axes.collections


def test_a_run_draws_its_curve_and_says_how_it_ends(tmp_path, make_tubes):
    data, said = make_tubes(views=1), []
    config = SMALL | {"steps": 16, "validate_every": 1, "save_every": 4}
    run = train(config, tmp_path / "run", data, say=said.append)
    with Image.open(run / "curve.png") as picture:
        assert picture.size[0] > 300
    assert (run / "curve.pdf").read_bytes().startswith(b"%PDF")
    curve = curves.of_log(read_csv(run / "log.csv"))
    assert curve.steps.tolist() == list(range(17))
    kept = read_json(run / "run.json", "a run")["curve"]
    assert kept["change_percent_over_last_fifth"] == pytest.approx(list(change([curve])))
    assert said == [f"learning curve (curve.png): {kept['words']}"]
    cut = cut_and_resumed(config, tmp_path / "cut", data, 9)
    for name in ("curve.png", "curve.pdf", "run.json", "log.csv"):
        assert (cut / name).read_bytes() == (run / name).read_bytes(), name
    few = train(config | {"validate_every": 4}, tmp_path / "few", data, say=said.append)
    assert not (few / "curve.png").exists()
    assert read_json(few / "run.json", "a run")["curve"] is None
    assert len(said) == 1
