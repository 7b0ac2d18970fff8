"""What of an experiment is done, and by whom: parts of it, one after another or in several processes side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from endorender.errors import UserError
from training.kept import Errors, gathered
from training.study import Key, Network, Plan, Study

WAIT_S = 30  # before what other processes are at is looked at again
T = TypeVar("T")


def work(
    study: Study, plan: Plan, until: str = "answer", settings: Sequence[str] = (), seeds: Sequence[int] = ()
) -> int:
    """Does what is missing of a part: these settings and seeds (all), until "render", "train", "evaluate".

    Other processes may work in the folder: what one of them is making is left to the last, and waited for.
    Returns how many networks are still to be judged on some test, of the whole experiment.
    """
    if until == "render":
        _each(study, plan.datasets, study.frames)
    else:

        def finish(network: Network) -> None:
            missing = [test for test in plan.tests if not study.table(network, test).is_file()]
            if missing and until == "train":
                study.run(network, plan)
            for test in missing if until != "train" else ():
                study.judge(network, test, plan)

        _each(study, chosen(study, plan, settings, seeds), finish)
    return sum(any(not study.table(n, test).is_file() for test in plan.tests) for n in chosen(study, plan))


def _each(study: Study, things: Sequence[T], do: Callable[[T], object]) -> None:
    """Does all things, first those that no other process is at."""
    left = list(things)
    while left:
        taken = []
        for thing in left:
            try:
                do(thing)
            except UserError as error:
                if error.code != "LOCKED":
                    raise
                taken.append(thing)
        if len(taken) == len(left):
            with study.stage("wait for another process") as progress:
                for second in range(WAIT_S):
                    progress(second, WAIT_S, "")
                    time.sleep(1)
        left = taken


def chosen(study: Study, plan: Plan, settings: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Network]:
    """Networks of these settings and seeds (all), seed by seed."""
    numbers = seeds or range(study.preset.seeds)
    return [n.of_seed(s) for s in numbers for n in plan.networks.values() if not settings or n.setting in settings]


def errors(study: Study, plan: Plan) -> dict[tuple[Key, str], Errors]:
    """Everything that was judged, by arm and test."""
    found = {}
    for test in plan.tests:
        for key, network in plan.networks.items():
            paths = [study.table(network.of_seed(seed), test) for seed in range(study.preset.seeds)]
            found[key, test] = gathered(paths)
        if len({tuple(found[key, test].frames) for key in plan.networks}) > 1:
            raise UserError(f"networks were judged on different frames of {test}: evaluate them again", "MIXED_DATA")
    return found
