"""The four conditions of Mahmood et al. 2018, Figs. 1 and 4: a tissue and a camera response each.

The paper does not publish its parameters. These are our choice: medians a little above those of the printed figures
and a steep tone curve, since a phantom's views hold less contrast between near and far walls than the figures do.
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
    "yellow_tan": Look(YellowTan(), Response(median=96, contrast=1.5)),
    "pale_pink": Look(PalePink(), Response(median=100, contrast=1.5)),
    "dark_red": Look(DarkRed(), Response(median=60, contrast=1.8)),
    "deep_red": Look(DeepRed(), Response(median=42, contrast=1.8)),
}
