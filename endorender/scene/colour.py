"""Colours of light: a colour temperature as linear sRGB."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

COOLEST, HOTTEST = 1667.0, 25000.0  # kelvin; where the fit of the Planckian locus holds

# IEC 61966-2-1, D65 white.
RGB_FROM_XYZ = np.array(
    [[3.2406255, -1.5372080, -0.4986286], [-0.9689307, 1.8757561, 0.0415175], [0.0557101, -0.2040211, 1.0569959]]
)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def planckian_xy(kelvin: float) -> tuple[float, float]:
    """CIE 1931 chromaticity of a black body, 1667-25000 K.

    The cubic fit of Kang et al. 2002, Design of advanced color-temperature control system for HDTV applications,
    J. Korean Phys. Soc. 41(6), 865-871.
    """
    m = 1000 / kelvin
    if kelvin < 4000:
        x = ((-0.2661239 * m - 0.2343589) * m + 0.8776956) * m + 0.179910
    else:
        x = ((-3.0258469 * m + 2.1070379) * m + 0.2226347) * m + 0.240390
    if kelvin < 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin < 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return x, y


@functools.cache
def planckian(kelvin: float) -> Float[np.ndarray, " 3"]:
    """(3,) linear sRGB of a black body, scaled to luminance 1 so that it tints a light without changing its strength.

    Below about 1900 K the blue of sRGB would be negative; it is 0 there.
    """
    x, y = planckian_xy(kelvin)
    rgb = np.maximum(RGB_FROM_XYZ @ [x / y, 1.0, (1 - x - y) / y], 0)
    return rgb / (rgb @ LUMINANCE)
