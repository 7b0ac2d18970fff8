"""A package outside endorender that brings one of each model: installed, its names are known everywhere.

What makes it a plugin is its entry point, as setup.cfg has it:

    [options.entry_points]
    endorender.plugins =
        fibrescope = fibrescope_lab
"""

from fibrescope_optics import Fog, Linear, Matte, Overhead, Pair
from pydantic import Field

from endorender.dataset.layouts.layout import Layout, layouts
from endorender.render.integrators import integrators
from endorender.scene import Tissue, cameras, lights, phase_functions, tissues
from endorender.scene.surface import coats
from training.losses import DepthLoss, losses
from training.models import models
from training.models.unet import UNet
from training.protocols import Ranged, protocols

phase_functions.register("linear")(Linear)
lights.register("pair")(Pair)
cameras.register("overhead")(Overhead)


@tissues.register("wax")
class Wax(Tissue):
    """Wax: grey, dense, of one phase function."""

    sigma_t: tuple[float, ...] = Field((0.0, 5.0, 5.0, 5.0), description="extinction, mm⁻¹")
    albedo: tuple[tuple[float, float, float], ...] = Field(((0.9, 0.9, 0.9),) * 4, description="single-scattering")
    phase: phase_functions.field() = Linear()


coats.register("matte")(Matte)
integrators.register("fog")(Fog)


@layouts.register("names")
class Names(Layout):
    """A file for each split with the names of its frames."""

    def write(self, splits, out):
        """See Layout."""
        for split, frames in splits:
            (out / f"{split}.txt").write_text("".join(f"{frame.id}\n" for frame in frames), encoding="utf-8")


@models.register("thin")
class Thin(UNet):
    """The smallest `unet`."""

    width: int = Field(8, ge=8, le=256, multiple_of=8)
    levels: int = Field(2, ge=2, le=6)


@losses.register("squared")
class Squared(DepthLoss):
    """The mean of squared errors, mm²."""

    def __call__(self, prediction, truth, mask):
        return ((prediction - truth)[mask] ** 2).mean()


@protocols.register("mean")
class Mean(Ranged):
    """One scale for each image: that of the means."""

    def alignment(self, p, t):
        """Scale, and no shift."""
        return float(t.mean() / p.mean()), 0.0
