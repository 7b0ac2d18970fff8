"""The descent alone, on measurements that are made of numbers: noise, valleys, directions that nothing tells of."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.inverse.curvature import Curvature

fits = importlib.import_module("endorender.inverse.fit")  # the package's name is the function's
PIXELS = 4000
SHARP = np.array([8.0, 1.0, 0.15, 0.0])  # how much each coordinate moves the residuals


class Made:
    """Residuals J (e(u) - e(truth)) with a curved e, under noise that falls with the samples. Directions are mixed."""

    def __init__(self, noise=0.3):
        rng = np.random.default_rng(0)
        self.noise = noise
        self.mix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        self.j = rng.normal(size=(PIXELS, 4)) * SHARP * 0.02
        self.truth = np.array([0.8, -0.6, 0.5, 0.0])
        self.calls = 0

    def bent(self, u):
        return u + 0.2 * u**2

    def at(self, u, spp, seed):
        rng = np.random.default_rng(seed)
        scatter = self.noise / np.sqrt(spp / 2)
        r = self.j @ (self.bent(u) - self.bent(self.truth))
        pair = r + rng.normal(size=(2, PIXELS)) * scatter
        products = pair[0] * pair[1]
        error = float(products.std() / np.sqrt(PIXELS))
        noise = float(((pair[0] - pair[1]) ** 2).mean() / 4)
        return SimpleNamespace(
            u=u,
            residuals=pair,
            weight=np.ones(PIXELS),
            loss=float(products.mean()),
            error=error,
            noise=noise,
            values={},
        )

    def slope(self, state, spp, seed):
        return (self.j * (1 + 0.4 * state.u)).T @ state.residuals.mean(0)

    def curvature(self, problem, state, spp, seed):
        rng = np.random.default_rng(seed)
        rows = np.stack([self.j * (1 + 0.4 * state.u) * (1 + 0.2 * rng.normal(size=self.j.shape)) for _ in (0, 1)])
        return Curvature(rows, 0.0)


@pytest.fixture
def descent(monkeypatch):
    def run(made, plan, seed=1):
        monkeypatch.setattr(fits, "curvature", made.curvature)
        start = np.zeros(4)
        found = fits._Run(made.at(start, plan.first, 0))
        fits._descend(made, found, start, plan, plan.steps, seed, fits._Teller(None, 1))
        return found

    return run


def test_what_is_seen_is_found_and_what_is_not_stays(descent):
    plan = fits.Plan(steps=14, first=16, last=128)
    ends = np.array([descent(Made(), plan, seed).best.u for seed in range(1, 13)])
    error, scatter = np.abs(ends.mean(0) - Made().truth), ends.std(0)
    assert error[0] < 0.01
    assert error[1] < 0.05
    assert scatter[0] < 0.01
    assert scatter[1] < 0.06
    assert scatter[2] < 0.4  # drowns, and does not run away
    assert (ends[:, 3] == 0).all()


def test_intervals_hold_what_they_say(descent):
    plan = fits.Plan(steps=14, first=16, last=128)
    inside = []
    for seed in range(1, 13):
        found = descent(Made(), plan, seed)
        noise = max(found.best.loss, 0.0) + found.best.noise / (plan.steps // 2)
        sigma = np.sqrt(np.diag(found.metric.covariance(noise, fits.PRIOR)))
        inside.append(np.abs(found.best.u - Made().truth) < 1.96 * sigma)
        assert sigma[3] > fits.UNSEEN * fits.PRIOR
    assert np.mean(inside, 0)[:2].min() > 0.7


def test_a_jacobian_that_is_too_weak_is_found_out(descent, monkeypatch):
    """Blocks that average detail away foresee a fifth of each change: steps would be five times too long."""
    made = Made()

    def weak(problem, state, spp, seed):
        whole = Made.curvature(made, problem, state, spp, seed)
        return Curvature(whole.rows / np.sqrt(5), 0.0)

    monkeypatch.setattr(made, "curvature", weak)
    found = descent(made, fits.Plan(steps=14, first=16, last=128))
    assert not found.stopped
    assert np.abs(found.best.u - made.truth)[:2].max() < 0.15


def test_a_wrong_turn_leads_back_and_in_the_end_says_so(descent, monkeypatch):
    made = Made()
    monkeypatch.setattr(made, "slope", lambda state, spp, seed: -Made.slope(made, state, spp, seed))
    found = descent(made, fits.Plan(steps=30))
    assert found.stopped == "diverged"
    assert found.best.loss <= made.at(np.zeros(4), 512, 3).loss * 1.3

    def refused(u, spp, seed):
        if u.any():
            raise UserError("the scene does not take these values")
        return Made.at(made, u, spp, seed)

    monkeypatch.setattr(made, "at", refused)
    found = descent(made, fits.Plan(steps=30))
    assert found.stopped == "diverged"
    assert not found.best.u.any()


def test_a_direction_that_drowns_holds_back_no_other():
    """Newton's step is (-0.3, -500): the first arrives, the second goes as far as it may."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(2, 2)))[0]
    shape = turn @ np.diag([10.0, 1e-4]) @ turn.T
    move = turn.T @ fits._damped(shape, turn @ np.array([3.0, 0.05]), 0.6)
    assert move[0] == pytest.approx(-0.3, rel=0.02)
    assert -0.9 < move[1] < -0.3
    free = fits._damped(np.diag([10.0, 2.0]), np.array([3.0, 0.4]), 0.6)
    assert free == pytest.approx([-0.3, -0.2])


def test_a_lucky_look_turns_no_later_step_away(descent, monkeypatch):
    """One loss that noise made far too small, in the middle of the way: the fit goes on to its end."""
    made, looks = Made(), []

    def at(u, spp, seed):
        state = Made.at(made, u, spp, seed)
        looks.append(u)
        state.loss += 0.01 if len(looks) != 7 else 0.0  # what the photographs' own noise leaves
        return state

    monkeypatch.setattr(made, "at", at)
    found = descent(made, fits.Plan(steps=14, first=16, last=128))
    assert not found.stopped
    assert len(found.way) >= 13
    assert np.abs(found.best.u - made.truth)[:2].max() < 0.15


def test_repeats_come_back_also_along_a_valley(descent):
    plan = fits.Plan(steps=20, first=64, last=512, repeats=4, again=4)
    made = Made()
    made.truth = np.array([0.3, -0.3, 0.2, 0.0])
    found = descent(made, plan)
    spread, off = fits._repeated(made, found, plan, 5, fits._Teller(None, 1))
    assert off[3] == pytest.approx(fits.JITTER, rel=0.01)
    assert off.max() <= fits.JITTER * 1.0001
    assert off[0] < 0.5 * off[2]  # sharp: what lies farther off is of no use
    assert (spread[:3] < fits.UNSEEN * off[:3]).all()
    assert spread[3] == pytest.approx(off[3])


def test_a_metric_that_is_sure_of_what_it_never_saw_is_found_out(descent):
    """Noise of the Jacobian taken for knowledge of the third: nothing tells of it, so repeats stay where they begin."""
    plan = fits.Plan(steps=14, first=64, last=512, repeats=4, again=4)
    made = Made()
    made.j[:, 2] = 0.0
    found = descent(made, plan)
    rows = found.metric.rows.copy()
    rows[:, :, 2] = np.random.default_rng(1).normal(size=PIXELS) * 0.01
    found.metric = Curvature(rows, 0.0)
    assert fits._covariance(found, plan)[2, 2] < 0.1**2
    spread, off = fits._repeated(made, found, plan, 5, fits._Teller(None, 1))
    assert spread[2] > fits.UNSEEN * off[2]
    assert (spread[:2] < fits.UNSEEN * off[:2]).all()
