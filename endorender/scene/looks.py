"""The four conditions of Mahmood et al. 2018, Figs. 1 and 4: a tissue and a camera response each.

The paper does not publish its parameters. These are our choice, made so that pictures come near the luminance and
the wall colours measured on the printed figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from endorender.scene.response import Response
from endorender.scene.tissue import DarkRed, DeepRed, PalePink, Tissue, YellowTan


@dataclass(frozen=True)
class Look:
    """A tissue and the response it is seen through."""

    tissue: Tissue
    response: Response


LOOKS: dict[str, Look] = {
    "yellow_tan": Look(YellowTan(), Response(median=90, contrast=1.15)),
    "pale_pink": Look(PalePink(), Response(median=94, contrast=1.15)),
    "dark_red": Look(DarkRed(), Response(median=52, contrast=1.3)),
    "deep_red": Look(DeepRed(), Response(median=32, contrast=1.3)),
}
