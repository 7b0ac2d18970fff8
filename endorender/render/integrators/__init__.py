"""Path loops, one file each: `volpath` (fast), `volpath_simple` (its readable oracle, apart on purpose), `adjoint`.

All solve the same equation; none calls another. A further one is a file here that registers its class, or a class that
is registered elsewhere: `endorender.render.radiance(..., integrator=NAME)` finds it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from endorender.render.transport.film import Radiance
    from endorender.scene.scene import Scene

Progress = Callable[[float], None]


class Integrator(Model):
    """What every integrator is: parameters, and how it traces a view."""

    shares: ClassVar[bool] = False  # whether one set of paths carries several conditions

    def trace(
        self, scenes: Sequence[Scene], spp: int, seed: int, frame: int = 0, progress: Progress | None = None
    ) -> list[Radiance]:
        """The picture of each condition; one alone unless it `shares`. The same seed and frame give the same bytes."""
        raise NotImplementedError


class _OfThisRoom(Registry):
    """Imports the room's files when a name is looked up and not before: they load Taichi."""

    def __iter__(self) -> Iterator[str]:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
        return super().__iter__()

    def __getitem__(self, name: str) -> type:
        if name in {module.name for module in pkgutil.iter_modules(__path__)}:
            importlib.import_module(f"{__name__}.{name}")
        return super().__getitem__(name)


integrators = _OfThisRoom("integrator")
