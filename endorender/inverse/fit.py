"""Fit parameters of scenes and of the response to photographs.

Gauss-Newton on noisy measurements: at each step the gradient over all pixels from new random numbers, taken through
the metric of the Jacobian by blocks (`curvature`), on logarithmic and logit scales. Samples grow from step to step;
over the last ones the proposals are averaged, which takes the renderer's noise out of the answer. Steps that lose (no
number, or a loss that grew) go back to the best point and halve the next step's reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from endorender.errors import UserError
from endorender.inverse.curvature import UNSEEN, Curvature, curvature
from endorender.inverse.problem import Problem, State
from endorender.inverse.response import refuse_lens
from endorender.inverse.unknowns import Values, unknowns
from endorender.scene.response import Response
from endorender.scene.scene import Scene

PRIOR = 1.5  # standard deviation that a coordinate is allowed for beforehand: a factor of 4.5 up or down
QUIET = (1 / 255) ** 2 / 12  # mean square that 8 bits alone leave
JITTER = 0.3  # of a coordinate, the most from which a repeat starts
FAR = 30.0  # standard deviations, along each axis of the metric, from which it does where those are small
CAREFUL = 1.0  # standard errors of the Jacobian's noise by which steps are shortened
NEARBY = 0.4  # of a coordinate: Jacobians of points that are no farther apart are averaged
REACH = 0.6  # of a coordinate in one step
LOSSES = 5  # steps that may lose, without a better one in between, before a fit counts as diverged
Progress = Callable[[int, int, float, Values], None]  # step, steps, loss, values


@dataclass(frozen=True)
class Plan:
    """How much work a fit takes: steps of samples per pixel from `first` to `last`, gradients with half of them.

    jacobian: samples per pixel of each picture of the last Jacobian, earlier ones have fewer as the steps have; made
    anew before the steps `renewed` and joined with those from nearby. repeats: fits from other places and seeds, of
    `again` steps each, from whose spread intervals follow.
    """

    steps: int = 12
    first: int = 16
    last: int = 96
    jacobian: int = 16
    renewed: tuple[int, ...] = (0, 2, 4, 6)
    repeats: int = 3
    again: int = 4

    def spp(self, step: int) -> int:
        """Samples per pixel of a step: a geometric row."""
        share = step / max(self.steps - 1, 1)
        return max(2, round(self.first * (self.last / self.first) ** share))

    def of_jacobian(self, step: int) -> int:
        """Samples per pixel of a Jacobian made before a step."""
        return max(self.jacobian * self.spp(step) // self.last, min(self.jacobian, 16))


@dataclass(frozen=True)
class Fit:
    """values: by name. sigma: (P,) standard deviations of the coordinates `labels`. observable: (P,) bool.

    history: one row a step: step, loss, spp, best. stopped: "" or why the fit ended before its time. before, after:
    states at start and end. spread: (P,) of the repeats alone; NaN without.
    """

    problem: Problem
    before: State
    after: State
    sigma: np.ndarray
    spread: np.ndarray
    observable: np.ndarray
    history: tuple[dict[str, float], ...]
    stopped: str = ""

    def __repr__(self) -> str:
        stopped = f", {self.stopped}" if self.stopped else ""
        return f"Fit({len(self.after.u)} numbers, loss {self.before.loss:.3g} -> {self.after.loss:.3g}{stopped})"

    @property
    def values(self) -> Values:
        """By name, at the end."""
        return self.after.values

    def intervals(self) -> list[tuple[str, float, float, float, bool]]:
        """(label, value, low, high, observable) of every fitted number: 95 % intervals on its own scale."""
        known = self.problem.unknowns
        ends = [known.values(self.after.u + k * 1.96 * self.sigma) for k in (0, -1, 1)]
        columns = [np.concatenate([v[n][known.free[n]] for n in known.names]) for v in ends]
        return [(label, *map(float, row), bool(seen))
                for label, *row, seen in zip(known.labels, *columns, self.observable)]  # fmt: skip


@dataclass
class _Run:
    """What one descent has reached. way: (P,) coordinates of every point that was taken. centre: the metric's first."""

    best: State
    way: list[np.ndarray] = field(default_factory=list)
    metric: Curvature | None = None
    centre: np.ndarray | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""

    def learn(self, seen: Curvature, at: np.ndarray) -> None:
        """Join what was seen at a point with what was seen near it."""
        if self.metric is None or self.centre is None or np.abs(at - self.centre).max() > NEARBY:
            self.metric, self.centre = seen, at
        else:
            self.metric = seen.joined(self.metric)


def fit(
    views: Sequence[Scene],
    photographs: np.ndarray,
    response: Response,
    names: Sequence[str],
    *,
    exposures: Sequence[float] | None = None,
    statistics: bool = False,
    plan: Plan | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """Values of `names` under which pictures of the views look like the photographs.

    views: scenes of one size, which hold where the fit starts and everything that is known. photographs: (B, H, W, 3)
    uint8; with statistics (N, 3) uint8 pixels of any place. names, exposures: see `unknowns`.
    Ctrl-C and a diverging fit end with the best point so far and say so in `stopped`.
    """
    refuse_lens(response)
    plan = plan or Plan()
    problem = Problem(
        tuple(views), _checked(views, photographs, statistics), response,
        unknowns(views, names, response, exposures), statistics,
    )  # fmt: skip
    start = problem.unknowns.pack(problem.unknowns.start)
    total = plan.steps + plan.repeats * plan.again
    told = _Teller(progress, total)
    before = problem.at(start, plan.first, _seed(seed, 0))
    if not np.isfinite(before.loss) or before.weight.sum() < 16:
        raise UserError("nothing to compare: the photographs are burnt out or hidden by the camera's mask", "NO_LUMEN")
    run = _Run(before)
    spread, far = np.full(len(start), np.nan), np.ones(len(start))
    try:
        told(before)
        _descend(problem, run, start, plan, plan.steps, _seed(seed, 1), told)
        if not run.stopped and plan.repeats:
            spread, far = _repeated(problem, run, plan, seed, told)
    except KeyboardInterrupt:
        run.stopped = "interrupted"
    return _judged(problem, before, run, plan, seed, spread, far)


def _repeated(problem: Problem, run: _Run, plan: Plan, seed: int, told: _Teller) -> tuple[np.ndarray, np.ndarray]:
    """(P,) root mean square of where fits of other seeds end, off the best point, and of how far off they start.

    Those start far off along the metric's axes: at random they would have to come down a valley's walls first.
    """
    values, axes = np.linalg.eigh(_covariance(run, plan))
    axes = axes * np.minimum(FAR * np.sqrt(values), JITTER / np.abs(axes).max(0))
    shares, ends = [], []
    for n in range(plan.repeats):
        off = axes @ np.random.default_rng([seed, n, 0xF17]).choice([-1.0, 1.0], len(values))
        shares.append(min(1.0, JITTER / np.abs(off).max()))
        first = run.best.u + shares[-1] * off
        own = replace(plan, first=max(plan.last // 2, 1))
        again = _Run(problem.at(first, own.first, _seed(seed, 100 + n)), metric=run.metric)
        _descend(problem, again, first, own, plan.again, _seed(seed, 200 + n), told)
        ends.append(again.best.u - run.best.u)
    # Of starts, the mean over all signs: by chance one of few may lie where it ends.
    far = np.sqrt(np.square(axes).sum(1) * np.mean(np.square(shares)))
    return np.sqrt(np.mean(np.square(ends), 0)), far


def _covariance(run: _Run, plan: Plan) -> np.ndarray:
    """(P, P) of the coordinates at the best point, by the metric."""
    noise = max(run.best.loss, 0.0) + run.best.noise / max(plan.steps // 2, 1) + QUIET
    if run.metric is None:
        return PRIOR**2 * np.eye(len(run.best.u))
    return run.metric.covariance(noise, PRIOR)


def _judged(
    problem: Problem, before: State, run: _Run, plan: Plan, seed: int, spread: np.ndarray, far: np.ndarray
) -> Fit:
    """Intervals, and what was not seen: what the prior tells, or what stays where a repeat began."""
    if run.metric is not None and not run.stopped:
        run.learn(curvature(problem, run.best, plan.jacobian, _seed(seed, 300)), run.best.u)
    sigma = np.sqrt(np.diag(_covariance(run, plan)))
    # A descent that has not come to rest knows no better than what its last steps moved.
    late = run.way[-max(4, len(run.way) // 3) :] or [run.best.u]
    # Few repeats tell little of how far such fits spread (Student's t, as many degrees of freedom as repeats).
    few = stats.t.ppf(0.975, max(plan.repeats, 1)) / 1.96
    whole = np.sqrt(sigma**2 + (few * np.nan_to_num(spread)) ** 2 + np.ptp(late, axis=0) ** 2)
    observable = (sigma < UNSEEN * PRIOR) & (np.nan_to_num(spread) < UNSEEN * far)
    return Fit(
        problem, before, run.best, np.where(observable, whole, np.maximum(whole, PRIOR)), spread, observable,
        tuple(run.history), run.stopped,
    )  # fmt: skip


class _Teller:
    """Counts steps over all descents."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.total, self.step = progress, total, 0

    def __call__(self, state: State) -> None:
        if self.progress:
            self.progress(min(self.step, self.total), self.total, state.loss, state.values)
        self.step += 1


def _descend(problem: Problem, run: _Run, start: np.ndarray, plan: Plan, steps: int, seed: int, told: _Teller) -> None:
    """Steps from run.best; keeps the best point there whatever happens. start: where the prior is centred.

    Each step's measurement is joined with what the steps before have told, as in a Kalman filter: a direction that is
    seen well follows at once, one that drowns in the renderer's noise moves the less the more is known already. What
    was told far from here is forgotten.
    """
    at, reach, lost, stiff = run.best, REACH, 0, 1.0
    own = run.metric is None
    told_before, worth = np.zeros((len(start), len(start))), 0.0
    scatter: list[np.ndarray] = []
    for step in range(steps):
        spp = plan.spp(step + plan.steps - steps)
        if own and (run.metric is None or step in plan.renewed):
            run.learn(curvature(problem, at, plan.of_jacobian(step), seed + 10 * step), at.u)
        assert run.metric is not None
        kept = float(np.clip((step / steps - 0.6) / 0.3, 0, 1))
        noise = max(at.loss, 0.0) + at.noise + QUIET
        pair = [problem.slope(at, max(spp // 4, 1), seed + 10 * step + k) for k in (1, 2)]
        scatter.append((pair[0] - pair[1]) ** 2 / 4 * spp)
        shape = stiff * run.metric.hessian(CAREFUL)
        # Of the gradient at hand: what residuals scatter, and what the adjoint adds to it.
        doubt = shape * noise + np.diag(np.mean(scatter[-3:], 0) / spp + 1e-6 * noise)
        trust = np.linalg.solve(doubt, shape).T
        told_before, worth = kept * told_before + trust @ shape, kept * worth + 1
        pull = trust @ np.mean(pair, 0) + (at.u - start) / PRIOR**2 / worth
        move = _damped(told_before + np.eye(len(start)) / PRIOR**2, pull, reach)
        new = _looked(problem, at.u + move, spp, seed + 10 * step + 3)
        run.history.append({"step": step + 1, "loss": np.nan if new is None else new.loss, "spp": spp})
        if new is not None:
            stiff = _stiffness(stiff, at, new, float(move @ run.metric.hessian() @ move))
        if new is not None and _worse(new, run.best):
            # The best of many looks is a lucky one: by itself it would turn all that follow away.
            run.best = _looked(problem, run.best.u, spp, seed + 10 * step + 4) or run.best
        if new is None or _worse(new, run.best):
            lost, reach, at = lost + 1, reach / 2, run.best
            if lost == LOSSES:
                run.stopped = "diverged"
                return
            continue
        reach, at = min(REACH, 1.5 * reach), new
        run.way.append(new.u)
        if new.loss < run.best.loss + 2 * np.hypot(new.error, run.best.error):
            run.best, lost = new, 0  # of two alike the later one, which was seen with more samples
        told(at)


def _worse(new: State, best: State) -> bool:
    """Whether a step lost, by more than both losses' noise."""
    return bool(new.loss > 1.2 * max(best.loss, 0.0) + 4 * np.hypot(new.error, best.error))


def _damped(shape: np.ndarray, pull: np.ndarray, reach: float) -> np.ndarray:
    """(P,) the step -shape⁻¹ pull, damped (Levenberg) until no coordinate exceeds `reach`.

    A direction that is hardly seen is held back alone: shortening the whole step would stop the others too.
    """
    values, vectors = np.linalg.eigh((shape + shape.T) / 2)
    along, damping = vectors.T @ pull, 0.0
    while True:
        move = -vectors @ (along / (values + damping))
        if np.abs(move).max() <= reach or not np.isfinite(move).all():
            return np.asarray(move)
        damping = max(2 * damping, float(values.min()))


def _stiffness(before: float, at: State, new: State, foreseen: float) -> float:
    """By how much the residuals change more than the Jacobian by blocks foresaw, which does not see fine detail.

    foreseen: the sum of squares of their change. What drowns in noise lets it fall back to 1.
    """
    change = new.residuals - at.residuals
    unsure = 4 * float(np.hypot(new.error, at.error)) * float(new.weight.sum())
    if foreseen < unsure:
        return 1 + 0.6 * (before - 1)
    return max(1.0, (before + float((new.weight * change[0] * change[1]).sum()) / foreseen) / 2)


def _looked(problem: Problem, u: np.ndarray, spp: int, seed: int) -> State | None:
    """The state at a point; None where there is none: no numbers, or values that the scene does not take."""
    if not np.isfinite(u).all():
        return None
    try:
        state = problem.at(u, spp, seed)
    except UserError as error:
        if getattr(error, "code", "") == "STOPPED":
            raise
        return None
    return state if np.isfinite(state.loss) and np.isfinite(state.residuals).all() else None


def _seed(seed: int, use: int) -> int:
    """Another one for every use."""
    return seed * 1_000_003 + use * 10_007


def _checked(views: Sequence[Scene], photographs: np.ndarray, statistics: bool) -> np.ndarray:
    """Raises UserError where photographs and views do not belong together."""
    if not views:
        raise UserError("there is no view to fit", "INVALID_VALUE")
    size = {(v.camera.height, v.camera.width) for v in views}
    if len(size) > 1:
        raise UserError("views of one fit have one size", "INVALID_VALUE")
    shape = np.shape(photographs)
    wanted = "(pixels, 3)" if statistics else f"{(len(views), *size.pop(), 3)}"
    good = len(shape) == 2 and shape[1] == 3 if statistics else str(shape) == wanted
    if not good or np.asarray(photographs).dtype != np.uint8:
        raise UserError(f"photographs must be {wanted} of 8 bits, got {shape}", "INVALID_VALUE")
    return np.asarray(photographs)
