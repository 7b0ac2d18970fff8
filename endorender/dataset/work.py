"""The views that are still to be rendered, and what renders one: the same in this process and on a cluster."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from functools import partial

from endorender.dataset import background
from endorender.dataset.config import RenderConfig
from endorender.dataset.frame import frame_id
from endorender.dataset.negative import Negative
from endorender.dataset.patient import Hashes, Ready, Report, prepare
from endorender.dataset.view import render_view
from endorender.dataset.warm_up import warm_up
from endorender.dataset.writer import Made, Writer
from endorender.errors import UserError, interrupted

MOST_DEATHS = 3  # of processes over one view: then it is given up


@dataclass(frozen=True)
class Unit:
    """What a worker does at a time. names: variations of the view. fresh: its geometry is not on disk yet."""

    patient: str
    view: int
    names: tuple[str, ...]
    fresh: bool


@dataclass(frozen=True)
class Failed:
    """Frames that could not be rendered, and why. told: what may be said of it in outputs."""

    unit: Unit
    error: Exception
    code: str
    told: str

    @classmethod
    def of(cls, unit: Unit, error: Exception) -> Failed:
        """Others' messages may hold anything, a path among them: their kind must do."""
        told = str(error) if isinstance(error, UserError) else type(error).__name__
        return cls(unit, error, getattr(error, "code", "BUG"), told)


Outcome = Made | Failed


class Work:
    """The views that are still to be rendered, handed out one by one.

    missing: ids of the frames that are wanted. A worker stays with a patient while there are views left, and prefers
    one that nobody has: to read a CT and to find its lumen takes as long as many frames. left: views not handed out.
    """

    def __init__(self, config: RenderConfig, writer: Writer, missing: Collection[str]):
        self.config, self._writer, self._missing = config, writer, missing
        columns = [v.name for v in config.columns]
        self._left = {
            p.alias: deque(
                n
                for n in range(config.views_of(p.alias))
                if any(frame_id(p.alias, n, name) in missing for name in columns)
            )
            for p in config.ct
        }
        self.left = sum(map(len, self._left.values()))
        self._open: dict[Hashable, str] = {}  # worker -> the patient of its last view
        self._deaths: Counter[tuple[str, int]] = Counter()
        rows = writer.rows.values()
        self.known = {row.patient: Hashes(row.ct_sha256, row.labels_sha256, row.label_sha256) for row in rows}

    def take(self, worker: Hashable) -> Unit | None:
        """The next view for this worker, or None when all are handed out."""
        alias = self._open.get(worker)
        if not (alias and self._left[alias]):
            left = [a for a, views in self._left.items() if views]
            if not left:
                return None
            self._open.pop(worker, None)
            crowds = Counter(self._open.values())
            # Where every patient is open somewhere, help where most is left for each.
            alias = min(left, key=lambda a: -len(self._left[a]) / (crowds[a] + 1) if crowds[a] else float("-inf"))
            self._open[worker] = alias
        self.left -= 1
        return self._unit(alias, self._left[alias].popleft())

    def _unit(self, alias: str, n: int) -> Unit:
        names = [v.name for v in self.config.columns]
        ids = {name: frame_id(alias, n, name) for name in names}
        wanted = tuple(name for name in names if ids[name] in self._missing and ids[name] not in self._writer.rows)
        return Unit(alias, n, wanted, self._writer.geometry_of(alias, n) is None)

    def leave(self, worker: Hashable) -> None:
        """This worker is no more."""
        self._open.pop(worker, None)

    def put_back(self, unit: Unit, died: bool) -> Failed | None:
        """A view whose worker is no more. died: while it was rendering it. Comes to nothing when that was too often."""
        place = unit.patient, unit.view
        self._deaths[place] += died
        rest = self._unit(*place)
        if not rest.names:
            return None
        if self._deaths[place] < MOST_DEATHS:
            self._left[unit.patient].appendleft(unit.view)
            self.left += 1
            return None
        told = f"the process that rendered it ended {MOST_DEATHS} times (out of memory?)"
        return Failed.of(rest, UserError(told, "WORKER_DIED"))


class Renderer:
    """Renders units; the patient of the last one stays ready. known: what finished frames were rendered from.

    start: starts the device. The first patient's CT is read and its lumen found while that happens and kernels are
    compiled: both take seconds.
    """

    def __init__(self, config: RenderConfig, known: dict[str, Hashes], start: Callable[[], None] | None = None):
        self.config, self._known, self._start = config, known, start
        self._ready: Ready | None = None

    def render(self, unit: Unit, report: Report) -> Iterator[Negative | Failed]:
        """Frames as their light is traced, to be `developed`. What is no matter of single frames is raised: a CT that
        cannot be read, a full disk or memory, being stopped."""
        if self._ready is None or self._ready.alias != unit.patient:
            self._ready = None  # two CTs at once may not fit into memory
            self._ready = self._prepared(unit, report)
        try:
            yield from render_view(self._ready.view(unit.view), unit.names, unit.fresh, partial(_said, report, unit))
        except Exception as error:
            yield _failed(unit, error)

    def _prepared(self, unit: Unit, report: Report) -> Ready:
        call = partial(prepare, self.config, unit.patient, self._known.get(unit.patient))
        start, self._start = self._start, None
        if start is None:
            return call(report)
        if not background.possible():
            start()
            return call(report)
        coming = background.Background(call)
        report(0, f"{unit.patient}: reading the CT and compiling")
        start()
        warm_up(self.config, unit.names)
        return coming.result(report)


def developed(unit: Unit, negative: Negative) -> Outcome:
    """The frame, ready to be written, or that it failed."""
    try:
        return negative.developed()
    except Exception as error:
        return _failed(unit, error)


def _failed(unit: Unit, error: Exception) -> Failed:
    """What is no matter of single frames is raised again."""
    if interrupted(error):
        raise KeyboardInterrupt from error
    stopped = isinstance(error, UserError) and error.code == "STOPPED"
    if isinstance(error, (OSError, MemoryError)) or stopped:
        raise error
    return Failed.of(unit, error)


def _said(report: Report, unit: Unit, fraction: float) -> None:
    report(fraction, f"{unit.patient}: view {unit.view}")
