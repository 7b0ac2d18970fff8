"""What users choose from: integrators with their parameters. The loops themselves, each in a file of this room, load
Taichi; they are read when a view is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from endorender.render.transport.film import Radiance
    from endorender.render.transport.noise import Noise
    from endorender.scene.scene import Scene

Progress = Callable[[float], None]
integrators = Registry("integrator")


class Integrator(Model):
    """What every integrator is: parameters, and how it traces a view."""

    shares: ClassVar[bool] = False  # whether one set of paths carries several conditions
    adapts: ClassVar[bool] = False  # whether `trace` takes `noise`, by which pixels take no more samples than they need

    def trace(
        self, scenes: Sequence[Scene], spp: int, seed: int, frame: int = 0, progress: Progress | None = None
    ) -> list[Radiance]:
        """The picture of each condition; one alone unless it `shares`. The same seed and frame give the same bytes."""
        raise NotImplementedError


@integrators.register("volpath", cases=[{}, {"roulette": 0.2}])
class Volpath(Integrator):
    """Fast: local majorants, next-event estimation with MIS, Russian roulette; several looks from one set of paths."""

    shares: ClassVar[bool] = True
    adapts: ClassVar[bool] = True
    roulette: float | None = Field(None, ge=0, description="throughput below which paths are thinned; null: measured")

    def trace(
        self,
        scenes: Sequence[Scene],
        spp: int,
        seed: int,
        frame: int = 0,
        progress: Progress | None = None,
        noise: Noise | None = None,
    ) -> list[Radiance]:
        """Of all conditions at once."""
        from endorender.render.integrators import volpath

        return volpath.traced(scenes, spp, seed, frame, progress, self.roulette, noise)


@integrators.register("volpath_simple")
class VolpathSimple(Integrator):
    """Slow and plain: one global majorant, no MIS, no roulette. What `volpath` is held against."""

    def trace(
        self, scenes: Sequence[Scene], spp: int, seed: int, frame: int = 0, progress: Progress | None = None
    ) -> list[Radiance]:
        """Of the one condition."""
        from endorender.render.integrators import volpath_simple

        return [volpath_simple.radiance_simple(scenes[0], spp, seed, frame, progress)]


@integrators.register("adjoint", cases=[{}, {"smooth_pixels": True}])
class Adjoint(Integrator):
    """The walk of the gradients, without noting any; it leaves out what they do not cover."""

    smooth_pixels: bool = Field(False, description="weigh light by a B-spline three pixels wide instead of a box")

    def trace(
        self, scenes: Sequence[Scene], spp: int, seed: int, frame: int = 0, progress: Progress | None = None
    ) -> list[Radiance]:
        """Of the one condition."""
        from endorender.render.integrators import adjoint

        return [adjoint.traced(scenes[0], spp, seed, frame, progress, self.smooth_pixels)]
