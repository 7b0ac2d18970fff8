"""Rendering by several processes, of this machine or of a Ray cluster.

The process that was asked for the dataset holds its lock and writes all of it. Workers are Ray actors: each keeps a
CT and compiled kernels ready, renders one view after the other and sends whole files, so that they need share no disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from endorender.dataset.config import RenderConfig
from endorender.dataset.patient import Report
from endorender.dataset.work import Failed, Outcome, Unit, Work
from endorender.dataset.worker import Said, Stop, Worker
from endorender.errors import Notice, UserError, plain
from endorender.generator import generator

AHEAD = 2  # views that a worker has at a time: one to render, one so that it need not wait for the next
MOST_STARTS = 3  # of a worker that dies before it has finished a view
WAIT = 0.2  # s between two looks at whether Ctrl-C was pressed
ANSWER = 30  # s that a cluster has to say that it is there
FAREWELL = 10  # s for workers to save their kernels


def spread(
    work: Work, report: Report, workers: int | None = None, address: str | None = None
) -> Generator[Outcome, None, None]:
    """Render everything with this many workers. address: of a cluster, or "auto"; None: on this machine."""
    ray = _ray()
    on_gpus = work.config.device == "cuda"
    if address is None and not on_gpus:
        shares({"here": _cores()}, workers)  # a wrong number is said before Ray starts
    with _connected(ray, address):
        nodes = {n["NodeID"]: int(n["Resources"].get("GPU" if on_gpus else "CPU", 0)) for n in _alive(ray)}
        team = deque(_Member(ray, work, node, None if on_gpus else n) for node, n in shares(nodes, workers, on_gpus))
        try:
            yield from _rendered(ray, work, report, team)
            ray.wait([m.actor.stop.remote() for m in team], num_returns=len(team), timeout=FAREWELL)
        finally:
            for member in team:
                member.end()


def shares(nodes: Mapping[str, int], workers: int | None, on_gpus: bool = False) -> list[tuple[str, int]]:
    """Where workers run and with how many threads each: [(node, threads)].

    nodes: cores (or GPUs) by node. workers: by default one a node, which uses all of its cores; of GPUs one for each.
    """
    total, what = sum(nodes.values()), "GPUs" if on_gpus else "cores"
    wanted = (total if on_gpus else sum(n > 0 for n in nodes.values())) if workers is None else workers
    if not 0 < wanted <= total:
        raise UserError(f"{wanted} workers for {total} {what}: --workers is at least 1 and at most {total}", "WORKERS")
    given = dict.fromkeys(nodes, 0)
    for _ in range(wanted):
        # First one for each node, so that no core is idle; then where each has most.
        useful = [node for node in nodes if given[node] < nodes[node]]
        given[max(useful, key=lambda node: (not given[node], nodes[node] / (given[node] + 1)))] += 1
    return [(node, nodes[node] // count) for node, count in given.items() for _ in range(count)]


class _Member:
    """A worker as it is seen from here. given: views that it was sent, each with the stream of its answers."""

    def __init__(self, ray: Any, work: Work, node: str, threads: int | None):
        self._ray, self._work, self.node, self._threads = ray, work, node, threads
        self.given: deque[tuple[Unit, Any]] = deque()
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Begin a process for it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.starts += 1
        place = NodeAffinitySchedulingStrategy(self.node, soft=False)
        gpus, cpus = (1, 1) if self._threads is None else (0, self._threads)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "scheduling_strategy": place}
        self.actor = self._ray.remote(Worker).options(**options).remote(_absolute(self._work.config), self._work.known)
        self.starting = self.actor.start.remote(self._threads, generator())

    @property
    def next(self) -> Any:
        """What is to be heard next of it, or None."""
        return self.starting or (self.given[0][1] if self.given else None)

    def feed(self, most: int) -> None:
        """Send it views until it has that many."""
        while not self.starting and len(self.given) < most and (unit := self._work.take(self)):
            self.given.append((unit, self.actor.render.remote(unit)))

    def hear(self) -> Outcome | Stop | Said | None:
        """What it says next; None at the end of a view. Raises Ray's errors where it is no more."""
        if self.starting:
            said = self._ray.get(self.starting)
            self.starting = None
            return said
        try:
            return self._ray.get(next(self.given[0][1]))
        except StopIteration:
            self.given.popleft()
            self.starts = 0
            return None

    def end(self) -> None:
        """End its process, if there is one."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self.actor)

    def lost(self) -> Iterator[Failed]:
        """It is no more: others take its views. Gives what comes to nothing by that."""
        warnings.warn("a worker ended before its time; its views are rendered again", Notice, stacklevel=2)
        self._work.leave(self)
        self.end()  # where it only does not answer
        while self.given:
            unit, _ = self.given.pop()
            if failed := self._work.put_back(unit, died=not self.given):
                yield failed


def _rendered(ray: Any, work: Work, report: Report, team: deque[_Member]) -> Iterator[Outcome]:
    """What all of them make, until nothing is left."""
    while True:
        for most in range(1, AHEAD + 1):
            for member in team:
                if most == 1 or work.left > len(team):  # near the end nobody keeps what another could begin
                    member.feed(most)
        if not any(m.given for m in team) and not work.left:
            return
        if not team:
            raise UserError(
                "no worker is left: is endorender installed on every node, and is there memory for each worker's CT? "
                "--resume continues",
                "NO_WORKERS",
            )
        waiting = {member.next: member for member in team if member.next is not None}
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=WAIT)
        idle = sum(m.starting is not None for m in team)
        report(0, f"{len(team) - idle} workers" + (f", {idle} starting" if idle else ""))
        for member in (waiting[r] for r in ready):
            team.remove(member)
            team.append(member)  # the others' turn first
            try:
                heard = member.hear()
            except ray.exceptions.RayError:
                yield from member.lost()
                if member.starts < MOST_STARTS and member.node in {n["NodeID"] for n in _alive(ray)}:
                    member.start()
                else:
                    team.remove(member)
                continue
            if isinstance(heard, Stop):
                raise heard.error
            if isinstance(heard, Said):
                warnings.warn(heard.text, Notice, stacklevel=2)
            elif heard is not None:
                yield heard


def _absolute(config: RenderConfig) -> RenderConfig:
    """With paths that mean the same from another folder."""
    cts = [p.model_copy(update={"ct": os.path.abspath(p.ct)}) if p.source == "file" else p for p in config.ct]
    masks = {name: tuple(map(os.path.abspath, getattr(config, name))) for name in ("label", "labels")}
    return config.model_copy(update={"ct": tuple(cts), **masks})


def _alive(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _ray() -> Any:
    # Nothing is to be told to Ray's makers; it is looked at when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "several workers and clusters need Ray: pip install 'endorender[cluster]'", "MISSING_EXTRA"
        ) from None
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Within a cluster: the caller's own if there is one, or that at the address, or one of this machine for as long as
    it is needed."""
    if address is not None:
        _answers(address)
    if ray.is_initialized():
        if address is not None:
            raise UserError("this process belongs to a Ray cluster already: give no address", "CONNECTED")
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", "0")  # else workers give way to every other process, unlike this one
    if address is None and "RAY_AUTH_MODE" not in os.environ:
        # Ray would make a token and leave it at home, where it changes how clusters that are started later behave.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    here = {"address": "local", "num_cpus": _cores(), "include_dashboard": False}
    with _discreet(ray):
        try:
            ray.init(**({"address": address} if address else here), log_to_driver=False, configure_logging=False)
        except Exception as error:  # a start that takes too long is a bare one, others are gRPC's or Ray's own
            with contextlib.suppress(Exception):
                ray.shutdown()  # what has started already
            told = plain(" ".join(str(error).split())[:200])
            raise UserError(
                f"no Ray cluster can be joined at {address or 'this machine'}: {told}", "NO_CLUSTER"
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


def _answers(address: str) -> None:
    """Refuse an address at which no Ray is."""
    if address == "auto":
        return
    match = re.fullmatch(r"\[?([^\s/]+?)\]?:(\d{1,5})", address)
    if not match:
        raise UserError(f"a cluster is HOST:PORT, or auto on one of its own machines, got {address}", "INVALID_VALUE")
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        socket.create_connection((match[1], int(match[2])), timeout=5).close()
        # Somebody is there, who may be no Ray: of that Ray only says something after minutes.
        subprocess.run(asked, check=True, timeout=ANSWER, capture_output=True)
    except (OSError, OverflowError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or "if it asks for a token: RAY_AUTH_MODE=token"
        told = f"no Ray cluster of this version answers at {address} ({reason}): `ray status` on its head says where"
        raise UserError(told, "NO_CLUSTER") from None


@contextlib.contextmanager
def _discreet(ray: Any) -> Iterator[None]:
    """Ray shows the command line of whoever joins to all users of a cluster, and a CT's path may be in it. What it has
    to say of nodes and processes it prints among our results."""
    internal = ray._private
    replaced = (
        (internal.utils, "get_entrypoint_name", lambda: "endorender"),
        (internal.worker, "print_to_stdstream", lambda *said, **how: None),
    )
    logger = logging.getLogger("ray")
    level, before = logger.level, [getattr(home, name) for home, name, _ in replaced]
    logger.setLevel(logging.ERROR)
    for home, name, other in replaced:
        setattr(home, name, other)
    try:
        yield
    finally:
        logger.setLevel(level)
        for (home, name, _), real in zip(replaced, before):
            setattr(home, name, real)


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
