"""What a scope's lens and video do to a picture besides the tone: defocus, vignette, noise of colour.

All work on planes, (C, H, W), in the precision that they are given.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

SPREAD_OF_DISC = 4.0  # diameter of an even disc over its standard deviation along one axis
LEVELS = 6  # of ever wider pictures, up to a standard deviation of 26 pixels


def circle_of_confusion(
    z_depth: Float[np.ndarray, "H W"], focal: float, focus: float, aperture: float
) -> Float[np.ndarray, "H W"]:
    """(H, W) mm -> diameter in pixels of the disc into which a thin lens spreads a point: f A |1/z - 1/focus|.

    focal: length in pixels. focus: the sharp distance along z, aperture: the lens's diameter, mm. 0 where no depth is.
    """
    z = np.asarray(z_depth)
    known = np.isfinite(z) & (z > 0)
    spread = focal * aperture * np.abs(1 / np.where(known, z, focus) - 1 / focus)
    return np.asarray(np.where(known, spread, 0)).astype(z.dtype, copy=False)


def defocused(
    light: Float[np.ndarray, "C H W"], diameter: Float[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"] | None = None
) -> Float[np.ndarray, "C H W"]:
    """(C, H, W) spread by a disc of `diameter` (H, W) pixels, each place by its own.

    The picture is smoothed in steps (1 2 1, its taps twice as far apart in each, as in the à-trous transform:
    Holschneider et al. 1989), and each place takes the mix of two steps that has its variance, (diameter / 4)². What
    lies nearer than a blurred wall is not told apart from it. mask: (H, W) bool, where light comes from; the rest
    stays as it is.
    """
    wanted = np.square(diameter / diameter.dtype.type(SPREAD_OF_DISC))
    largest = float(wanted.max())
    if largest <= 0:
        return light
    weight = None if mask is None or mask.all() else mask.astype(light.dtype)
    smooth = light if weight is None else light * weight
    shown, out = light, light.copy()
    variance, step = 0.0, 1
    for _ in range(LEVELS):
        if variance >= largest:
            break
        smooth = _smoothed(smooth, step)
        if weight is not None:
            weight = _smoothed(weight[None], step)[0]
        wider = smooth if weight is None else smooth / np.maximum(weight, 1e-6)
        gained = step * step / 2
        share = np.clip((wanted - variance) * (1 / gained), 0, 1).astype(light.dtype, copy=False)
        out += share * (wider - shown)
        shown, variance, step = wider, variance + gained, 2 * step
    return out if mask is None else np.where(mask, out, light)


def _smoothed(planes: np.ndarray, step: int) -> np.ndarray:
    """Rows and columns by (1 2 1) / 4 with taps `step` apart; edges go on as they end. Adds step² / 2 of variance."""
    for axis in (1, 2):
        reach = min(step, planes.shape[axis])
        part = 0.25 * planes
        planes = part + part
        ahead, behind, first, last = (
            (slice(None),) * axis + (cut,)
            for cut in (slice(reach, None), slice(None, -reach), slice(None, reach), slice(-reach, None))
        )
        planes[ahead] += part[behind]
        planes[first] += part[(slice(None),) * axis + (slice(0, 1),)]
        planes[behind] += part[ahead]
        planes[last] += part[(slice(None),) * axis + (slice(-1, None),)]
    return planes


@functools.lru_cache(maxsize=16)
def _radius(height: int, width: int) -> np.ndarray:
    """(H, W) float32: squared distance from the centre, 1 in the corners."""
    y, x = np.mgrid[:height, :width]
    y, x = (a - (n - 1) / 2 for a, n in ((y, height), (x, width)))
    found = np.asarray((x * x + y * y) / max((((height - 1) / 2) ** 2 + ((width - 1) / 2) ** 2), 1e-9), np.float32)
    found.flags.writeable = False
    return found


def vignette(height: int, width: int, lost: float) -> Float32[np.ndarray, "{height} {width}"]:
    """(H, W) float32: share of the light that is left, 1 in the centre and 1 - lost in the corners."""
    return np.asarray(1 - np.float32(lost) * _radius(height, width))


def coloured(noise: Float[np.ndarray, "2 h w"], height: int, width: int) -> Float[np.ndarray, "3 {height} {width}"]:
    """Noise of colour as video has it, whose colour has half the resolution of its brightness: no change of luma.

    noise: (2, at least H/2, at least W/2) of Cb and Cr -> (3, H, W) to be added to R, G, B (ITU-R BT.709).
    """
    cb, cr = (n.repeat(2, 0).repeat(2, 1)[:height, :width] for n in noise)
    return np.stack([1.5748 * cr, -0.1873 * cb - 0.4681 * cr, 1.8556 * cb])
