"""The four conditions of Mahmood et al. 2018, Figs. 1 and 4: a tissue and a camera response each.

The paper does not publish its parameters. These are our choice, fitted to figures measured on its printed panels
(PANELS) over a gallery of phantom views (`endorender gallery` prints the comparison). The tone curves are steep, since
a phantom's views hold less contrast between near and far walls than the panels do. `mucosa_physical` has no panel.
"""

from __future__ import annotations

from dataclasses import dataclass

from endorender.scene.physical import MucosaPhysical
from endorender.scene.response import Response
from endorender.scene.tissue import DarkRed, DeepRed, PalePink, Tissue, YellowTan


@dataclass(frozen=True)
class Panel:
    """Figures measured on a printed panel, 8-bit sRGB.

    luminance: at 2, 10, 50, 90 and 98 %. lit: mean colour from the 60th to the 95th percentile of luminance.
    dark: of the lumen.
    """

    luminance: tuple[float, float, float, float, float]
    lit: tuple[float, float, float]
    dark: tuple[float, float, float]


PANELS = {
    "yellow_tan": Panel((32, 47, 90, 227, 247), (203, 173, 133), (55, 35, 20)),
    "pale_pink": Panel((31, 49, 94, 230, 251), (202, 176, 154), (56, 34, 22)),
    "dark_red": Panel((17, 25, 52, 186, 228), (164, 119, 97), (35, 16, 11)),
    "deep_red": Panel((9, 13, 32, 124, 154), (136, 76, 61), (27, 6, 5)),
}


@dataclass(frozen=True)
class Look:
    """A tissue and the response it is seen through."""

    tissue: Tissue
    response: Response


LOOKS: dict[str, Look] = {
    "yellow_tan": Look(YellowTan(), Response(target=160, contrast=1.56, veil=(0.0103, 0.0045, 0.0019))),
    "pale_pink": Look(PalePink(), Response(target=160, contrast=1.7, veil=(0.017, 0.0069, 0.0035))),
    "dark_red": Look(DarkRed(), Response(target=108, contrast=2.07, veil=(0.0131, 0.0041, 0.0026))),
    "deep_red": Look(DeepRed(), Response(target=70, contrast=1.96, veil=(0.0078, 0.0013, 0.0011))),
    "mucosa_physical": Look(MucosaPhysical(), Response(target=108, contrast=1.3)),
}
