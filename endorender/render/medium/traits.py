"""What a scene asks of the kernels beyond the plain case."""

from __future__ import annotations

from typing import NamedTuple

from endorender.scene.scene import GridMedium, Scene
from endorender.scene.surface import Coat, WetGGX


class Traits(NamedTuple):
    """What a scene asks of the kernels; what is off costs nothing.

    chromatic: extinction differs between channels. similar: long paths go on by the similarity relation. graded:
    extinction depends on the gradient. coated: the coat varies. labelled: tissues by label. layered: the mucosa layer.
    refracting: light bends at a smooth wall (`transport.refraction`). coat: the class of the surface.
    """

    chromatic: bool = False
    similar: bool = False
    graded: bool = False
    coated: bool = False
    labelled: bool = False
    layered: bool = False
    refracting: bool = False
    coat: type[Coat] = WetGGX

    @classmethod
    def of(cls, scene: Scene) -> Traits:
        """What this scene asks for."""
        if isinstance(scene.medium, GridMedium):
            return cls()  # it has no wall
        labelled = scene.labelling is not None
        return cls(
            chromatic=any(t.tint is not None for t in scene.tissues),
            similar=scene.tissue.similarity_after is not None,
            graded=any(t.gradient is not None for t in scene.tissues),
            coated=labelled or bool(scene.tissue.surface_parameters),
            labelled=labelled,
            layered=scene.mucosa is not None,
            refracting=scene.boundary == "refracting" and scene.coat.role == "film",
            coat=type(scene.coat),
        )

    def back(self, part: str) -> int:
        """How far from the end of the packed table's columns a part begins."""
        widths = {
            "tint": 3 * self.chromatic,
            "opacity": self.graded,
            "coat": 3 * self.coated,
            "forward": 2 * self.similar,
        }
        names = list(widths)
        return sum(int(widths[name]) for name in names[: names.index(part) + 1])


PLAIN = Traits()
