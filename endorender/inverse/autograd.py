"""`render`: a picture as a function of torch tensors, for any torch optimiser and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from endorender.errors import UserError
from endorender.inverse import parameters
from endorender.render.images.gradient import gradient, picture
from endorender.scene.scene import Scene


def render(
    scene: Scene | Sequence[Scene],
    params: Mapping[str, torch.Tensor],
    spp: int,
    seed: int,
    *,
    independent: bool = True,
    smooth_pixels: bool | None = None,
) -> torch.Tensor:
    """(H, W, 3) linear radiance of a scene, or (B, H, W, 3) of B views, with gradients for `params`.

    scene: what is not in `params` stays as it is there. params: by the names of `inverse.parameters`; shared by all
    views but for those of `camera`, which have a leading axis of B when a sequence of scenes is given. spp: samples per
    pixel, of the picture and again of its gradient. seed: take another one at every step of an optimiser.

    independent: whether the gradient is estimated from samples of its own. The loss's derivative is taken at a noisy
    picture; if the gradient's samples were the same, their noise would multiply that one's, and the product would not
    average to the product of the averages. For L2 independent samples make the gradient unbiased; the bias without
    them falls with 1 / spp. A linear loss does not care. False shares the samples.

    smooth_pixels: weigh light by a quadratic B-spline three pixels wide instead of a box; None: where `params` holds
    one of `camera`, whose gradient needs it. A target to be compared needs the same filter.
    """
    several = not isinstance(scene, Scene)
    views = list(scene) if not isinstance(scene, Scene) else [scene]
    if not views:
        raise UserError("there is no view to render", "INVALID_VALUE")
    if smooth_pixels is None:
        smooth_pixels = any(name.startswith("camera.") for name in params)
    job = _Job(views, tuple(params), several, spp, seed, independent, smooth_pixels)
    out = _Render.apply(job, *params.values())
    return out if several else out[0]


@dataclass(frozen=True)
class _Job:
    views: list[Scene]
    names: tuple[str, ...]
    several: bool
    spp: int
    seed: int
    independent: bool
    smooth_pixels: bool

    def values(self, tensors: Sequence[torch.Tensor]) -> list[dict[str, np.ndarray]]:
        """Of each view."""
        host = {name: x.detach().cpu().double().numpy() for name, x in zip(self.names, tensors)}
        for name, value in host.items():
            if self.of_view(name) and value.shape[:1] != (len(self.views),):
                raise UserError(f"{name} needs a value for each of {len(self.views)} views", "INVALID_VALUE")
            if not np.isfinite(value).all():
                raise UserError(f"{name} holds a number that is not finite", "INVALID_VALUE")
        return [
            {name: value[i] if self.of_view(name) else value for name, value in host.items()}
            for i in range(len(self.views))
        ]

    def of_view(self, name: str) -> bool:
        """Whether each view has a value of its own."""
        return self.several and name.startswith("camera.")


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: torch.Tensor) -> torch.Tensor:
        each = job.values(tensors)
        scenes = [parameters.apply(view, values) for view, values in zip(job.views, each)]
        pictures = [picture(scene, job.spp, job.seed, 2 * i, job.smooth_pixels).mean for i, scene in enumerate(scenes)]
        if len({p.shape for p in pictures}) > 1:
            raise UserError("views of one batch have one size", "INVALID_VALUE")
        ctx.job, ctx.each, ctx.scenes = job, each, scenes
        ctx.ambient = [max(float(p.mean()), 0.0) for p in pictures]
        ctx.like = [(x.dtype, x.device) for x in tensors]
        return torch.from_numpy(np.stack(pictures))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        job: _Job = ctx.job
        asked = [name for name, needs in zip(job.names, ctx.needs_input_grad[1:]) if needs]
        sums: dict[str, Any] = {name: [] for name in asked}
        by_picture = weights.detach().cpu().double().numpy()
        for i, (scene, values) in enumerate(zip(ctx.scenes, ctx.each)):
            found = gradient(
                scene,
                by_picture[i],
                parameters.wanted(scene, asked),
                job.spp,
                job.seed,
                2 * i + job.independent,
                job.smooth_pixels,
                ctx.ambient[i],
            )
            for name, value in parameters.chain(job.views[i], values, found, asked).items():
                sums[name].append(value)
        out: list[torch.Tensor | None] = []
        for name, (dtype, device) in zip(job.names, ctx.like):
            if name not in sums:
                out.append(None)
                continue
            joined = np.stack(sums[name]) if job.of_view(name) else np.sum(sums[name], 0)
            out.append(torch.as_tensor(joined, dtype=dtype, device=device))
        return (None, *out)
